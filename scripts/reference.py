"""Write the reference pages of the docs from the code they describe.

    python scripts/reference.py [folder]        docs/reference/{cli,spec,reasons}.md

The pages are not kept in the repository: they are written whenever the docs are built, so that
they cannot fall behind.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from seakeep.cli.main import app
from seakeep.decide.reasons import REASONS
from seakeep.model import units
from seakeep.spec import json_schema

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py. Change the code, not this page. -->\n"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, no HTML, no stray bars."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = (p if p.startswith("`") else p.replace("<", "&lt;").replace("*", r"\*") for p in pieces)
    return "".join(plain).replace("|", r"\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# --- commands -------------------------------------------------------------------------------


def cli_page() -> str:
    root = typer.main.get_command(app)
    parts = [NOTE, "# Commands\n", f"{prose(root.help)}\n"]
    for command, path in commands(root, "seakeep"):
        parts += [f"## {path}\n", *command_section(command, path)]
    return "\n".join(parts)


def commands(command: Any, path: str) -> Iterator[tuple[Any, str]]:
    """Every command with what is typed for it, groups before their members."""
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        child = command.get_command(None, name)
        if not child.hidden:
            yield child, f"{path} {name}"
            yield from commands(child, f"{path} {name}")


def command_section(command: Any, path: str) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    words = [argument_name(argument) for argument in arguments]
    if hasattr(command, "list_commands"):
        words.append("COMMAND")
    yield f"```text\n{' '.join([path, *(['[OPTIONS]'] if options else []), *words])}\n```\n"
    yield f"{prose(command.help)}\n"
    if arguments:
        yield table(
            ["argument", "meaning"],
            [[f"`{argument_name(p)}`", p.help or ""] for p in arguments],
        )
    if options:
        yield table(
            ["option", "meaning", "default"],
            [[option_name(p), p.help or "", option_default(p)] for p in options],
        )


def argument_name(argument: Any) -> str:
    """`SPEC`, `[NAMES]...`"""
    name = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def option_name(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} {option.metavar or option.name.upper()}"


def option_default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default is None or callable(option.default):
        return ""
    if option.is_flag:
        name = option.opts[0] if option.default else next(iter(option.secondary_opts), "")
        return f"`{name}`" if name else "off"
    return f"`{option.default}`" if option.default != "" else ""


def prose(help: str | None) -> str:
    """A command's help as Markdown: examples, indented there, as a block of code."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", (help or "").replace("\b", "").strip("\n")):
        lines = [line.strip() for line in block.splitlines()]
        text = " ".join(lines)
        example = re.match(r"Examples?:\s+(seakeep .*)", text)
        if example or text.startswith("seakeep "):
            code = example[1] if example else "\n".join(lines)
            if example:
                blocks.append("Example:")
            if blocks[-1].startswith("```"):
                code = blocks.pop().removeprefix("```sh\n").removesuffix("\n```") + "\n" + code
            blocks.append(f"```sh\n{code}\n```")
        elif text:
            blocks.append(text.replace("<", "&lt;"))
    return "\n\n".join(blocks)


# --- the spec -------------------------------------------------------------------------------

AMOUNTS = {
    units.DURATION_PATTERN: "duration",
    units.PERCENT_PATTERN: "percentage",
    units.RATE_PATTERN: "rate",
    units.CPU_PATTERN: "amount of CPU",
    units.BYTES_PATTERN: "amount of memory",
}
WORDS = {
    "boolean": "true or false",
    "integer": "whole number",
    "null": "nothing",
    "object": "mapping",
    "string": "text",
}


def spec_page() -> str:
    schema = json_schema()
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    intro = (
        "What may stand in `seakeep.yaml`. The same, for editors, is printed by "
        "`seakeep schema`. Unknown keys are errors. `system`, `regions` and "
        "`services` must be there, in the file or in one that it includes.\n"
    )
    parts = [NOTE, "# The spec\n", intro, "## The file\n", properties_table(schema, definitions)]
    for name in reached(schema, definitions):
        definition = definitions[name]
        parts.append(f"## {title(name)}\n")
        parts.append(f"{cell(definition.get('description', ''))}\n")
        objects = list(alternatives(definition))
        shapes = [d for d in objects if "properties" in d]
        if len(shapes) != len(objects):
            short = [kind_of(d, definitions) for d in objects if "properties" not in d]
            parts.append(f"Short form: {', '.join(short)}\n")
        parts.extend(properties_table(shape, definitions) for shape in shapes)
    return "\n".join(parts)


def alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("anyOf", "oneOf"):
        if key in schema:
            for option in schema[key]:
                yield from alternatives(option)
            return
    yield schema


def references(value: Any) -> Iterator[str]:
    """Names of definitions that a schema refers to, in the order of the text."""
    if isinstance(value, dict):
        if isinstance(ref := value.get("$ref"), str):
            yield ref.rpartition("/")[2]
        for key, child in value.items():
            if key != "$defs":
                yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def reached(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """Definitions in the order of a reader's way: each after the one that mentions it first."""
    order: list[str] = []

    def visit(value: Any) -> None:
        for name in references(value):
            if name not in order:
                order.append(name)
                visit(definitions[name])

    visit(schema)
    return order


def properties_table(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    return table(
        ["key", "value", "meaning"],
        [
            [
                f"`{name}`" + (" (required)" if name in required else ""),
                kind_of(value, definitions),
                value.get("description", ""),
            ]
            for name, value in schema["properties"].items()
        ],
    )


def kind_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a value is, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{title(name)}](#{title(name).lower().replace(' ', '-')})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            kinds = [kind_of(part, definitions) for part in schema[key]]
            return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "nothing"))
    if "const" in schema:
        return f"`{as_yaml(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{as_yaml(value)}`" for value in schema["enum"])
    if amount := AMOUNTS.get(schema.get("pattern", "")):
        examples = schema.get("examples")
        return f"{amount}, as `{as_yaml(examples[0])}`" if examples else amount
    if examples := schema.get("examples"):
        return "such as " + ", ".join(f"`{as_yaml(example)}`" for example in examples[:3])
    kinds = schema.get("type", "anything")
    if not isinstance(kinds, str):
        return "text" if "string" in kinds else " or ".join(WORDS.get(kind, kind) for kind in kinds)
    if kinds == "array":
        inner = schema.get("items")
        return f"list of {kind_of(inner, definitions)}" if isinstance(inner, dict) else "list"
    if kinds == "object":
        members = [*schema.get("patternProperties", {}).values()]
        members.append(schema.get("additionalProperties"))
        inner = next((member for member in members if isinstance(member, dict)), None)
        return f"by name: {kind_of(inner, definitions)}" if inner else "mapping"
    return WORDS.get(kinds, kinds)


def title(name: str) -> str:
    """`SpreadPart` -> `Spread`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Part")).capitalize()


def as_yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


# --- reasons --------------------------------------------------------------------------------


def reasons_page() -> str:
    intro = (
        "Every action of Seakeep, and everything that it deliberately did not do, has a reason: a "
        "code and its numbers. Codes are stable; the sentences, with the numbers filled in, are "
        "for people.\n"
    )
    parts = [NOTE, "# Reason codes\n", intro]
    families = dict.fromkeys(code.partition(".")[0] for code in REASONS)
    for family in families:
        rows = [
            [f"`{code}`", re.sub(r"\{([^}]*)\}", r"`{\1}`", sentence)]
            for code, sentence in sorted(REASONS.items())
            if code.partition(".")[0] == family
        ]
        parts += [f"## {family}\n", table(["code", "says"], rows)]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0]) if arguments else FOLDER
    for name, page in (("cli", cli_page), ("spec", spec_page), ("reasons", reasons_page)):
        text = page().rstrip() + "\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

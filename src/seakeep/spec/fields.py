"""The kinds of value that the sections of a spec are made of, as pydantic types: each reads
what a person writes, gives what the model holds, and describes itself to an editor.

A value that is wrong raises a `PydanticCustomError` of type `seakeep`, whose context carries
the hint and, where the fault lies deeper than the field, the path to it.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from seakeep.model import units
from seakeep.model.ids import LABEL
from seakeep.model.time import Duration


def fault(message: str, hint: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """The error of one value: what is wrong, what to write, and where below it."""
    context = {"message": message, "hint": hint, "at": at}
    return PydanticCustomError("seakeep", "{message}", context)


class Part(BaseModel):
    """The base of every mapping in a spec: unknown keys are errors, values are taken as they
    are written (no text where a number belongs), and nothing changes afterwards.

    A part that may be written shorter says how in `short_schema` and `expand`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    short_schema: ClassVar[dict[str, Any] | None] = None
    """JSON Schema of the short form; None when there is none."""

    example: ClassVar[str] = "{key: value}"
    """What to write where something else than a mapping was written."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The long form of a short one; anything else as it is."""
        return value

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        long = cls.expand(value)
        if not isinstance(long, dict):
            raise fault(f"cannot be {described(value)}", f"write {cls.example}")
        return long

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.short_schema is not None:
            definition = handler.resolve_ref_schema(schema)
            long = dict(definition)
            definition.clear()
            definition.update({"anyOf": [cls.short_schema, long]})
            if "description" in long:
                definition["description"] = long["description"]
        return schema


@dataclass(frozen=True, slots=True)
class OrShort:
    """Annotation: a field has a short form beside its own, whose JSON Schema `short` makes
    from that of the long form."""

    short: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        long = handler(core_schema)
        return {"anyOf": [self.short(long), long]}


def _reader(parse: Callable[[str], Any], what: str) -> Callable[[object], Any]:
    """Reads text, and bare numbers as if they were text, by `parse`."""

    def read(value: object) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = repr(value)
        if not isinstance(value, str):
            raise fault(f"must be {what}, not {described(value)}", f"write {_EXAMPLES[what]}")
        try:
            return parse(value)
        except units.UnitError as error:
            raise fault(str(error), error.hint) from None

    return read


def _amount(parse: Callable[[str], Any], what: str) -> BeforeValidator:
    return BeforeValidator(_reader(parse, what))


_EXAMPLES = {
    "a duration": "300ms, 15s or 1h30m",
    "a rate": "200/s or 10/min",
    "a percentage": "20% or 99.9%",
    "an amount of memory": "64MiB or 1GB",
    "a bandwidth": "100Mbps or 1Gbps",
    "an amount of CPU": "250m or 0.5",
}


def described(value: object) -> str:
    """What a value is, for people."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return repr(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def _positive(value: int) -> int:
    if value <= 0:
        raise fault("must be more than zero")
    return value


def _text_schema(pattern: str, examples: list[str]) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": examples})


def _number_schema(pattern: str, examples: list[Any]) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": ["string", "number"], "pattern": pattern, "minimum": 0, "examples": examples}
    )


_read_duration = _reader(units.parse_duration, "a duration")
_duration = BeforeValidator(_read_duration)
_duration_schema = WithJsonSchema(
    {
        "type": ["string", "integer"],
        "pattern": units.DURATION_PATTERN,
        "minimum": 0,
        "maximum": 0,
        "examples": ["300ms", "15s", "1h30m"],
    }
)
Span: TypeAlias = Annotated[Duration, _duration, _duration_schema]
"""A duration, zero allowed."""
PositiveSpan: TypeAlias = Annotated[
    Duration,
    AfterValidator(_positive),
    _duration,
    _text_schema(units.DURATION_PATTERN, ["300ms", "15s", "1h30m"]),
]


def _span_or_none(value: object) -> Any:
    if value == "none":
        return 0
    span = _read_duration(value)
    if span <= 0:
        raise fault("must be more than zero", "write none for no bound")
    return span


SpanOrNone: TypeAlias = Annotated[
    Duration,
    BeforeValidator(_span_or_none),
    _text_schema(f"^none$|{units.DURATION_PATTERN}", ["300ms", "15s", "none"]),
]
"""A duration, or 0 for the word none."""


def _fraction(value: float) -> float:
    if value > 1:
        raise fault("is more than 100%", "write a percentage from 0% to 100%")
    return value


_percent = _amount(units.parse_percent, "a percentage")
_percent_schema = _text_schema(units.PERCENT_PATTERN, ["20%", "99.9%"])
Fraction: TypeAlias = Annotated[float, AfterValidator(_fraction), _percent, _percent_schema]
"""A percentage from 0% to 100%, as a fraction."""


def _positive_rate(value: float) -> float:
    if value <= 0:
        raise fault("must be more than zero")
    return value


def _share(value: object) -> float | None:
    if value == "even":
        return None
    try:
        fraction = units.parse_percent(value) if isinstance(value, str) else None
    except units.UnitError as error:
        raise fault(str(error), error.hint) from None
    if fraction is None:
        shown = "write 60% or even"
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = f"write {value * 100 if 0 < value < 1 else value:g}%"
        raise fault(f"must be a percentage or even, not {described(value)}", shown)
    return _fraction(fraction)


Share: TypeAlias = Annotated[
    float | None,
    BeforeValidator(_share),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": units.PERCENT_PATTERN}, {"const": "even"}],
            "examples": ["60%", "even"],
        }
    ),
]
"""A percentage as a fraction, or None for an even part of what the others leave."""

_rate = _amount(units.parse_rate, "a rate")
_rate_schema = _text_schema(units.RATE_PATTERN, ["200/s", "10/min"])
Rate: TypeAlias = Annotated[float, _rate, _rate_schema]
PositiveRate: TypeAlias = Annotated[float, AfterValidator(_positive_rate), _rate, _rate_schema]

Cpu: TypeAlias = Annotated[
    int,
    AfterValidator(_positive),
    _amount(units.parse_cpu, "an amount of CPU"),
    _number_schema(units.CPU_PATTERN, ["250m", 0.5, 2]),
]
Memory: TypeAlias = Annotated[
    int,
    AfterValidator(_positive),
    _amount(units.parse_bytes, "an amount of memory"),
    _text_schema(units.BYTES_PATTERN, ["64MiB", "1GB", "128Mi"]),
]

Bandwidth: TypeAlias = Annotated[
    int,
    AfterValidator(_positive),
    _amount(units.parse_bandwidth, "a bandwidth"),
    _text_schema(units.BANDWIDTH_PATTERN, ["1Gbps", "100Mbps"]),
]
"""In bits per second."""

# --- names ------------------------------------------------------------------


def suggested_label(text: str) -> str:
    """The nearest name that is allowed; empty when there is none."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-0123456789")[:63].strip("-")
    return label if LABEL.match(label) else ""


def _label(value: str) -> str:
    if not LABEL.fullmatch(value):
        better = suggested_label(value)
        rule = "lower-case letters, digits and dashes, a letter first, 63 at most"
        hint = f"write {better}" if better else f"a name has {rule}"
        raise fault(f"'{value[:63]}' is not a name: {rule}", hint)
    return value


Name: TypeAlias = Annotated[
    str, AfterValidator(_label), WithJsonSchema({"type": "string", "pattern": LABEL.pattern})
]
"""A DNS label."""


def _absolute_path(value: str) -> str:
    if not value.startswith("/"):
        raise fault("must begin with /", f"write /{value}")
    if any(c.isspace() or not c.isprintable() for c in value) or not value.isascii():
        raise fault("is not a path of a URL", "percent-encode spaces and letters beyond ASCII")
    return value


UrlPath: TypeAlias = Annotated[
    str, AfterValidator(_absolute_path), WithJsonSchema({"type": "string", "pattern": "^/"})
]


def _clean(value: str) -> str:
    if "\0" in value:
        raise fault("holds a NUL character")
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_clean)]

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value.lower()):
        raise fault(f"'{value[:60]}' is not a header's name", "write it as in x-canary")
    return value.lower()


Header: TypeAlias = Annotated[str, AfterValidator(_header_name), WithJsonSchema({"type": "string"})]
"""A header's name, in lower case."""

# --- commands ---------------------------------------------------------------

_SHELL_WORDS = ("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1")


def _split_command(value: object) -> Any:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise fault(f"must be text or a list, not {described(value)}", "write python app.py")
    try:
        words = shlex.split(value)
    except ValueError as error:
        reason = str(error).lower()
        raise fault(f"is not a command: {reason}", "close the quote, or write a list") from None
    found = next((word for word in words if word in _SHELL_WORDS), None)
    if found is not None:
        raise fault(
            f"'{found}' needs a shell, and commands run without one",
            'write [sh, -c, "..."] if you mean it',
        )
    if words and re.match(r"^[A-Za-z_][A-Za-z0-9_]*=", words[0]):
        raise fault(f"'{words[0]}' is not a program", "put variables under env:")
    return words


def _some_words(value: list[str]) -> list[str]:
    if not value or not value[0]:
        raise fault("is empty", "write the program and its arguments, such as python app.py")
    return value


Command: TypeAlias = Annotated[
    list[Text],
    AfterValidator(_some_words),
    BeforeValidator(_split_command),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
            "examples": ["python app.py"],
        }
    ),
]
"""argv: text is split as a shell would, without a shell."""

"""The JSON Schema of a spec, for completion and checks in editors."""

from typing import Any

from seakeep.spec.document import Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. It describes a whole spec or one that includes others; files that are
    included may leave sections out, which `required` would refuse, so nothing is required at
    the top. `seakeep check` is stricter: it knows names across sections."""
    schema = Document.model_json_schema(by_alias=True, mode="validation")
    _tidy(schema)
    schema.pop("required", None)
    head = {
        "$schema": DIALECT,
        "title": "Seakeep spec",
        "description": schema.pop("description"),
    }
    schema.pop("title", None)
    properties = schema["properties"]
    for name in ("network", "edge", "traffic", "objectives", "scenarios"):
        properties[name] = _or_empty(properties[name])
    schema["patternProperties"] = {"^x-": {"description": "A place for anchors; not read."}}
    return {**head, **schema}


def _or_empty(schema: dict[str, Any]) -> dict[str, Any]:
    """A section may be left empty, as when all its lines are comments."""
    description = schema.pop("description", "")
    return {"anyOf": [schema, {"type": "null"}], "description": description}


def _tidy(schema: Any) -> None:
    """Without the titles that repeat each name, and without defaults in the model's units."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    elif isinstance(schema, dict):
        for key in ("title", "default"):
            if not isinstance(schema.get(key), dict) or key == "default":
                schema.pop(key, None)
        for key, value in schema.items():
            if key in ("properties", "$defs", "patternProperties"):
                for inner in value.values():
                    _tidy(inner)
            elif key not in ("examples", "enum", "const"):
                _tidy(value)

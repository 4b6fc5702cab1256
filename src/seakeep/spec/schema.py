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
    """Without the titles that repeat each name and defaults in the model's units; descriptions
    in one line; names that match no pattern refused."""
    if isinstance(schema, list):
        for item in schema:
            _tidy(item)
    elif isinstance(schema, dict):
        schema.pop("title", None)
        schema.pop("default", None)
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].split())
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for key, value in schema.items():
            if key in ("properties", "$defs", "patternProperties"):
                for inner in value.values():
                    _tidy(inner)
            elif key in ("anyOf", "items", "prefixItems", "additionalProperties"):
                _tidy(value)

"""`seakeep schema`: the JSON Schema of a spec."""

from seakeep.cli import output
from seakeep.spec import json_schema


def schema() -> None:
    """Print the JSON Schema of a spec, for completion in editors.

    `seakeep init` writes it beside the spec, and the first line of the spec names it.

    Examples:

      seakeep schema > seakeep.schema.json

      seakeep schema | jq '."$defs".ServicePart.properties | keys'
    """
    output.print_json(json_schema())

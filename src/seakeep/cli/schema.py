"""`seakeep schema`: the JSON Schema of a spec, and of what a simulation found out."""

from enum import StrEnum
from typing import Annotated

import typer

from seakeep.cli import output
from seakeep.spec import json_schema


class Described(StrEnum):
    SPEC = "spec"
    SIMULATION = "simulation"


def schema(
    of: Annotated[Described, typer.Argument(help="Of what.")] = Described.SPEC,
) -> None:
    """Print the JSON Schema of a spec, for completion in editors.

    `seakeep init` writes it beside the spec, and the first line of the spec names it. That of
    `simulation` is for tools that read what `seakeep simulate --json` prints.

    Examples:

      seakeep schema > seakeep.schema.json

      seakeep schema | jq '."$defs".ServicePart.properties | keys'

      seakeep schema simulation > simulation.schema.json
    """
    if of is Described.SPEC:
        output.print_json(json_schema())
        return
    # Here, so that the schema of a spec has no need of the numerics.
    from seakeep.explain.simulation_schema import simulation_schema

    output.print_json(simulation_schema())

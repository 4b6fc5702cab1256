"""Places and the networks that lie in them, as a spec writes them."""

from ipaddress import ip_network
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from seakeep.spec.fields import fault

_COORDINATES_SCHEMA = WithJsonSchema(
    {
        "type": "array",
        "prefixItems": [
            {"type": "number", "minimum": -90, "maximum": 90},
            {"type": "number", "minimum": -180, "maximum": 180},
        ],
        "minItems": 2,
        "maxItems": 2,
        "items": False,
        "examples": [[39.0, -77.5]],
    }
)


def _coordinates(value: object) -> tuple[float, float]:
    hint = "write [latitude, longitude] in degrees, such as [39.0, -77.5]"
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    ):
        raise fault("must be a latitude and a longitude", hint)
    if not -90 <= value[0] <= 90 or not -180 <= value[1] <= 180:
        swapped = -90 <= value[1] <= 90 and -180 <= value[0] <= 180
        raise fault(
            f"[{value[0]}, {value[1]}] is not on the globe",
            f"latitude comes first: [{value[1]}, {value[0]}]" if swapped else hint,
        )
    return (float(value[0]), float(value[1]))


Coordinates: TypeAlias = Annotated[
    tuple[float, float], BeforeValidator(_coordinates), _COORDINATES_SCHEMA
]


def _prefix(value: str) -> str:
    hint = "write a network and its length, such as 198.51.100.0/24"
    address, slash, length = value.partition("/")
    if not slash:
        raise fault(f"'{value[:60]}' has no length", hint)
    try:
        return str(ip_network(value))
    except ValueError:
        pass
    try:
        wider = ip_network(value, strict=False)
    except ValueError:
        raise fault(f"'{value[:60]}' is not a network", hint) from None
    raise fault(f"{address} is not the first address of a /{length}", f"write {wider}")


Prefix: TypeAlias = Annotated[
    str,
    AfterValidator(_prefix),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
            "examples": ["198.51.100.0/24"],
        }
    ),
]
"""A network, IPv4 or IPv6, as its canonical text."""

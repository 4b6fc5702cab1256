"""Names of things, and how they are written.

A name is a DNS label (RFC 1123). Places nest: `us-east` is a region, `us-east/a` a zone,
`us-east/a/0` a node. An instance is its service and an ordinal that is never used twice
while the system is up: `web-7`.
"""

import re
from typing import TypeAlias

RegionName: TypeAlias = str
ServiceName: TypeAlias = str
ZoneName: TypeAlias = str
"""The zone's own label, unique within its region: `a`."""
NodeId: TypeAlias = str
InstanceId: TypeAlias = str
ActionId: TypeAlias = str

LABEL = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")


def zone_path(region: RegionName, zone: ZoneName) -> str:
    """`us-east/a`."""
    return f"{region}/{zone}"


def node_id(region: RegionName, zone: ZoneName, index: int) -> NodeId:
    """`us-east/a/0`."""
    return f"{region}/{zone}/{index}"


def instance_id(service: ServiceName, ordinal: int) -> InstanceId:
    """`web-7`."""
    return f"{service}-{ordinal}"


def ordinal_of(instance: InstanceId) -> int:
    """The ordinal in an instance's id. Raises ValueError when there is none."""
    return int(instance.rpartition("-")[2])

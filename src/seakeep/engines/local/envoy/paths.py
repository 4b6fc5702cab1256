"""Where a region's Envoy finds its files, how it is told to watch them, and in which versions.

Everything that can change while it runs lies in a file of its own in a folder of its own: Envoy
reads a file again at any rename within the folder that it watches for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from seakeep.engines.local.layout import Layout
from seakeep.model.ids import RegionName

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersions:
    """Digests of what was written; Envoy reports them back once it has taken it. An empty
    string stands for any."""

    listeners: str = ""
    clusters: str = ""
    routes: Mapping[str, str] = field(default_factory=dict)
    """By name of the route configuration."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """By name of the filter that has a file of its own."""


def bootstrap_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "bootstrap.json"


def listeners_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "lds" / "listeners.json"


def clusters_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "cds" / "clusters.json"


def routes_path(layout: Layout, region: RegionName, name: str) -> Path:
    return layout.edge(region) / "rds" / name / "routes.json"


def shares_path(layout: Layout, region: RegionName) -> Path:
    """The region's parts of shared limits as it was told them last; not read by Envoy."""
    return layout.edge(region) / "shares.json"


def filter_path(layout: Layout, region: RegionName, name: str) -> Path:
    return layout.edge(region) / "ecds" / name / "filter.json"


def endpoints_path(layout: Layout, region: RegionName, cluster: str) -> Path:
    return layout.edge(region) / "eds" / cluster / "endpoints.json"


def access_log(layout: Layout, region: RegionName) -> Path:
    """`edge.<region>.access.log`: one JSON object per request or L4 connection."""
    return layout.log(f"edge.{region}.access")


def watched(path: Path) -> Json:
    """The source of a configuration that is read again whenever a file is moved to `path`."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": str(path),
            "watched_directory": {"path": str(path.parent)},
        },
    }

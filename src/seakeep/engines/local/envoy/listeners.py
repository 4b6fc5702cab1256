"""Where a region's Envoy listens, and by which routes the requests that arrive there go.

It is the region's edge (L7 and L4), its internal balancer (a listener per called service),
and its gateway (a listener per service at which other regions' links arrive). A listener that
changes closes its connections in time, and one that is busy keeps the old rules until then; so
all that a spec changes often (routes, timeouts, retries, limits) is no part of a listener, but of
the route configuration that it names and that Envoy reads from a file of its own (RDS).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seakeep.engines.local.addresses import AddressBook
from seakeep.engines.local.envoy.clusters import TYPE, readiness_path, zone_clusters
from seakeep.engines.local.envoy.limits import (
    KINDS,
    LIMITS,
    LOCAL_RATE_LIMIT,
    METADATA,
    SHARES,
    owned_limits,
    render_limits,
    render_shares,
)
from seakeep.engines.local.envoy.paths import Json, access_log, filter_path, routes_path, watched
from seakeep.engines.local.envoy.routes import edge_hosts, service_hosts
from seakeep.engines.local.envoy.shed import local_reply, refusal, shed_filters
from seakeep.engines.local.layout import Layout
from seakeep.model.ids import RegionName, ServiceName
from seakeep.model.observation import Address
from seakeep.model.system import Protocol, Service, System

HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

OTLP_CLUSTER = "seakeep.otlp"
"""Where spans go. Empty: Envoy's tracer wants an exporter before it makes any trace id."""

EDGE = "edge"
"""The route configuration of the edge."""


def called_services(system: System) -> tuple[ServiceName, ...]:
    """Services that others call, in the order of the file: those with internal listeners."""
    called = {call.service for service in system.services.values() for call in service.calls}
    return tuple(name for name in system.services if name in called)


def render_routes(system: System, region: RegionName) -> dict[str, Json]:
    """The route configurations of the region's Envoy by name: `edge`, `internal.web`,
    `internal.web@a`, `gateway.web`."""
    found = {}
    if hosts := edge_hosts(system):
        # The edge believes no client: the peer's address is the client's (appended to
        # x-forwarded-for), x-envoy-* headers are dropped, paths are made plain.
        found[EDGE] = _route_configuration(EDGE, hosts) | {
            "request_headers_to_add": [
                {
                    # Envoy's own way of appending replaces 127.0.0.1 by an address of the machine.
                    "header": {
                        "key": "x-forwarded-for",
                        "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
                    },
                    "append_action": "APPEND_IF_EXISTS_OR_ADD",
                }
            ]
        }
    for name in called_services(system):
        service = system.services[name]
        if service.workload.protocol is Protocol.HTTP:
            for cluster in (name, *zone_clusters(system, region, service)):
                hosts = service_hosts(service, cluster, retries=True)
                found[_internal_name(cluster)] = _route_configuration(
                    _internal_name(cluster), hosts
                )
    for name, service in system.services.items():
        if service.workload.protocol is Protocol.HTTP:
            hosts = service_hosts(service, f"{name}.local", retries=False)
            found[_gateway_name(name)] = _route_configuration(_gateway_name(name), hosts)
    return found


def render_filters(
    system: System, region: RegionName, shares: Mapping[str, float]
) -> dict[str, Json]:
    """The configurations of the filters that are files of their own, by name: `limits.edge`,
    `shares.internal.web`. A limit holds where requests come in; for a service that has routes
    that is the edge."""
    found = {}
    regions = len(system.regions)
    for name, services, ways in _ways_in(system, region):
        limits = owned_limits(services, routes=name == EDGE)
        found[f"{LIMITS}.{name}"] = render_limits(limits, ways)
        found[f"{SHARES}.{name}"] = render_shares(limits, ways, regions, shares)
    return {
        name: {
            "@type": TYPE + "envoy.config.core.v3.TypedExtensionConfig",
            "name": name,
            "typed_config": config,
        }
        for name, config in found.items()
    }


def _ways_in(system: System, region: RegionName) -> Iterator[tuple[str, list[Service], int]]:
    """(route configuration, services whose limits hold there, into how many such ways the
    region's requests to them are divided)."""
    if edge_hosts(system):
        yield EDGE, [service for service in system.services.values() if service.routes], 1
    for name in called_services(system):
        service = system.services[name]
        if service.workload.protocol is Protocol.HTTP:
            limited = [] if service.routes else [service]
            yield _internal_name(name), limited, 1
            zones = zone_clusters(system, region, service)
            for cluster in zones:
                yield _internal_name(cluster), limited, len(zones)


def render_listeners(
    system: System, region: RegionName, book: AddressBook, layout: Layout
) -> list[Json]:
    """Every address at which the region's Envoy listens, all of them loopback addresses."""
    listeners = _edge(system, region, book, layout)
    for name in called_services(system):
        listeners += _internal(system, region, system.services[name], book, layout)
    listeners += [_gateway(region, service, book, layout) for service in system.services.values()]
    return listeners


def _internal_name(cluster: str) -> str:
    return f"internal.{cluster}"


def _gateway_name(service: ServiceName) -> str:
    return f"gateway.{service}"


def _route_configuration(name: str, hosts: list[Json]) -> Json:
    return {
        "@type": TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": hosts,
        "ignore_port_in_host_matching": True,
    }


def _edge(system: System, region: RegionName, book: AddressBook, layout: Layout) -> list[Json]:
    listeners = []
    log = access_log(layout, region)
    if edge_hosts(system):
        manager = _http_manager("edge", routes_path(layout, region, EDGE), log)
        routed = [service for service in system.services.values() if service.routes]
        _limit(manager, layout, region, EDGE)
        _shed(manager, routed)
        manager |= {
            "use_remote_address": True,
            "xff_num_trusted_hops": system.edge.trusted_hops,
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
    system: System, region: RegionName, service: Service, book: AddressBook, layout: Layout
) -> list[Json]:
    zones = zone_clusters(system, region, service)
    log = access_log(layout, region)
    listeners = []
    for cluster in (service.name, *zones):
        zone = cluster.partition("@")[2] or None
        address = book.internal(region, service.name, zone, service.workload.port)
        if service.workload.protocol is Protocol.HTTP:
            routes = routes_path(layout, region, _internal_name(cluster))
            manager = _inner(_http_manager("internal", routes, log))
            _limit(manager, layout, region, _internal_name(cluster))
            _shed(manager, [service])
            chain = _network_filter(manager)
        else:
            chain = _tcp_proxy(service, cluster, "internal", log)
        listeners.append(_listener(f"internal {cluster}", address, [chain]))
    return listeners


def _gateway(region: RegionName, service: Service, book: AddressBook, layout: Layout) -> Json:
    """Where other regions' links arrive. It leads to the region's own instances only, so a
    request can never travel on, or in circles."""
    cluster = f"{service.name}.local"
    log = access_log(layout, region)
    address = book.gateway(region, service.name, service.workload.port)
    filters: list[Json] = []
    if service.workload.protocol is Protocol.HTTP:
        routes = routes_path(layout, region, _gateway_name(service.name))
        manager = _inner(_http_manager("gateway", routes, log))
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


def _http_manager(role: str, routes: Path, log: Path) -> Json:
    """`routes` is the file of the route configuration; its folder has the configuration's name."""
    router = "envoy.extensions.filters.http.router.v3.Router"
    return {
        "@type": TYPE + HTTP_MANAGER,
        "stat_prefix": role,
        "server_header_transformation": "PASS_THROUGH",
        "tracing": _tracing(role),
        "access_log": [_access_log(role, log)],
        "rds": {"config_source": watched(routes), "route_config_name": routes.parent.name},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": TYPE + router, "suppress_envoy_headers": True},
            }
        ],
    }


def _limit(manager: Json, layout: Layout, region: RegionName, name: str) -> None:
    """Put the filters of limits first, and count what they refuse, by service."""
    manager["http_filters"][:0] = [
        {
            "name": f"{kind}.{name}",
            "config_discovery": {
                "config_source": watched(filter_path(layout, region, f"{kind}.{name}")),
                "type_urls": [TYPE + LOCAL_RATE_LIMIT],
            },
        }
        for kind in KINDS
    ]
    manager["access_log"].append(_counter("limited", {"response_flag_filter": {"flags": ["RL"]}}))


def _shed(manager: Json, services: Sequence[Service]) -> None:
    """Put the filters that shed behind those of limits, and count what they refuse."""
    filters = shed_filters(services)
    if filters:
        manager["http_filters"][-1:-1] = filters
        manager["local_reply_config"] = local_reply()
        manager["access_log"].append(_counter("shed", refusal()))


def _counter(name: str, which: Json) -> Json:
    """Counts answers by service: `seakeep.<name>.service.<service>`."""
    service = {"name": "service", "value_format": f"%METADATA(ROUTE:{METADATA}:service)%"}
    return {
        "name": "envoy.access_loggers.stats",
        "filter": which,
        "typed_config": {
            "@type": TYPE + "envoy.extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": METADATA},
            "counters": [{"stat": {"name": name, "tags": [service]}, "value_fixed": 1}],
        },
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
            # Each attempt draws anew, and may draw the same endpoint until that is ejected, which
            # takes two refusals and a moment: one attempt more than for HTTP leaves room for it.
            "max_connect_attempts": service.retries.attempts
            + (2 if service.retries.attempts else 1),
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

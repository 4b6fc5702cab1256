"""How Envoy reaches the instances of a service: balancing, health, ejection, budgets.

Clusters of a region: `web` as callers in the region see it, `web@a` as callers in zone a do
(prefer: zone), `web.local` for what its gateway offers to other regions. All are fed by files
(EDS), one folder each.
"""

from pathlib import Path

from seakeep.engines.local.envoy.paths import Json, watched
from seakeep.engines.local.envoy.units import duration
from seakeep.model.ids import RegionName
from seakeep.model.system import (
    BalancePolicy,
    Breaker,
    HttpCheck,
    Prefer,
    Probe,
    ProbeKind,
    Protocol,
    Service,
    System,
    link_between,
)
from seakeep.model.time import MILLISECOND, SECOND, Duration

TYPE = "type.googleapis.com/"

UNLIMITED = 1_000_000
"""Unless the spec says otherwise circuit breakers guard Envoy's memory, not the services: those are
guarded by limits and by the retry budget."""

CONNECT_TIMEOUT: Duration = 500 * MILLISECOND
"""Links accept locally and at once, so the WAN's latency is no part of it."""

UPSTREAM_IDLE: Duration = 4 * SECOND
"""Shorter than the keep-alive of common servers (5 s), so that it is Envoy that closes an idle
connection: the other way round a request can leave just as the connection goes away, and one
that is not idempotent then fails."""

CANARY_BIAS = "seakeep.canary.active_request_bias"
"""Envoy demands a name for it in its runtime, where nobody sets it."""

HEALTH_PERIOD: Duration = SECOND
FIRST_CHECK_WITHIN: Duration = 50 * MILLISECOND
"""A new endpoint gets no requests before it has passed its first check."""
HEALTH_FAILURES = 3
"""For services without a readiness probe: is the port open?"""


def cluster_names(system: System, region: RegionName) -> tuple[str, ...]:
    """Every cluster of the region's Envoy."""
    return tuple(
        name
        for service in system.services.values()
        for name in (service.name, *zone_clusters(system, region, service), f"{service.name}.local")
    )


def zone_clusters(system: System, region: RegionName, service: Service) -> tuple[str, ...]:
    """`web@a`, `web@b`, when callers prefer their own zone."""
    if service.balance.prefer is not Prefer.ZONE:
        return ()
    return tuple(f"{service.name}@{zone}" for zone in system.regions[region].zones)


def is_gateway(cluster: str) -> bool:
    """Whether it is what the region offers to others: `web.local`."""
    return "." in cluster


def service_of(cluster: str) -> str:
    """The service of a cluster: `web.local` -> `web`."""
    return cluster.partition("@")[0].partition(".")[0]


def render_clusters(system: System, region: RegionName, eds: Path) -> list[Json]:
    """Clusters of a region's Envoy; `eds` is the folder that holds a folder per cluster."""
    return [
        _cluster(system, region, service, name, eds)
        for service in system.services.values()
        for name in (service.name, *zone_clusters(system, region, service), f"{service.name}.local")
    ]


def readiness(service: Service) -> Probe | None:
    """The probe that says whether an instance takes requests."""
    kinds = {probe.kind: probe for probe in service.workload.probes}
    return kinds.get(ProbeKind.READINESS)


def readiness_path(service: Service) -> str | None:
    """The path that health checks ask for; None when they only open the port."""
    probe = readiness(service)
    if service.workload.protocol is Protocol.HTTP and probe is not None:
        return probe.check.path if isinstance(probe.check, HttpCheck) else None
    return None


def _cluster(system: System, region: RegionName, service: Service, name: str, eds: Path) -> Json:
    cluster: Json = {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "connect_timeout": duration(CONNECT_TIMEOUT),
        "eds_cluster_config": {
            "eds_config": {
                # Its own folder: with a shared one every push reloads every cluster.
                **watched(eds / name / "endpoints.json"),
                "initial_fetch_timeout": "2s",
            }
        },
        "health_checks": [_health_check(system, region, service)],
        "outlier_detection": _outlier_detection(service),
        "circuit_breakers": {"thresholds": [_limits(service, name)]},
        "common_lb_config": {
            "healthy_panic_threshold": {"value": service.balance.panic_fraction * 100},
            # Or else a new endpoint counts as unhealthy until its first check, and scaling up
            # sends a share of the traffic to the next priority for a moment.
            "ignore_new_hosts_until_first_hc": True,
            # By default changes of health wait up to a second to be merged.
            "update_merge_window": "0s",
            "close_connections_on_host_set_change": False,
        },
        # By default an endpoint that passes its health check stays when it is taken out.
        "ignore_health_on_host_removal": True,
    }
    cluster.update(_balancing(service))
    if service.workload.protocol is Protocol.HTTP:
        cluster["typed_extension_protocol_options"] = _http_options()
    else:
        # Clients of an instance that hangs are told so by a reset, and connect elsewhere.
        cluster["close_connections_on_host_health_failure"] = True
        if service.proxy_protocol:
            cluster["transport_socket"] = _proxy_protocol()
    return cluster


def _balancing(service: Service) -> Json:
    """Envoy's name of the policy. Load-aware is least_request on weights that follow the CPU
    left: with unequal weights Envoy turns it into weighted round robin, biased by the requests
    in flight. `random` knows no weights."""
    policy = service.balance.policy
    slow: Json = {}
    if service.balance.slow_start > 0:
        slow = {
            "slow_start_config": {
                "slow_start_window": duration(service.balance.slow_start),
                "min_weight_percent": {"value": 10},
            }
        }
    match policy:
        case BalancePolicy.ROUND_ROBIN:
            return {"lb_policy": "ROUND_ROBIN", "round_robin_lb_config": slow}
        case BalancePolicy.LEAST_REQUEST | BalancePolicy.LOAD_AWARE:
            config: Json = {"choice_count": 2, **slow}
            if policy is BalancePolicy.LEAST_REQUEST:
                # Its weights differ only in a canary, whose share is to come out exactly.
                config["active_request_bias"] = {"default_value": 0.0, "runtime_key": CANARY_BIAS}
            return {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": config}
        case BalancePolicy.RANDOM:
            return {"lb_policy": "RANDOM"}
        case BalancePolicy.RING_HASH:
            return {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}}
        case BalancePolicy.MAGLEV:
            return {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65537}}


def _health_check(system: System, region: RegionName, service: Service) -> Json:
    """What Envoy itself finds out about endpoints, so that it needs no one to fail over.

    Another region's gateway is asked the same question, and answers for its region (see
    `_health_filter` in `config`), so the timeout leaves room for the way there and back.
    Envoy waits `interval` from the end of one check to the start of the next.
    """
    probe = readiness(service)
    period = probe.period if probe else HEALTH_PERIOD
    timeout = probe.timeout if probe else HEALTH_PERIOD
    links = (link_between(system, region, other) for other in system.regions)
    farthest = max((link.latency for link in links if link is not None), default=0)
    check: Json = {
        "timeout": duration(max(timeout, 4 * farthest + 250 * MILLISECOND)),
        "interval": duration(period),
        "no_traffic_interval": duration(period),
        "no_traffic_healthy_interval": duration(period),
        "initial_jitter": duration(min(max(period // 20, MILLISECOND), FIRST_CHECK_WITHIN)),
        "interval_jitter_percent": 5,
        "unhealthy_threshold": probe.failures if probe else HEALTH_FAILURES,
        "healthy_threshold": probe.successes if probe else 1,
        "reuse_connection": True,
    }
    path = readiness_path(service)
    if path is None:
        check["tcp_health_check"] = {}
        return check
    check["http_health_check"] = {
        "path": path,
        "host": service.name,
        "expected_statuses": [{"start": 200, "end": 400}],
        # Without this any other status fails the endpoint at once, whatever the threshold.
        "retriable_statuses": [{"start": 400, "end": 600}],
    }
    return check


def _outlier_detection(service: Service) -> Json:
    """Ejection by real traffic, within what a health check takes to notice.

    Local-origin failures (refused, reset, timed out) are *not* split from answers: with the
    split every successful connect resets the count of failures, and the kernel accepts
    connections on behalf of a process that is frozen. Measured with 1 of 4 instances frozen
    and a timeout of 500 ms per try: at 100 requests/s it is ejected after 0.8 s either way, at
    10/s after 5 s, with the split never. Unsplit, such failures count as 502-504. Answers of
    500 alone never eject: a poisonous request would take out half of the instances. At most
    half are ejected, and a lone endpoint never is. An L4 service has nothing but refusals to
    go by, and a client that is refused will not ask five times.
    """
    failures = 5 if service.workload.protocol is Protocol.HTTP else 2
    return {
        "interval": "0.500s",
        "base_ejection_time": "5s",
        "max_ejection_time": "15s",
        "max_ejection_percent": 50,
        "consecutive_5xx": 5,
        "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": failures,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_success_rate": 0,
        "enforcing_failure_percentage": 0,
        # An instance may pass its health check and still fail requests.
        "successful_active_health_check_uneject_host": False,
    }


def _limits(service: Service, name: str) -> Json:
    """The spec's circuit breakers hold where calls begin: not again at the gateway by which calls
    from other regions come in. What Envoy calls a request is a connection of an L4 service."""
    breaker = Breaker() if is_gateway(name) else service.breaker
    requests = breaker.requests or UNLIMITED
    http = service.workload.protocol is Protocol.HTTP
    bounds: Json = {
        "max_connections": UNLIMITED if http else requests,
        "max_pending_requests": breaker.pending or UNLIMITED,
        "max_requests": requests if http else UNLIMITED,
    }
    if service.retries.budget_fraction >= 1:
        return {**bounds, "max_retries": UNLIMITED}
    budget = {
        "budget_percent": {"value": service.retries.budget_fraction * 100},
        # Or else a quiet service could not retry at all.
        "min_retry_concurrency": 10,
    }
    return {**bounds, "retry_budget": budget}


def _http_options() -> Json:
    key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        key: {
            "@type": TYPE + key,
            "common_http_protocol_options": {"idle_timeout": duration(UPSTREAM_IDLE)},
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }


def _proxy_protocol() -> Json:
    proxy = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    raw = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {
            "@type": TYPE + proxy,
            "config": {"version": "V2"},
            "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer",
                "typed_config": {"@type": TYPE + raw},
            },
        },
    }

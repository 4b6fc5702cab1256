"""Shedding in Envoy's terms: which requests may be refused, and when a service is saturated.

A saturated service answers late, whatever it lacks. So for each priority that may be refused a
filter (adaptive concurrency) bounds how many of its requests are let in at once, and moves the
bound ten times a second by how long the answers took: limit x target / median + its square root.
While answers are in time the bound grows out of the way; when they are late it halves within
100 ms. Each priority has its own target, and that is the order in which they give way: the
answers must be late for `sheddable` and still get later before `normal` is touched. `critical`
requests pass no such filter.

Envoy can find out by itself how fast a service is when it is well, but only by letting almost
nothing in for a moment every minute, which refuses requests of a service that has no trouble. So
the spec says it.

The filters stand in the listeners, switched off; routes switch on the one of their priority.
"""

from collections.abc import Iterable

from seakeep.engines.local.envoy.paths import Json
from seakeep.engines.local.envoy.units import duration
from seakeep.model.limits import NORMAL_FACTOR, Priority, Shed
from seakeep.model.system import Service

TYPE = "type.googleapis.com/"
DETAILS = "reached_concurrency_limit"
"""What Envoy calls such a refusal."""
CONCURRENCY_MAX = 1_000
"""Requests of one priority in flight at which the bound stops growing."""
UPDATE_EVERY = "0.100s"
RETRY_AFTER_S = 1

FACTORS = {Priority.SHEDDABLE: 1, Priority.NORMAL: NORMAL_FACTOR}
"""How many times the healthy latency is too late, for the priorities that may be refused."""


def filter_name(service: Service, priority: Priority) -> str:
    return f"shed.{service.name}.{priority.value}"


def shed_filters(services: Iterable[Service]) -> list[Json]:
    """The filters of a listener at which requests to these services come in."""
    return [
        {
            "name": filter_name(service, priority),
            "disabled": True,
            "typed_config": _adaptive_concurrency(service.shed, factor),
        }
        for service in services
        if service.shed is not None
        for priority, factor in FACTORS.items()
    ]


def _adaptive_concurrency(shed: Shed, factor: int) -> Json:
    kind = "envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency"
    return {
        "@type": TYPE + kind,
        "gradient_controller_config": {
            "sample_aggregate_percentile": {"value": 50},
            "concurrency_limit_params": {
                "max_concurrency_limit": CONCURRENCY_MAX,
                "min_concurrency_limit": shed.at_least,
                "concurrency_update_interval": UPDATE_EVERY,
            },
            "min_rtt_calc_params": {
                "fixed_value": duration(shed.latency * factor),
                "buffer": {"value": 0},
            },
        },
    }


def switched_on(service: Service, priority: Priority) -> Json:
    """For a route: the filter of its priority."""
    if service.shed is None or priority not in FACTORS:
        return {}
    kind = "envoy.config.route.v3.FilterConfig"
    return {filter_name(service, priority): {"@type": TYPE + kind, "config": {}}}


def refusal() -> Json:
    """Which answers in the access log are such refusals. The expression is looked at for a 503
    only."""
    kind = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    expression = f'response.code_details == "{DETAILS}"'
    return {
        "and_filter": {
            "filters": [
                {
                    "status_code_filter": {
                        "comparison": {
                            "op": "EQ",
                            "value": {"default_value": 503, "runtime_key": "seakeep.shed.status"},
                        }
                    }
                },
                {
                    "extension_filter": {
                        "name": "envoy.access_loggers.extension_filters.cel",
                        "typed_config": {"@type": TYPE + kind, "expression": expression},
                    }
                },
            ]
        }
    }


def local_reply() -> Json:
    """A refusal says when to come again."""
    header = {"key": "retry-after", "value": str(RETRY_AFTER_S)}
    return {
        "mappers": [
            {
                "filter": refusal(),
                "headers_to_add": [
                    {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                ],
            }
        ]
    }

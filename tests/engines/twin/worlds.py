"""Small systems, and worlds of them, as tests want them."""

from collections.abc import Sequence
from typing import Any

from seakeep.engines.twin.world import Process, World
from seakeep.model.action import Endpoint, Locality
from seakeep.model.rolling import Rollout
from seakeep.model.system import (
    Balance,
    Link,
    Node,
    Protocol,
    Region,
    Replicas,
    Resources,
    Retries,
    Route,
    Service,
    Spread,
    System,
    Workload,
    Zone,
)
from seakeep.model.time import SECOND, Duration
from seakeep.model.traffic import Shape, TrafficSource
from seakeep.model.work import Distribution, Work

WORKLOAD = Workload(
    command=(),
    port=8080,
    protocol=Protocol.HTTP,
    env=(),
    resources=Resources(cpu_millicores=100, memory_bytes=1 << 20),
    probes=(),
    stop_grace=0,
    revision="1",
)


def exponential(mean: Duration) -> Distribution:
    return Distribution(name="exponential", parameters=(("mean", float(mean)),))


def constant(value: Duration) -> Distribution:
    return Distribution(name="constant", parameters=(("value", float(value)),))


def work(time: Distribution, concurrency: int = 1, **more: Any) -> Work:
    return Work(time=time, concurrency=concurrency, **more)


def service(name: str, **more: Any) -> Service:
    """Without timeouts and retries, unless it is told otherwise."""
    given: dict[str, Any] = {
        "name": name,
        "workload": WORKLOAD,
        "image": None,
        "replicas": Replicas(min=1, max=10),
        "spread": Spread(regions={"r": 1.0}),
        "scale": None,
        "routes": (Route(),),
        "balance": Balance(),
        "timeout": 0,
        "retries": Retries(attempts=0),
        "limit": (),
        "calls": (),
        "work": None,
        "rollout": Rollout(),
        "drain": 0,
        "proxy_protocol": False,
    }
    return Service(**{**given, **more})


def source(
    name: str = "clients", to: str = "web", rate: float = 100.0, **more: Any
) -> TrafficSource:
    given: dict[str, Any] = {
        "name": name,
        "location": None,
        "service": to,
        "rate_per_s": rate,
        "shape": Shape.POISSON,
    }
    return TrafficSource(**{**given, **more})


def region(name: str, zones: Sequence[str] = ("a",), millicores: int = 4000) -> Region:
    return Region(
        name=name,
        zones={
            zone: Zone(
                name=zone,
                nodes=(
                    Node(
                        id=f"{name}/{zone}/0",
                        region=name,
                        zone=zone,
                        capacity=Resources(cpu_millicores=millicores, memory_bytes=1 << 30),
                    ),
                ),
            )
            for zone in zones
        },
    )


def system(
    services: Sequence[Service],
    sources: Sequence[TrafficSource] = (),
    regions: Sequence[Region] = (),
    links: Sequence[Link] = (),
    **more: Any,
) -> System:
    return System(
        name="test",
        revision="1",
        regions={one.name: one for one in regions or [region("r")]},
        links=tuple(links),
        services={one.name: one for one in services},
        traffic={one.name: one for one in sources},
        **more,
    )


def world(one: System, *, seed: int = 1, end: Duration = 60 * SECOND, **more: Any) -> World:
    return World(one, seed=seed, now=0, counted_from=0, end=end, **{"bucket": SECOND, **more})


def endpoint(name: str, **more: Any) -> Endpoint:
    return Endpoint(instance=name, host=name, port=8080, **{"healthy": True, **more})


def gateway(region: str) -> Endpoint:
    return Endpoint(instance=None, host=region, port=8080, healthy=True)


def locality(
    endpoints: Sequence[Endpoint], priority: int = 0, region: str = "r", weight: int = 0
) -> Locality:
    return Locality(
        region=region, zone="a", priority=priority, weight=weight, endpoints=tuple(endpoints)
    )


def serve(
    one: World, names: Sequence[str], *, service: str = "web", region: str = "r", **more: Any
) -> None:
    """Instances that serve, in the service's clusters of the region, and found healthy."""
    for name in names:
        one.add_instance(
            name,
            service=service,
            region=region,
            **{"zone": "a", "node": f"{region}/a/0", "revision": "1", **more},
        )
        one.set_state(name, Process.SERVING)
    found = [locality([endpoint(name) for name in names], region=region)]
    for cluster in (service, f"{service}.local"):
        one.set_endpoints(region, cluster, found)
    for name in names:
        one.set_check(region, name, ok=True)


def run(one: World, until: Duration) -> World:
    """With traffic from the beginning; nothing may be lost on the way."""
    one.start_traffic(0)
    one.advance(until)
    assert one.broken() == []
    return one

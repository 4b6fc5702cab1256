"""The state of a running system as one document: what `seakeep status --json` prints.

{"format": 2, "system", "revision", "epoch", "at_ns",
 "regions":  [{"name", "edge": {...part, "address"}, "link": {...part} | null,
               "holder": {...part} | null where no service may be without instances,
               "dns": {...part, "address", "digest"},
               "zones": [{"name", "nodes": [{...part, "instances": [...]}]}]}],
 "services": [{"name", "wanted", "ready", "total", "regions": {region: ready},
               "requests_per_s", "failures_per_s", "limited_per_s", "shed_per_s",
               "guarded": whether it has a limit or sheds,
               "shares": {limit: {region: requests/s that it may let through, once it was told}},
               "scale": {"min", "max", "load": instances that the load takes,
                         "regions": {region: wanted},
                         "metrics": [{"metric", "unit", "value" | null, "target",
                                      "wants" | null, "detail"}]} | null}],
 "dns":      {"zone", "ttl_s",
              "hosts": [{"host", "steer", "regions": {region: in the answers}}]} | null,
 "pending":  [action ids]}

The supervisor adds to each region "drain": {"phase", "says": [sentence]} | null, and to the whole
"rollouts" (see `runtime.rollouts`), "orders": [{"id", "kind", "subject", "argument", "given_by",
"given_at_ns", "given_wall_ns", "age_s"}], "pid" and "started_ns".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seakeep.decide.dns_hosts import hosts_of
from seakeep.decide.scaling_memory import Scaling
from seakeep.decide.scaling_metrics import WORDS
from seakeep.model.observation import Address, PartState, TrafficReading
from seakeep.model.system import Dns, Service, System, has_held, is_guarded
from seakeep.model.time import SECOND, Instant, in_seconds
from seakeep.model.view import Health, InstanceView, View
from seakeep.runtime.client import STATUS_FORMAT

RATE_WINDOW_S = 1.0

Document = dict[str, Any]
NO_SERVERS: Mapping[str, Address] = {}


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, and what became of them, of one service in one region."""

    requests_per_s: float
    failures_per_s: float
    limited_per_s: float
    """Beside the requests: refused by a limit (429)."""
    shed_per_s: float
    """Beside the requests: refused by shedding (503)."""


class Rates:
    """Rates from counters: the difference over the last second or more. A counter that went
    back (its Envoy was restarted) starts afresh."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], tuple[Instant, TrafficReading]] = {}
        self.now: dict[tuple[str, str], Rate] = {}

    def take(self, at: Instant, readings: tuple[TrafficReading, ...]) -> None:
        present = set()
        for reading in readings:
            key = (reading.region, reading.service)
            present.add(key)
            since, before = self._before.get(key, (at, reading))
            elapsed_s = in_seconds(at - since)
            if reading.requests < before.requests:
                self._before[key] = (at, reading)
            elif elapsed_s >= RATE_WINDOW_S:
                self.now[key] = Rate(
                    (reading.requests - before.requests) / elapsed_s,
                    (reading.failures - before.failures) / elapsed_s,
                    max(0, reading.limited - before.limited) / elapsed_s,
                    max(0, reading.shed - before.shed) / elapsed_s,
                )
                self._before[key] = (at, reading)
            else:
                self._before.setdefault(key, (at, reading))
        for key in [key for key in self._before if key not in present]:
            del self._before[key]
            self.now.pop(key, None)


def status_document(
    system: System,
    view: View,
    epoch: int,
    edges: Mapping[str, Address],
    rates: Rates,
    scaled: Mapping[str, Scaling] | None = None,
    servers: Mapping[str, Address] = NO_SERVERS,
) -> Document:
    """The document; shapes as at the head of this file."""
    names = list(system.regions)
    names += sorted({part.region for part in view.parts.values()} - set(names))
    return {
        "format": STATUS_FORMAT,
        "system": system.name,
        "revision": system.revision,
        "epoch": epoch,
        "at_ns": view.at,
        "regions": [_region(name, system, view, edges, servers) for name in names],
        "services": [
            _service(name, system, view, rates, (scaled or {}).get(name))
            for name in system.services
        ],
        "dns": None if system.dns is None else _dns(system, system.dns, view),
        "pending": sorted(view.pending),
    }


def _dns(system: System, dns: Dns, view: View) -> Document:
    """What its servers answer; a region that only some keep out counts as out."""
    out = {pair for one in view.answers.values() for pair in one.out}
    return {
        "zone": dns.zone,
        "ttl_s": dns.ttl // SECOND,
        "hosts": [
            {
                "host": host.name,
                "steer": host.steer.by.value,
                "regions": {name: f"{host.name} {name}" not in out for name in host.regions},
            }
            for host in hosts_of(system, dns)
        ],
    }


def _region(
    name: str,
    system: System,
    view: View,
    edges: Mapping[str, Address],
    servers: Mapping[str, Address],
) -> Document:
    zones: dict[str, list[PartState]] = {}
    for part in view.parts.values():
        if part.region == name and part.zone is not None:
            zones.setdefault(part.zone, []).append(part)
    edge, server = edges.get(name), servers.get(name)
    answers = view.answers.get(name)
    return {
        "name": name,
        "in_spec": name in system.regions,
        "edge": {
            **_part(view.parts.get(f"edge:{name}"), view),
            "address": f"{edge.host}:{edge.port}" if edge else None,
        },
        "link": _part(view.parts.get(f"link:{name}"), view),
        "holder": _part(view.parts.get(f"holder:{name}"), view) if has_held(system) else None,
        "dns": {
            **_part(view.parts.get(f"dns:{name}"), view),
            "address": f"{server.host}:{server.port}" if server else None,
            "digest": answers.digest if answers else None,
        },
        "zones": [
            {"name": zone, "nodes": [_node(part, view) for part in parts]}
            for zone, parts in sorted(zones.items())
        ],
    }


def _part(part: PartState | None, view: View) -> Document:
    if part is None:
        return {"running": False, "detail": "not there"}
    return {
        "id": part.id,
        "running": part.running,
        "detail": part.detail,
        "restarts": part.restarts,
        "since_s": round(in_seconds(view.at - part.changed_at), 1),
    }


def _node(part: PartState, view: View) -> Document:
    node = part.id.partition(":")[2]
    here = [item for item in view.instances.values() if item.state.node == node]
    return {**_part(part, view), "instances": [_instance(item, view) for item in here]}


def _instance(item: InstanceView, view: View) -> Document:
    state = item.state
    return {
        "id": state.id,
        "service": state.service,
        "node": state.node,
        "health": item.health.value,
        "detail": item.detail,
        "phase": state.phase.value,
        "draining": state.draining_since is not None,
        "address": f"{state.address.host}:{state.address.port}",
        "pid": state.pid,
        "restarts": state.restarts,
        "age_s": round((view.at - state.started_at) / SECOND, 1),
        "cpu_millicores": round(state.cpu_millicores, 1),
        "memory_bytes": state.memory_bytes,
    }


def _shares(service: str, view: View) -> Document:
    """Of limits of the service and of its routes (`web:0`, `web.1:0`)."""
    found: Document = {}
    for (region, limit), applied in view.limits.items():
        if limit.partition(":")[0].partition(".")[0] == service:
            found.setdefault(limit, {})[region] = round(applied.rate_per_s, 3)
    return found


def _service(
    name: str, system: System, view: View, rates: Rates, scaling: Scaling | None
) -> Document:
    members = view.by_service.get(name, ())
    ready = [m for m in members if m.health == Health.READY and m.state.draining_since is None]
    by_region = dict.fromkeys(system.regions, 0)
    for member in ready:
        by_region[member.state.region] = by_region.get(member.state.region, 0) + 1
    mine = [rate for (_, service), rate in rates.now.items() if service == name]
    return {
        "name": name,
        "wanted": system.services[name].replicas.min if scaling is None else scaling.wanted,
        "ready": len(ready),
        "total": len(members),
        "regions": by_region,
        "requests_per_s": round(sum(rate.requests_per_s for rate in mine), 1),
        "failures_per_s": round(sum(rate.failures_per_s for rate in mine), 1),
        "limited_per_s": round(sum(rate.limited_per_s for rate in mine), 1),
        "shed_per_s": round(sum(rate.shed_per_s for rate in mine), 1),
        "guarded": is_guarded(system.services[name]),
        "shares": _shares(name, view),
        "scale": None if scaling is None else _scale(system.services[name], scaling),
    }


def _scale(service: Service, scaling: Scaling) -> Document:
    bounds = scaling.bounds if scaling.bounds[1] else (service.replicas.min, service.replicas.max)
    return {
        "min": bounds[0],
        "max": bounds[1],
        "load": scaling.current,
        "regions": dict(scaling.layout),
        "metrics": [
            {
                "metric": one.metric.value,
                "unit": WORDS[one.metric],
                "value": None if one.value is None else round(one.value, 3),
                "target": one.target,
                "wants": one.wants,
                "detail": one.detail,
            }
            for one in scaling.readings
        ],
    }

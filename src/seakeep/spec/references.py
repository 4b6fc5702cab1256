"""What ties the sections of a spec together: names that must exist, routes that must not
collide, capacity that must suffice. Runs on what of the document is sound, so that one pass
finds everything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from seakeep.spec.build import node_capacity
from seakeep.spec.dns_references import check_dns
from seakeep.spec.document import Document
from seakeep.spec.found import Found
from seakeep.spec.messages import (
    PROBLEMS_MAX,
    Location,
    dotted,
    key_mark,
    nearest,
    value_mark,
    walk,
)
from seakeep.spec.nodes import Mapping as Tree
from seakeep.spec.nodes import Scalar, Sequence, place, problem_at
from seakeep.spec.problem import Problem, Severity
from seakeep.spec.routing import RoutePart
from seakeep.spec.scale_references import scale_faults
from seakeep.spec.scenario import PAIR
from seakeep.spec.scenario_references import check_scenarios
from seakeep.spec.service import ServicePart


def check_references(
    document: Document,
    root: Tree,
    names: Mapping[str, tuple[str, ...]],
    aside: set[Location],
) -> list[Problem]:
    """Problems between sections. `names` are the names that the file defines, by section, the
    faulty entries that `document` lacks included. Nothing is said about the locations in
    `aside`, whose values only stand in, nor about what follows from them."""
    checker = _Checker(document, root, names, aside)
    checker.network()
    checker.services()
    checker.route_collisions()
    checker.call_cycles()
    checker.traffic()
    checker.objectives()
    checker.scenarios()
    checker.dns()
    return checker.problems


@dataclass(slots=True)
class _Checker:
    document: Document
    root: Tree
    names: Mapping[str, tuple[str, ...]]
    aside: set[Location]
    problems: list[Problem] = field(default_factory=list)

    # --- telling ---

    def tell(
        self,
        location: Location,
        message: str,
        hint: str = "",
        *,
        key: bool = False,
        severity: Severity = Severity.ERROR,
    ) -> None:
        if self.is_aside(location) or len(self.problems) >= PROBLEMS_MAX:
            return
        mark = (key_mark if key else value_mark)(self.root, location)
        message = f"{dotted(location)}: {message}"
        self.problems.append(problem_at(mark, message, hint, severity))

    def is_aside(self, location: Location) -> bool:
        """Whether the location, or what holds it, was set aside."""
        return bool(self.aside) and any(
            location[:depth] in self.aside for depth in range(1, len(location) + 1)
        )

    def has_aside(self, location: Location) -> bool:
        """Whether anything at or below the location was set aside."""
        return any(other[: len(location)] == location for other in self.aside)

    def warn(self, location: Location, message: str, hint: str = "", *, key: bool = False) -> None:
        self.tell(location, message, hint, key=key, severity=Severity.WARNING)

    def known(self, section: str, name: str, location: Location, *, key: bool = False) -> bool:
        """Whether the section has the name; tells when it does not."""
        names = self.names[section]
        if name in names:
            return True
        word = {"services": "service", "regions": "region", "traffic": "traffic source"}[section]
        self.tell(location, f"there is no {word} '{name[:63]}'", nearest(name, names), key=key)
        return False

    def tell_all(self, findings: Iterable[Found]) -> None:
        for found in findings:
            severity = Severity.WARNING if found.warning else Severity.ERROR
            if found.wants is not None:
                section, name = found.wants
                self.known(section, name, found.location, key=found.key)
            else:
                self.tell(
                    found.location, found.message, found.hint, key=found.key, severity=severity
                )

    # --- sections ---

    def network(self) -> None:
        seen: dict[tuple[str, str], str] = {}
        for pair in self.names["network"]:
            match = PAIR.fullmatch(pair)
            if match is None:
                continue
            a, b = match[1], match[3]
            for name in (a, b):
                self.known("regions", name, ("network", pair), key=True)
            first = seen.setdefault((min(a, b), max(a, b)), pair)
            if first != pair:
                self.tell(
                    ("network", pair),
                    f"is the same pair as {first}",
                    "latency is the same both ways; remove one",
                    key=True,
                )

    def services(self) -> None:
        for name, service in self.document.services.items():
            at: Location = ("services", name)
            for region in service.spread.regions:
                self.known("regions", region, self._spread_place(at, region), key=True)
            self._has_a_program(at, service)
            self._shares(at, service)
            self._standby(at, service)
            for called in service.calls:
                self.known("services", called, (*at, "calls", called), key=True)
            if not self.is_aside((*at, "protocol")):
                self._protocol(at, service)
            self._timing(at, service)
            self._scale(at, service)
            self._capacity(at, service)

    def _has_a_program(self, at: Location, service: ServicePart) -> None:
        if service.run is None and service.work is None and not self.has_aside((*at, "work")):
            self.tell(
                at,
                "'run' is missing",
                "write run: and the command that starts it, such as python app.py, or work: "
                "{time: 10ms} for a service that only the twin knows",
                key=True,
            )

    def _shares(self, at: Location, service: ServicePart) -> None:
        """Percentages must come to 100%, and an even rest must not be beyond it."""
        where = (*at, "spread", "regions")
        shares = service.spread.regions.values()
        given = sum(share for share in shares if share is not None)
        evenly = None in shares
        if not shares or self.has_aside(where):
            return
        if given > 1 + 1e-9 or (given < 1 - 1e-9 and not evenly):
            self.tell(
                where,
                f"the shares add up to {given * 100:.10g}%, not 100%",
                "change the percentages, or write even for the rest",
            )

    def _standby(self, at: Location, service: ServicePart) -> None:
        """Who stands by is another than who is active, and somebody is active."""
        spread = service.spread
        for region in spread.standby:
            where = (*at, "spread", "standby", region)
            self.known("regions", region, where, key=True)
            if region in spread.regions:
                self.tell(
                    where,
                    f"{region} is active and stands by",
                    "remove it here, or from spread.regions",
                    key=True,
                )
        active = spread.regions or self.document.regions
        if spread.standby and not any(name not in spread.standby for name in active):
            self.tell(
                (*at, "spread", "standby"),
                "every region stands by, and none is active",
                "leave one out, or name the active ones in spread.regions",
                key=True,
            )
        if not spread.standby and "failback" in spread.model_fields_set:
            self.tell(
                (*at, "spread", "failback"),
                "nothing stands by, so nothing goes back",
                "remove it, or write standby: {REGION: 20%}",
                key=True,
            )

    def _spread_place(self, at: Location, region: str) -> Location:
        """The region in `spread.regions`, whether that is a mapping or a list."""
        whole = (*at, "spread", "regions")
        items = index_of(self.root, whole, region)
        return (*whole, region if items is None else items)

    def _protocol(self, at: Location, service: ServicePart) -> None:
        tcp = service.protocol == "tcp"
        for index, route in enumerate(service.routes):
            where = (*at, "routes", index)
            if tcp and route.port is None:
                self.tell(
                    where,
                    "a tcp service needs the edge's port in its route",
                    "write routes: [{port: 5432}]",
                )
            if tcp:
                for key in sorted(route.model_fields_set - {"port"}):
                    self.tell(
                        (*where, key),
                        f"{key} has no meaning for a tcp service",
                        "remove it, or write protocol: http",
                        key=True,
                    )
            elif route.port is not None:
                self.tell(
                    (*where, "port"),
                    "port is for routes of tcp services; http routes share the edge's port",
                    "remove it, or write protocol: tcp",
                    key=True,
                )
        for key in ("limit", "shed") if tcp else ():
            if getattr(service, key):
                self.tell(
                    (*at, key),
                    f"{key} is about requests, which the edge does not see of a tcp service",
                    "remove it, or write protocol: http",
                    key=True,
                )
        if service.proxy_protocol and not tcp:
            self.tell(
                (*at, "proxy_protocol"),
                "is for tcp services; http services get x-forwarded-for",
                "remove it, or write protocol: tcp",
                key=True,
            )

    def _scale(self, at: Location, service: ServicePart) -> None:
        """What its scaling asks of the rest of the service, and of the regions."""
        regions = {
            name: len(part.zones)
            for name, part in self.document.regions.items()
            if not service.spread.regions or name in service.spread.regions
        }
        if self.has_aside(("regions",)) or self.has_aside((*at, "spread")):
            regions = {}
        if self.has_aside((*at, "replicas")):
            return
        for one in scale_faults(service, regions):
            where = (*at, *one.at)
            self.tell(where, one.message, one.hint, key=True, severity=one.severity)

    def _timing(self, at: Location, service: ServicePart) -> None:
        shed, timeout = service.shed, service.timeout
        if shed is not None and 0 < timeout <= shed.latency:
            self.warn(
                (*at, "shed", "latency"),
                "requests time out before they take that long, so nothing is ever shed",
                "make it shorter than timeout",
            )
        for index, route in enumerate(service.routes):
            if shed is None and "priority" in route.model_fields_set:
                self.warn(
                    (*at, "routes", index, "priority"),
                    "priority bears on nothing without shed",
                    "add shed: {latency: 100ms} to the service",
                    key=True,
                )
        per_try = service.retries.per_try
        if per_try is not None and 0 < timeout <= per_try and service.retries.attempts:
            self.warn(
                (*at, "retries", "per_try"),
                "one try may take the whole timeout, so there is never a second",
                "make it shorter than timeout",
            )

    def _capacity(self, at: Location, service: ServicePart) -> None:
        """Warn about instances that no node of a region in the spread can hold."""
        wanted = service.resources
        spread = service.spread
        places = dict.fromkeys((*(spread.regions or self.document.regions), *spread.standby))
        for name in places:
            region = self.document.regions.get(name)
            if region is None or self.has_aside(("regions", name)):
                continue
            sizes = [node_capacity(zone.nodes, region.nodes) for zone in region.zones.values()]
            if not any(
                size.cpu_millicores >= wanted.cpu and size.memory_bytes >= wanted.memory
                for size in sizes
            ):
                self.warn(
                    (*at, "resources"),
                    f"no node of {name} can hold an instance",
                    f"ask for less, or write bigger nodes in regions.{name}.nodes",
                    key=True,
                )

    def route_collisions(self) -> None:
        seen: dict[tuple[object, ...], Location] = {}
        edge = self.document.edge.port
        for name, service in self.document.services.items():
            for index, route in enumerate(service.routes):
                location: Location = ("services", name, "routes", index)
                if service.protocol == "tcp" and route.port == edge:
                    self.tell(
                        (*location, "port"),
                        f"port {edge} is the edge's own, for http",
                        "choose another, or change edge.port",
                    )
                if self.is_aside(location) or self.is_aside(("services", name, "protocol")):
                    continue
                first = seen.setdefault(_route_key(route, service.protocol), location)
                if first != location and (service.protocol == "http" or route.port is not None):
                    there = value_mark(self.root, first)
                    where = place(there, value_mark(self.root, location).file)
                    self.tell(
                        location,
                        f"the same route as {dotted(first)} ({where})",
                        "change host, path, headers or port of one of them",
                    )

    def call_cycles(self) -> None:
        for cycle in cycles_of(
            {name: tuple(part.calls) for name, part in self.document.services.items()}
        ):
            self.warn(
                ("services", cycle[0], "calls", cycle[1]),
                f"services call each other in a circle: {' → '.join(cycle)}",
                "one slow service slows the whole circle; break it with a topic or a cache",
                key=True,
            )

    def traffic(self) -> None:
        for name, source in self.document.traffic.items():
            location: Location = ("traffic", name, "to")
            if not self.known("services", source.to, location):
                continue
            service = self.document.services.get(source.to)
            if service is None:
                continue
            if service.protocol == "tcp":
                self.warn(location, f"{source.to} is a tcp service; traffic is HTTP requests")
            elif source.origin is None or self.is_aside(("traffic", name, "from")):
                continue
            elif not service.routes and not _has(self.root, ("services", source.to, "routes", 0)):
                self.tell(
                    location,
                    f"clients cannot reach {source.to}: it has no routes",
                    f"add routes: [{{path: /}}] to services.{source.to}",
                )
            elif service.routes and not any(_covers(r, source.path) for r in service.routes):
                self.warn(
                    ("traffic", name),
                    f"no route of {source.to} covers {source.path}",
                    "add a route, or change path",
                    key=True,
                )

    def objectives(self) -> None:
        for index, objective in enumerate(self.document.objectives):
            self.known("services", objective.service, ("objectives", index, "service"))

    def dns(self) -> None:
        sound = not self.is_aside(("dns",)) and (
            self.document.dns is not None or not _has(self.root, ("dns",))
        )
        self.tell_all(check_dns(self.document, zone_is_sound=sound))

    def scenarios(self) -> None:
        said = {section: _has(self.root, (section,)) for section in ("dns", "objectives")}
        self.tell_all(check_scenarios(self.document, self.names["services"], said))


def _has(root: Tree, location: Location) -> bool:
    """Whether the file has anything at the location."""
    return len(walk(root, location)) == len(location) + 1


def _route_key(route: RoutePart, protocol: str) -> tuple[object, ...]:
    if protocol == "tcp":
        return ("tcp", route.port)
    headers = tuple(sorted(route.headers.items()))
    return ("http", route.host, route.path.rstrip("/"), headers)


def _covers(route: RoutePart, path: str) -> bool:
    """Whether the route's prefix covers the path, by whole segments."""
    prefix = route.path.rstrip("/")
    bare = path.partition("?")[0]
    return bare.rstrip("/") == prefix or bare.startswith(prefix + "/")


def index_of(root: Tree, location: Location, text: str) -> int | None:
    """Where in the list at a location an item with this text is; None when it is no list."""
    trail = walk(root, location)
    node = trail[-1][1]
    if len(trail) != len(location) + 1 or not isinstance(node, Sequence):
        return None
    for index, item in enumerate(node.items):
        if isinstance(item, Scalar) and item.text == text:
            return index
    return None


def cycles_of(calls: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """One circle for each call that closes one in a depth-first walk in the file's order, as
    (a, b, ..., a). Iterative: a chain may be as long as the file."""
    done: set[str] = set()
    for start in calls:
        if start in done:
            continue
        path: list[str] = [start]
        place_in_path = {start: 0}
        pending = [iter(calls[start])]
        while pending:
            called = next(pending[-1], None)
            if called is None:
                pending.pop()
                left = path.pop()
                del place_in_path[left]
                done.add(left)
            elif called in place_in_path:
                yield (*path[place_in_path[called] :], called)
            elif called in calls and called not in done:
                place_in_path[called] = len(path)
                path.append(called)
                pending.append(iter(calls[called]))

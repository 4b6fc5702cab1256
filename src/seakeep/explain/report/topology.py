"""The system as a picture: who calls whom, and where it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from seakeep.explain.report import words
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.model.ids import ServiceName
from seakeep.model.system import Region, Service, Shape, System, TrafficSource
from seakeep.model.units import format_bytes, format_cpu, format_duration

BOX_WIDTH, BOX_HEIGHT = 190, 54
GAP_X, GAP_Y = 90, 18
MARGIN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    name: str
    detail: str
    kind: str
    """`source` or `service`."""
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    origin: str
    target: str
    words: str


def topology(system: System) -> Markup:
    return tag(
        "section",
        tag("h2", "The system"),
        tag("p", _summary(system)),
        _calls(system) if system.services else None,
        _places(system) if system.regions else None,
        id="system",
    )


def _summary(system: System) -> str:
    parts = [
        words.counted(len(system.services), "service"),
        words.counted(len(system.regions), "region"),
    ]
    rate = sum(source.rate_per_s for source in system.traffic.values() if not source.log)
    asked = f", asked {words.rate(rate)} by clients in all" if rate else ""
    return f"{system.name}: {words.listed(parts)}{asked}."


# --- who calls whom ---------------------------------------------------------------


def layers(system: System) -> list[list[ServiceName]]:
    """Services by how many calls lie between a client and them; who is called stands to the
    right of who calls. In a circle of calls the first one that is met stands to the left."""
    depth: dict[ServiceName, int] = {}

    def place(name: ServiceName, level: int, above: tuple[ServiceName, ...]) -> None:
        if name in above or name not in system.services or depth.get(name, -1) >= level:
            return
        depth[name] = level
        for call in system.services[name].calls:
            place(call.service, level + 1, (*above, name))

    called = {call.service for one in system.services.values() for call in one.calls}
    asked = {source.service for source in system.traffic.values()}
    for name in system.services:
        if name in asked or name not in called:
            place(name, 0, ())
    for name in system.services:
        if name not in depth:
            place(name, 0, ())
    found: list[list[ServiceName]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in system.services:
        found[depth[name]].append(name)
    return found


def _calls(system: System) -> Markup:
    grid = [[(name, "source") for name in system.traffic]] if system.traffic else []
    grid += [[(name, "service") for name in layer] for layer in layers(system)]
    tallest = max(len(column) for column in grid)
    boxes = {}
    for index, column in enumerate(grid):
        free = (tallest - len(column)) * (BOX_HEIGHT + GAP_Y) // 2
        for row, (name, kind) in enumerate(column):
            boxes[kind, name] = Box(
                name=name,
                kind=kind,
                detail=_detail(system, kind, name),
                x=MARGIN + index * (BOX_WIDTH + GAP_X),
                y=MARGIN + free + row * (BOX_HEIGHT + GAP_Y),
            )
    width = 2 * MARGIN + len(grid) * (BOX_WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + tallest * (BOX_HEIGHT + GAP_Y) - GAP_Y
    drawn = [
        _arrow(boxes["source", source.name], boxes["service", source.service], "")
        for source in system.traffic.values()
        if ("service", source.service) in boxes
    ]
    drawn += [
        _arrow(boxes["service", one.name], boxes["service", call.service], _times(call.per_request))
        for one in system.services.values()
        for call in one.calls
        if ("service", call.service) in boxes
    ]
    drawn += [_box(box) for box in boxes.values()]
    return _figure(
        "Who calls whom: clients at the left; the number on an arrow is calls per request",
        drawn,
        width,
        height,
        _spoken(system),
    )


def _detail(system: System, kind: str, name: str) -> str:
    if kind == "source":
        return _traffic(system.traffic[name])
    service = system.services[name]
    least, most = service.replicas.min, service.replicas.max
    many = f"{least}" if service.scale is None or least == most else f"{least} to {most}"
    return f"{many} instances" if many != "1" else "1 instance"


def _traffic(source: TrafficSource) -> str:
    if source.shape is Shape.LOG:
        return "as in an access log"
    each = words.number(source.rate_per_s)
    if source.sessions is not None:
        return f"{each} sessions/s"
    shape = "" if source.shape is Shape.POISSON else f", {source.shape.value}"
    return words.rate(source.rate_per_s).replace("requests", "req.") + shape


def _times(per_request: float) -> str:
    return f"× {per_request:g}"


def _arrow(origin: Box, target: Box, label: str) -> Markup:
    x1, y1 = origin.x + BOX_WIDTH, origin.y + BOX_HEIGHT // 2
    x2, y2 = target.x, target.y + BOX_HEIGHT // 2
    bend = max(GAP_X // 2, abs(x2 - x1) // 3)
    way = f"M{x1},{y1}C{x1 + bend},{y1} {x2 - bend},{y2} {x2 - 6},{y2}"
    head = f"M{x2},{y2}l-8,-4v8z"
    text = None
    if label:
        text = tag(
            "text",
            label,
            class_="label",
            x=x2 - 14,
            y=y2 + 18 if y2 > y1 else y2 - 8,
            text_anchor="end",
        )
    return Markup(
        tag("path", class_="arrow", d=way) + tag("path", class_="head", d=head) + (text or "")
    )


def _box(box: Box) -> Markup:
    hint = tag("title", f"{box.kind} {box.name}: {box.detail}")
    return tag(
        "g",
        hint,
        tag(
            "rect",
            class_=f"box {box.kind}",
            x=box.x,
            y=box.y,
            width=BOX_WIDTH,
            height=BOX_HEIGHT,
            rx=BOX_HEIGHT // 2 if box.kind == "source" else 6,
        ),
        _text(box.name, box.x + BOX_WIDTH // 2, box.y + 23, "name"),
        _text(box.detail, box.x + BOX_WIDTH // 2, box.y + 41, "detail"),
    )


def _text(text: str, x: int, y: int, class_: str, most: int = 24) -> Markup:
    """Cut where it would not fit: the whole stands in the hint."""
    shown = text if len(text) <= most else text[: most - 1] + "…"
    return tag("text", shown, class_=class_, x=x, y=y, text_anchor="middle")


def _spoken(system: System) -> str:
    said = [
        f"{source.name} asks {source.service}, {_traffic(source)}"
        for source in system.traffic.values()
    ]
    said += [
        f"{one.name} calls {call.service} {call.per_request:g} times a request"
        for one in system.services.values()
        for call in one.calls
    ]
    return "Who calls whom. " + "; ".join(said)


# --- where it runs ----------------------------------------------------------------

REGION_WIDTH = 260
LINE = 20
ARC = 34
"""How much deeper an arc hangs for each region that it passes."""


def _places(system: System) -> Markup:
    regions = list(system.regions.values())
    lines = {region.name: _region_lines(system, region) for region in regions}
    rows = max(len(text) for text in lines.values())
    height = 44 + rows * LINE
    drawn: list[Markup] = []
    for index, region in enumerate(regions):
        drawn.append(_region(region, lines[region.name], index * (REGION_WIDTH + 40), height))
    deepest = 0
    if 1 < len(regions) <= 5:
        place = {region.name: index for index, region in enumerate(regions)}
        for link in system.links:
            first, last = sorted((place[link.a], place[link.b]))
            deepest = max(deepest, last - first)
            drawn.append(_link(first, last, height, format_duration(link.latency)))
    width = len(regions) * (REGION_WIDTH + 40) - 40 + 2 * MARGIN
    return _figure(
        "Where it runs: regions with their zones, machines and shares of each service"
        + (", and the time one way between them" if deepest else ""),
        drawn,
        width,
        height + deepest * ARC + (24 if deepest else 2 * MARGIN),
        _spoken_places(system),
    )


def _region_lines(system: System, region: Region) -> list[tuple[str, str]]:
    """(class, text) of each line in the box of a region."""
    lines = [("zone", _zone(region, name)) for name in region.zones]
    for service in system.services.values():
        share = _share(service, region.name)
        if share:
            lines.append(("share", f"{service.name}: {share}"))
    return lines


def _zone(region: Region, name: str) -> str:
    nodes = region.zones[name].nodes
    text = f"zone {name}: {words.counted(len(nodes), 'node')}"
    if nodes:
        cpu = sum(node.capacity.cpu_millicores for node in nodes)
        memory = sum(node.capacity.memory_bytes for node in nodes)
        text += f", {format_cpu(cpu)} CPU, {format_bytes(memory)}"
    return text


def _share(service: Service, region: str) -> str:
    weight = service.spread.regions.get(region)
    if weight is not None:
        return words.percent(weight, 0) if weight else "overflow only"
    standby = service.spread.standby.get(region)
    return f"standby, {words.percent(standby, 0)}" if standby else ""


def _region(region: Region, lines: Sequence[tuple[str, str]], x: int, height: int) -> Markup:
    left = x + MARGIN
    return tag(
        "g",
        tag("title", f"region {region.name}: " + "; ".join(text for _, text in lines)),
        tag("rect", class_="box region", x=left, y=MARGIN, width=REGION_WIDTH, height=height, rx=6),
        _text(region.name, left + REGION_WIDTH // 2, MARGIN + 24, "name", 32),
        [
            _text(text, left + REGION_WIDTH // 2, MARGIN + 48 + row * LINE, f"detail {kind}", 40)
            for row, (kind, text) in enumerate(lines)
        ],
    )


def _link(first: int, last: int, height: int, latency: str) -> Markup:
    x1, x2 = (
        MARGIN + index * (REGION_WIDTH + 40) + REGION_WIDTH // 2 + side
        for index, side in ((first, 12), (last, -12))
    )
    top, depth = MARGIN + height, (last - first) * ARC
    way = f"M{x1},{top}C{x1},{top + depth * 4 // 3} {x2},{top + depth * 4 // 3} {x2},{top}"
    text = tag(
        "text", latency, class_="label", x=(x1 + x2) // 2, y=top + depth - 6, text_anchor="middle"
    )
    return Markup(tag("path", class_="arrow", d=way) + text)


def _spoken_places(system: System) -> str:
    said = [
        f"region {region.name}: " + ", ".join(text for _, text in _region_lines(system, region))
        for region in system.regions.values()
    ]
    said += [f"{link.a} to {link.b}: {format_duration(link.latency)}" for link in system.links]
    return "Where it runs. " + "; ".join(said)


def _figure(caption: str, drawn: Content, width: int, height: int, label: str) -> Markup:
    picture = tag(
        "svg",
        drawn,
        class_="diagram",
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        style=f"max-width:{width}px;min-width:{min(width, 560)}px",
    )
    return tag(
        "figure",
        tag("figcaption", tag("span", caption, class_="what")),
        tag("div", picture, class_="scroll"),
        class_="panel",
    )

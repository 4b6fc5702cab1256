"""What ties scenarios to the other sections: what they break must be there, and in time."""

from collections.abc import Iterator, Mapping

from seakeep.spec.build_trial import fault_of
from seakeep.spec.document import Document
from seakeep.spec.found import Found
from seakeep.spec.messages import Location, nearest
from seakeep.spec.scenario import PAIR, ScenarioPart, StepPart


def check_scenarios(
    document: Document, services: tuple[str, ...], said: Mapping[str, bool]
) -> Iterator[Found]:
    """`services`: names that the file defines, the faulty ones included. `said`: whether the file
    has a section, sound or not."""
    for name, scenario in document.scenarios.items():
        at: Location = ("scenarios", name)
        if not said["objectives"]:
            yield from _nothing_to_meet(scenario, at)
        for index, step in enumerate(scenario.steps):
            location: Location = (*at, "steps", index)
            yield from _times(scenario, step, location)
            yield from _subject(document, services, said, step, location)


def _nothing_to_meet(scenario: ScenarioPart, at: Location) -> Iterator[Found]:
    for key in ("recovery", "budget"):
        if getattr(scenario.expect, key) is not None:
            yield Found(
                (*at, "expect", key),
                "is about objectives, and there are none",
                "add objectives: [{service: web, availability: 99.9%}]",
                key=True,
                warning=True,
            )


def _times(scenario: ScenarioPart, step: StepPart, location: Location) -> Iterator[Found]:
    if step.at >= scenario.duration:
        yield Found(
            (*location, "at"),
            "is not before the scenario's end",
            "make duration longer, or the step earlier",
        )
    elif step.lasts is not None and step.at + step.lasts > scenario.duration:
        yield Found(
            (*location, "for"),
            "goes on beyond the scenario's end, so recovery is never seen",
            "make duration longer",
            warning=True,
        )


def _subject(
    document: Document,
    services: tuple[str, ...],
    said: Mapping[str, bool],
    step: StepPart,
    location: Location,
) -> Iterator[Found]:
    at: Location = (*location, step.given[0])
    subject = fault_of(step).subject
    if step.lose is not None:
        yield from _lost_place(document, step, at)
    elif step.kill is not None or step.freeze is not None:
        yield from _instance(subject, services, at)
    elif step.slow is not None or step.errors is not None:
        yield from _instance(subject, services, (*at, "service"))
    elif step.surge is not None:
        yield Found((*at, "traffic"), wants=("traffic", subject))
    elif step.outage is not None:
        yield Found(at, wants=("services", subject))
    elif step.deploy is not None:
        yield Found((*at, "service"), wants=("services", subject))
    elif step.dns is not None and not said["dns"]:
        yield Found(at, "there is no DNS that could be stale", "add dns: {zone: shop.example}")
    elif (match := PAIR.fullmatch(subject)) is not None:
        where = at if step.partition is not None else (*at, "link")
        for region in (match[1], match[3]):
            yield Found(where, wants=("regions", region))


def _instance(subject: str, services: tuple[str, ...], location: Location) -> Iterator[Found]:
    """A service, or a service and an ordinal."""
    service, dash, ordinal = subject.rpartition("-")
    numbered = dash and ordinal.isascii() and ordinal.isdigit() and service in services
    if not numbered:
        yield Found(location, wants=("services", subject))


def _lost_place(document: Document, step: StepPart, at: Location) -> Iterator[Found]:
    lose = step.lose
    assert lose is not None
    key = "region" if lose.region is not None else "zone" if lose.zone is not None else "node"
    location = (*at, key)
    text = lose.region or lose.zone or lose.node or ""
    parts = text.split("/")
    form = {"region": "us-east", "zone": "us-east/a", "node": "us-east/a/0"}[key]
    if len(parts) != form.count("/") + 1:
        yield Found(location, f"'{text[:80]}' is not a {key}", f"write it as in {form}")
        return
    yield Found(location, wants=("regions", parts[0]))
    region = document.regions.get(parts[0])
    if region is None or key == "region":
        return
    zone = region.zones.get(parts[1])
    if zone is None:
        message = f"{parts[0]} has no zone '{parts[1][:63]}'"
        yield Found(location, message, nearest(parts[1], tuple(region.zones)))
    elif key == "node":
        count = zone.nodes.count or region.nodes.count or 1
        if parts[2] not in (str(index) for index in range(count)):
            yield Found(
                location,
                f"{parts[0]}/{parts[1]} has no node '{parts[2][:20]}'",
                f"nodes are numbered from 0 to {count - 1}",
            )

"""Who belongs to a cluster, and with what word: one service's instances by region, as endpoints.

Everything that runs and has been ready once is listed, and its health says whether it is to get
requests: a balancer that knows how many members are unwell spills over to other places by
arithmetic, and fails open when too many are. Only what cannot answer is left out: processes that
have exited, are lost with their node, or have not finished starting.

What is remembered of each instance is a plain tuple, and a step looks only at those that the view
has news of. Endpoints are made of the tuples when a balancer is to be told, which at rest is never.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from seakeep.decide.rollout_plan import RolloutPlan
from seakeep.decide.weights import WeightMemory, tilt, weigh
from seakeep.model.action import Endpoint
from seakeep.model.ids import InstanceId, NodeId, RegionName, ZoneName, ordinal_of
from seakeep.model.observation import InstanceState, Phase
from seakeep.model.system import Service
from seakeep.model.time import Instant
from seakeep.model.view import NO_NEWS, Health, InstanceView, News, View

Word: TypeAlias = tuple[bool, bool]
"""(healthy, draining) of a member."""

_READY: Word = (True, False)
_LEAVING: Word = (True, True)
_FLAGS: Mapping[Word, str] = {
    (healthy, draining): f"{healthy:d}{draining:d}"
    for healthy in (True, False)
    for draining in (True, False)
}

Listing: TypeAlias = tuple[InstanceId, str, int, Word, int]
"""What balancers are told of one instance: its id, host, port, word and weight."""

Listings: TypeAlias = Mapping[InstanceId, Listing | None]
"""Of the instances of one service in one zone, by ordinal; None: it is not listed."""

Register: TypeAlias = Mapping[RegionName, Mapping[ZoneName, Listings]]
"""Of every instance of one service, in any state."""

_Listings: TypeAlias = dict[InstanceId, Listing | None]


@dataclass(frozen=True)
class Group:
    """The members of one service in one zone."""

    region: RegionName
    zone: ZoneName
    listed: tuple[Listing, ...]
    """In the order of their ordinals."""
    digest: str
    """Of `endpoints`."""

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(
                instance=name,
                host=host,
                port=port,
                healthy=word[0],
                draining=word[1],
                weight=weight,
            )
            for name, host, port, word, weight in self.listed
        )


@dataclass(frozen=True, slots=True)
class Roll:
    """The members of one service in one region."""

    zones: Mapping[ZoneName, Group]
    """By the ordinal of their first member; zones without members are absent."""
    members: int
    ready: int
    """Members that are to get new requests."""


NOBODY = Roll({}, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMemory:
    """The rolls of one service, and what they were made from."""

    seen_at: Instant | None = None
    register: Register = field(default_factory=dict)
    """As seen then."""
    rolls: Mapping[RegionName, Roll] = field(default_factory=dict)
    """Of every region in the register."""
    weights: WeightMemory = field(default_factory=WeightMemory)
    told: Mapping[InstanceId, int] = field(default_factory=dict)
    """The weights that the register has: in a canary they are tilted."""
    serves: str = ""
    """The only revision that gets requests, when there is one."""


def enroll(
    service: Service, view: View, memory: ServiceMemory, plan: RolloutPlan | None = None
) -> ServiceMemory:
    """The rolls of a service. Regions where nothing changed keep the same object. `plan`: of a
    service in a rollout; a version that is not to serve is listed as draining."""
    instances = view.by_service.get(service.name, ())
    weights = weigh(service, instances, memory.weights, view.at)
    told, serves = weights.weights, ""
    if plan is not None:
        told, serves = tilt(instances, weights.weights, plan, memory.told), plan.serves
    news = None
    if told is memory.told and serves == memory.serves:
        news = view.news_since(service.name, memory.seen_at)
    if news is NO_NEWS:
        return memory if weights is memory.weights else replace(memory, weights=weights)
    if news is None:
        register = _register(instances, told, serves)
    else:
        register = _with_news(memory.register, news, told, serves)
    rolls = {
        region: memory.rolls[region]
        if zones == memory.register.get(region)
        else _roll(region, zones, memory.rolls.get(region, NOBODY))
        for region, zones in register.items()
    }
    return ServiceMemory(
        seen_at=view.at, register=register, rolls=rolls, weights=weights, told=told, serves=serves
    )


def _register(
    instances: Iterable[InstanceView], weights: Mapping[InstanceId, int], serves: str
) -> Register:
    """Made from nothing, as when a supervisor adopts thousands of instances at once."""
    register: dict[RegionName, dict[ZoneName, _Listings]] = {}
    on_node: dict[NodeId, _Listings] = {}
    for one in instances:
        state = one.state
        listings = on_node.get(state.node)
        if listings is None:
            zones = register.setdefault(state.region, {})
            listings = on_node[state.node] = zones.setdefault(state.zone, {})
        listings[state.id] = _listing(one, weights, serves)
    return register


def _with_news(
    register: Register, news: News, weights: Mapping[InstanceId, int], serves: str
) -> Register:
    """The register brought up to date. Regions without news keep the same objects."""
    anew: dict[RegionName, dict[ZoneName, _Listings]] = {}

    def listings_of(state: InstanceState) -> _Listings:
        zones = anew.get(state.region)
        if zones is None:
            old = register.get(state.region, {})
            zones = anew[state.region] = {zone: dict(of) for zone, of in old.items()}
        return zones.setdefault(state.zone, {})

    for one in news.went:
        listings_of(one.state).pop(one.state.id, None)
    for one in news.changed:
        listings_of(one.state)[one.state.id] = _listing(one, weights, serves)
    for one in news.came:
        listings = listings_of(one.state)
        last = next(reversed(listings), None)
        listings[one.state.id] = _listing(one, weights, serves)
        if last is not None and ordinal_of(last) > ordinal_of(one.state.id):
            in_order = sorted(listings, key=ordinal_of)  # a node has come back with what it had
            anew[one.state.region][one.state.zone] = {name: listings[name] for name in in_order}
    whole = {**register, **anew}
    return {
        region: {zone: listings for zone, listings in zones.items() if listings}
        for region, zones in whole.items()
        if any(zones.values())
    }


def _listing(one: InstanceView, weights: Mapping[InstanceId, int], serves: str) -> Listing | None:
    word = word_of(one)
    if word is None:
        return None
    state = one.state
    if serves and state.revision != serves:
        word = word[0], True
    address = state.address
    return (state.id, address.host, address.port, word, weights.get(state.id, 1))


def word_of(one: InstanceView) -> Word | None:
    """What a balancer is told about an instance; None when it is not listed."""
    health: Health | None = one.health
    state = one.state
    if health is Health.UNKNOWN:
        health = one.last_word
    if health is Health.READY:
        return _READY if state.draining_since is None else _LEAVING
    if health is Health.UNREADY or (health is Health.FAILED and state.phase is Phase.RUNNING):
        return False, state.draining_since is not None
    return None


def _roll(region: RegionName, zones: Mapping[ZoneName, Listings], old: Roll) -> Roll:
    """A region's roll. Zones where nothing changed keep the same object."""
    groups = []
    for zone, listings in zones.items():
        listed = tuple([listing for listing in listings.values() if listing is not None])
        if listed:
            group = old.zones.get(zone)
            if group is None or group.listed != listed:
                group = Group(region, zone, listed, _digest(listed))
            groups.append(group)
    groups.sort(key=lambda group: ordinal_of(group.listed[0][0]))
    return Roll(
        {group.zone: group for group in groups},
        sum([len(group.listed) for group in groups]),
        sum([listing[3] == _READY for group in groups for listing in group.listed]),
    )


def _digest(listed: Iterable[Listing]) -> str:
    """The same as `endpoints_digest` of the endpoints."""
    texts = [
        f"{name}@{host}:{port}/{_FLAGS[word]}x{weight}" for name, host, port, word, weight in listed
    ]
    return short_hash(",".join(texts))


def endpoints_digest(endpoints: Iterable[Endpoint]) -> str:
    """Of every field of the endpoints, unambiguously, and of their order."""
    texts = [
        f"{one.instance or ''}@{one.host}:{one.port}"
        f"/{_FLAGS[one.healthy, one.draining]}x{one.weight}"
        for one in endpoints
    ]
    return short_hash(",".join(texts))


def short_hash(text: str) -> str:
    """The first 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

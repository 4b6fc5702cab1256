"""Who belongs to a cluster, and with what word: one service's instances by region, as endpoints.

Everything that runs and has been ready once is listed, and its health says whether it is to get
requests: a balancer that knows how many members are unwell spills over to other places by
arithmetic, and fails open when too many are. Only what cannot answer is left out: processes that
have exited, are lost with their node, or have not finished starting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.weights import WeightMemory, weigh
from seakeep.model.action import Endpoint
from seakeep.model.ids import InstanceId, RegionName, ZoneName
from seakeep.model.observation import Address, Phase
from seakeep.model.system import Service
from seakeep.model.time import Instant
from seakeep.model.view import Health, InstanceView


@dataclass(frozen=True, slots=True)
class Group:
    """The members of one service in one zone."""

    region: RegionName
    zone: ZoneName
    endpoints: tuple[Endpoint, ...]
    """In the order of their ordinals."""
    digest: str
    """The text of `endpoints` that goes into a cluster's digest."""


@dataclass(frozen=True, slots=True)
class Roll:
    """The members of one service in one region."""

    zones: Mapping[ZoneName, Group]
    """In the order in which they are first met; zones without members are absent."""
    ready: int
    """Members that are to get new requests."""


NOBODY = Roll({}, 0)

Word = tuple[bool, bool]
"""(healthy, draining) of a member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMemory:
    """The rolls of one service, and what they were made from."""

    seen: tuple[InstanceView, ...] = ()
    words: Mapping[InstanceId, tuple[Word | None, Address]] = field(default_factory=dict)
    rolls: Mapping[RegionName, Roll] = field(default_factory=dict)
    """Of every region with an instance of the service, in any state."""
    weights: WeightMemory = field(default_factory=WeightMemory)


def word_of(one: InstanceView) -> Word | None:
    """What a balancer is told about an instance; None when it is not listed."""
    health: Health | None = one.health
    state = one.state
    if health is Health.UNKNOWN:
        health = one.last_word
    if health is Health.READY:
        return True, state.draining_since is not None
    if health is Health.UNREADY or (health is Health.FAILED and state.phase is Phase.RUNNING):
        return False, state.draining_since is not None
    return None


def enroll(
    service: Service,
    instances: tuple[InstanceView, ...],
    memory: ServiceMemory,
    at: Instant,
) -> ServiceMemory:
    """The rolls of a service. Regions where nothing changed keep the same object."""
    weights = weigh(service, instances, memory.weights, at)
    same_weights = weights.weights is memory.weights.weights
    if instances is memory.seen and same_weights:
        return memory if weights is memory.weights else replace(memory, weights=weights)
    old = memory.words
    words: dict[InstanceId, tuple[Word | None, Address]] = {}
    dirty: dict[RegionName, None] = {}
    for one in instances:
        state = one.state
        name = state.id
        word = (
            _READY
            if one.health is Health.READY and state.draining_since is None
            else (word_of(one))
        )
        known = old.get(name)
        if known is not None and known[0] == word and known[1] == state.address:
            words[name] = known
        else:
            words[name] = (word, state.address)
            dirty[state.region] = None
    if len(old) != len(words) or dirty:
        for one in memory.seen:
            if one.state.id not in words:
                dirty[one.state.region] = None
    if not same_weights:
        dirty.update(dict.fromkeys(one.state.region for one in instances))
    rolls = memory.rolls
    if dirty:
        rolls = _call_roll(instances, words, weights.weights, dirty, memory.rolls)
    return ServiceMemory(seen=instances, words=words, rolls=rolls, weights=weights)


_READY: Word = (True, False)


def _call_roll(
    instances: tuple[InstanceView, ...],
    words: Mapping[InstanceId, tuple[Word | None, Address]],
    weights: Mapping[InstanceId, int],
    dirty: Mapping[RegionName, None],
    old: Mapping[RegionName, Roll],
) -> dict[RegionName, Roll]:
    """The rolls with those of the `dirty` regions made anew."""
    lists: dict[RegionName, dict[ZoneName, list[Endpoint]]] = {}
    for one in instances:
        state = one.state
        if state.region not in dirty:
            continue
        zones = lists.setdefault(state.region, {})
        word, address = words[state.id]
        if word is None:
            continue
        zones.setdefault(state.zone, []).append(
            Endpoint(
                instance=state.id,
                host=address.host,
                port=address.port,
                healthy=word[0],
                draining=word[1],
                weight=weights.get(state.id, 1),
            )
        )
    rolls = {region: roll for region, roll in old.items() if region not in dirty}
    for region, zones in lists.items():
        rolls[region] = Roll(
            {
                zone: Group(region, zone, tuple(members), endpoints_text(members))
                for zone, members in zones.items()
            },
            sum(
                1
                for members in zones.values()
                for member in members
                if member.healthy and not member.draining
            ),
        )
    return rolls


def endpoints_text(endpoints: list[Endpoint] | tuple[Endpoint, ...]) -> str:
    """Endpoints in one line, for digests: every field, unambiguously."""
    return ",".join(
        f"{one.instance or ''}@{one.host}:{one.port}/{one.healthy:d}{one.draining:d}x{one.weight}"
        for one in endpoints
    )

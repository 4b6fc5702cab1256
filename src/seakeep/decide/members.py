"""Who belongs to a cluster, and with what word: one service's instances by region, as endpoints.

Everything that runs and has been ready once is listed, and its health says whether it is to get
requests: a balancer that knows how many members are unwell spills over to other places by
arithmetic, and fails open when too many are. Only what cannot answer is left out: processes that
have exited, are lost with their node, or have not finished starting.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from seakeep.decide.weights import WeightMemory, weigh
from seakeep.model.action import Endpoint
from seakeep.model.ids import InstanceId, RegionName, ZoneName
from seakeep.model.observation import Phase
from seakeep.model.system import Service
from seakeep.model.time import Instant
from seakeep.model.view import Health, InstanceView, View


@dataclass(frozen=True, slots=True)
class Group:
    """The members of one service in one zone."""

    region: RegionName
    zone: ZoneName
    endpoints: tuple[Endpoint, ...]
    """In the order of their ordinals."""
    digest: str
    """Of `endpoints`."""


@dataclass(frozen=True, slots=True)
class Roll:
    """The members of one service in one region."""

    zones: Mapping[ZoneName, Group]
    """In the order in which they are first met; zones without members are absent."""
    members: int
    ready: int
    """Members that are to get new requests."""


NOBODY = Roll({}, 0, 0)

Word = tuple[bool, bool]
"""(healthy, draining) of a member."""


@dataclass(frozen=True, slots=True)
class Member:
    """What balancers were told about one instance."""

    region: RegionName
    zone: ZoneName
    word: Word | None
    endpoint: Endpoint | None
    """None: it is not listed."""
    text: str
    """Of the endpoint, for the digest of its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMemory:
    """The rolls of one service, and what they were made from."""

    seen_at: Instant | None = None
    members: Mapping[InstanceId, Member] = field(default_factory=dict)
    """As seen then, in the order of the view."""
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


def enroll(service: Service, view: View, memory: ServiceMemory) -> ServiceMemory:
    """The rolls of a service. Regions where nothing changed keep the same object."""
    instances = view.by_service.get(service.name, ())
    weights = weigh(service, instances, memory.weights, view.at)
    same_weights = weights.weights is memory.weights.weights
    seen_at = memory.seen_at
    if same_weights and seen_at is not None and view.changed.get(service.name, view.at) < seen_at:
        return memory if weights is memory.weights else replace(memory, weights=weights)
    changed = _changed(instances, memory, weights.weights)
    if not changed and len(instances) == len(memory.members):
        return replace(memory, seen_at=view.at, weights=weights)
    known = memory.members
    members = {**known, **changed}
    if len(members) > len(known) or len(members) > len(instances):  # one has come or gone
        members = {name: members[name] for name in [one.state.id for one in instances]}
    dirty = {member.region for member in changed.values()}
    dirty.update(known[name].region for name in known.keys() - members.keys())
    return ServiceMemory(
        seen_at=view.at,
        members=members,
        rolls=_call_roll(members.values(), dirty, memory.rolls),
        weights=weights,
    )


def _changed(
    instances: tuple[InstanceView, ...],
    memory: ServiceMemory,
    weights: Mapping[InstanceId, int],
) -> dict[InstanceId, Member]:
    """Instances that are to be told of otherwise than before. Runs over every instance in every
    step: the common case, a ready member that stays one, is decided first."""
    ready = Health.READY
    known = memory.members
    same_weights = weights is memory.weights.weights
    changed: dict[InstanceId, Member] = {}
    for one in instances:
        state = one.state
        if one.health is ready and state.draining_since is None:
            word: Word | None = _READY
        else:
            word = word_of(one)
        old = known.get(state.id)
        if old is not None and old.word == word and same_weights:
            address, told = state.address, old.endpoint
            if told is None or (told.host == address.host and told.port == address.port):
                continue
        changed[state.id] = _member(one, word, weights.get(state.id, 1))
    return changed


_READY: Word = (True, False)


def _member(one: InstanceView, word: Word | None, weight: int) -> Member:
    state = one.state
    if word is None:
        return Member(state.region, state.zone, None, None, "")
    endpoint = Endpoint(
        instance=state.id,
        host=state.address.host,
        port=state.address.port,
        healthy=word[0],
        draining=word[1],
        weight=weight,
    )
    return Member(state.region, state.zone, word, endpoint, endpoint_text(endpoint))


def _call_roll(
    members: Iterable[Member], dirty: Collection[RegionName], old: Mapping[RegionName, Roll]
) -> dict[RegionName, Roll]:
    """The rolls with those of the `dirty` regions made anew."""
    lists: defaultdict[tuple[RegionName, ZoneName], list[Member]] = defaultdict(list)
    zones: dict[RegionName, dict[ZoneName, Group]] = {}
    for member in members:
        if member.region in dirty:
            if member.endpoint is not None:
                lists[member.region, member.zone].append(member)
            elif member.region not in zones:
                zones[member.region] = {}
    words: defaultdict[RegionName, list[Word | None]] = defaultdict(list)
    for (region, zone), listed in lists.items():
        zones.setdefault(region, {})[zone] = _group(region, zone, listed)
        words[region] += [member.word for member in listed]
    rolls = {region: roll for region, roll in old.items() if region not in dirty}
    for region, groups in zones.items():
        rolls[region] = Roll(groups, len(words[region]), words[region].count(_READY))
    return rolls


def _group(region: RegionName, zone: ZoneName, listed: list[Member]) -> Group:
    endpoints = tuple([member.endpoint for member in listed if member.endpoint is not None])
    return Group(region, zone, endpoints, short_hash(",".join([one.text for one in listed])))


def endpoint_text(one: Endpoint) -> str:
    """An endpoint for digests: every field, unambiguously."""
    return (
        f"{one.instance or ''}@{one.host}:{one.port}/{one.healthy:d}{one.draining:d}x{one.weight}"
    )


def endpoints_digest(endpoints: Iterable[Endpoint]) -> str:
    """Of every field of the endpoints, and of their order."""
    return short_hash(",".join(map(endpoint_text, endpoints)))


def short_hash(text: str) -> str:
    """The first 16 hex digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""What changed from one observation to the next, small enough to be kept for every step.

A patch is a JSON object: the new `seq` and `at`, `wall` as its lead over `at` where that has
changed, and for every other field that changed its own patch. A list whose elements have a key
is patched by it:

    {"-": [key], "+": [[index, element]], "~": [[[path], {key: [leaf]}]], "heard": [age]}

`~` groups the elements in which the same paths changed, so that ten instances whose probes
counted on cost ten short rows. `heard` gives every sample of a source, the sources in
alphabetical order, its `observed_at` as an age (ns before `at`), unless a path says otherwise;
one number instead of a list when all sources have the same. A leaf is a difference for a whole
number, the new value for another scalar, null for None, and [tree] for a value that is given
whole. A list without keys is given whole, too.

Patching is exact: `patched(before, delta(before, after)) == after` for any two observations.
"""

import dataclasses
import enum
import types
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Union, get_args, get_origin

from seakeep.model.codec import (
    CodecError,
    Encoder,
    Json,
    decoder_of,
    encoder_of,
    encoder_of_field,
    field_types,
)
from seakeep.model.codec_scalars import INT_MAX, INT_MIN
from seakeep.model.observation import (
    AppliedAnswers,
    AppliedEndpoints,
    AppliedLimit,
    Observation,
    ProbeReading,
    RevisionReading,
    Sample,
    TrafficReading,
)
from seakeep.model.rollout import RolloutRecord
from seakeep.model.time import Instant

Leaves = dict[str, Json]
"""Dotted path -> leaf."""

KEYS: dict[type, tuple[str, ...]] = {
    AppliedAnswers: ("region",),
    AppliedEndpoints: ("region", "cluster"),
    AppliedLimit: ("region", "limit"),
    TrafficReading: ("region", "service"),
    ProbeReading: ("kind",),
    RevisionReading: ("region", "service", "revision"),
    RolloutRecord: ("service",),
}
"""What tells the elements of a list apart, for classes that have no `id`."""

_encode_int = encoder_of(int)

SCALARS = ("seq", "at", "wall")
"""Fields of an observation that are no lists."""

REMOVED, ADDED, CHANGED, HEARD = "-", "+", "~", "heard"


def delta(before: Observation, after: Observation) -> Json:
    """The patch that turns `before` into `after`."""
    patch: dict[str, Json] = {"seq": _encode_int(after.seq), "at": _encode_int(after.at)}
    if _lead(after) != _lead(before):
        lead = after.wall - after.at
        patch["wall"] = lead if after.wall and _fits(lead) else [after.wall]
    for name, hint in _FIELDS.items():
        old, new = getattr(before, name), getattr(after, name)
        element = get_args(hint)[0]
        change = _list_delta(element, old, new, after.at)
        if change is not None:
            patch[name] = change
    return patch


def patched(before: Observation, patch: Json) -> Observation:
    """The observation that a patch leads to. Raises CodecError when it does not fit."""
    try:
        at = patch["at"]
        fields = {
            name: _list_patched(get_args(_FIELDS[name])[0], getattr(before, name), change, at)
            for name, change in patch.items()
            if name not in SCALARS
        }
        lead = patch.get("wall", _lead(before))
        wall = lead[0] if isinstance(lead, list) else 0 if lead is None else at + lead
        return dataclasses.replace(before, seq=patch["seq"], at=at, wall=wall, **fields)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CodecError(f"the change does not fit what came before: {error!r}") from None


def _lead(observation: Observation) -> int | None:
    """Of its wall clock over its own; None when it knows no wall clock."""
    return observation.wall - observation.at if observation.wall else None


_FIELDS = {name: hint for name, hint in field_types(Observation).items() if name not in SCALARS}


# --- lists ------------------------------------------------------------------


def _key_of(element: Any) -> str | None:
    if isinstance(element, Sample):
        return f"?{element.source}" if element.value is None else _key_of(element.value)
    names = KEYS.get(type(element))
    if names is not None:
        return " ".join([str(getattr(element, name)) for name in names])
    found: str | None = getattr(element, "id", None)
    return found


def _keys(elements: tuple[Any, ...]) -> list[str] | None:
    """The elements' keys, in order; None when they have none or share one."""
    keys = [_key_of(element) for element in elements]
    if None in keys or len(set(keys)) != len(keys):
        return None
    return keys  # type: ignore[return-value]


def _keyed(elements: tuple[Any, ...]) -> dict[str, Any] | None:
    keys = _keys(elements)
    return None if keys is None else dict(zip(keys, elements, strict=True))


def _list_delta(hint: Any, old: tuple[Any, ...], new: tuple[Any, ...], at: Instant) -> Json:
    samples = bool(new) and isinstance(new[0], Sample)
    if not samples and old == new:
        return None
    whole = encoder_of(tuple[hint, ...])
    old_keys, keys = _keys(old), _keys(new)
    if old_keys is None or keys is None or not new:
        return None if old == new else [whole(new)]
    patch: dict[str, Json] = {}
    pairs: Iterable[tuple[str, Any, Any]] = zip(keys, old, new, strict=False)
    if old_keys != keys:
        before = dict(zip(old_keys, old, strict=True))
        present = set(keys)
        removed = [key for key in old_keys if key not in present]
        if [key for key in old_keys if key in present] != [key for key in keys if key in before]:
            return [whole(new)]
        encode = encoder_of(hint)
        added = [[i, encode(new[i])] for i, key in enumerate(keys) if key not in before]
        patch |= {REMOVED: removed} if removed else {}
        patch |= {ADDED: added} if added else {}
        pairs = ((key, before.get(key), one) for key, one in zip(keys, new, strict=True))
    heard = _heard(new) if samples else {}
    if heard:
        ages = [at - heard[source] for source in sorted(heard)]
        if not all(map(_fits, ages)):
            return [whole(new)]
        patch[HEARD] = ages[0] if len(set(ages)) == 1 else ages
    changed = _changed(hint, pairs, heard)
    if changed:
        patch[CHANGED] = changed
    return patch or None


def _fits(number: int) -> bool:
    return INT_MIN <= number <= INT_MAX


def _heard(samples: tuple[Any, ...]) -> dict[str, Instant]:
    """The commonest `observed_at` of each source (the latest among equally common ones)."""
    heard: dict[str, Instant] = {}
    odd = set()
    for sample in samples:
        if heard.setdefault(sample.source, sample.observed_at) != sample.observed_at:
            odd.add(sample.source)
    for source in sorted(odd):
        counts = Counter(one.observed_at for one in samples if one.source == source)
        heard[source] = max(counts, key=lambda at: (counts[at], at))
    return heard


def _changed(
    hint: Any, pairs: Iterable[tuple[str, Any, Any]], heard: dict[str, Instant]
) -> list[Json]:
    differ, _ = _rules(hint)
    groups: dict[tuple[str, ...], dict[str, list[Json]]] = {}
    for key, old, new in pairs:
        leaves: Leaves = {}
        if heard:
            _sample_delta(differ, old, new, heard, leaves)
        elif old is not None and old is not new and old != new:
            differ(old, new, "", leaves)
        if leaves:
            groups.setdefault(tuple(leaves), {})[key] = list(leaves.values())
    return [[list(paths), rows] for paths, rows in groups.items()]


def _sample_delta(
    differ: "Differ", old: Any, new: Any, heard: dict[str, Instant], leaves: Leaves
) -> None:
    """The age of a sample goes with its source's, unless it is one of the odd ones."""
    if old is not None and (
        (old.value is not new.value and old.value != new.value) or old.source != new.source
    ):
        differ(old, new, "", leaves)
        leaves.pop("observed_at", None)
    if new.observed_at != heard[new.source]:
        leaves["observed_at"] = [new.observed_at]


def _list_patched(hint: Any, old: tuple[Any, ...], patch: Json, at: Instant) -> tuple[Any, ...]:
    if isinstance(patch, list):
        whole: tuple[Any, ...] = decoder_of(tuple[hint, ...])(patch[0])
        return whole
    before = _keyed(old)
    if before is None:
        raise CodecError("elements without keys")
    removed = set(patch.get(REMOVED, ()))
    elements = [one for key, one in before.items() if key not in removed]
    for index, tree in patch.get(ADDED, ()):
        elements.insert(index, decoder_of(hint)(tree))
    # Changes are told by the key that an element has in the end; the key never changes.
    rows: dict[str, Leaves] = {}
    for paths, group in patch.get(CHANGED, ()):
        for key, leaves in group.items():
            rows[key] = dict(zip(paths, leaves, strict=True))
    _, patcher = _rules(hint)
    for index, element in enumerate(elements):
        row = rows.get(str(_key_of(element)))
        if row:
            elements[index] = patcher(element, _nested(row))
    if HEARD in patch:
        elements = _hear(elements, patch[HEARD], at, rows)
    return tuple(elements)


def _hear(elements: list[Any], ages: Json, at: Instant, rows: dict[str, Leaves]) -> list[Any]:
    sources = sorted({sample.source for sample in elements})
    each = ages if isinstance(ages, list) else [ages] * len(sources)
    heard = {source: at - age for source, age in zip(sources, each, strict=True)}
    return [
        sample
        if "observed_at" in rows.get(str(_key_of(sample)), ())
        else Sample(value=sample.value, observed_at=heard[sample.source], source=sample.source)
        for sample in elements
    ]


def _nested(leaves: Leaves) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for path, leaf in leaves.items():
        *above, last = path.split(".")
        place = out
        for step in above:
            place = place.setdefault(step, {})
        place[last] = leaf
    return out


# --- one element ------------------------------------------------------------

Differ = Callable[[Any, Any, str, Leaves], None]
"""(old, new, path, leaves): add to `leaves` what differs; called only when old != new."""
Patcher = Callable[[Any, Json], Any]

_cache: dict[Any, tuple[Differ, Patcher]] = {}


def _rules(hint: Any) -> tuple[Differ, Patcher]:
    found = _cache.get(hint)
    if found is None:
        found = _cache[hint] = _compiled(hint)
    return found


def _compiled(hint: Any) -> tuple[Differ, Patcher]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = [one for one in args if one is not type(None)]
        return _optional(rest[0]) if len(rest) == 1 and len(args) == 2 else _whole(hint)
    if dataclasses.is_dataclass(origin or hint):
        return _dataclass(hint)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return _counts() if args[0] is int else _keyed_tuple(args[0])
    if hint is int:
        return _difference()
    if isinstance(hint, type) and issubclass(hint, str | bool | float | enum.Enum):
        return _replacement(hint)
    return _whole(hint)


def _whole(hint: Any, encoder: Encoder | None = None) -> tuple[Differ, Patcher]:
    encode, decode = encoder or encoder_of(hint), decoder_of(hint)

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        leaves[path] = [encode(new)]

    def patch(old: Any, leaf: Json) -> Any:
        return decode(leaf[0])

    return differ, patch


def _difference() -> tuple[Differ, Patcher]:
    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        change = new - old
        leaves[path] = change if _fits(change) else [new]

    def patch(old: Any, leaf: Json) -> Any:
        return leaf[0] if isinstance(leaf, list) else old + leaf

    return differ, patch


def _counts() -> tuple[Differ, Patcher]:
    """Whole numbers in a row, such as a histogram's: `3:1,7:2` for those that have grown by so
    much. It is given whole when there are more or fewer of them."""
    encode, decode = encoder_of(tuple[int, ...]), decoder_of(tuple[int, ...])

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        changes = [(i, b - a) for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
        if len(old) != len(new) or not all(_fits(change) for _, change in changes):
            leaves[path] = [encode(new)]
        else:
            leaves[path] = ",".join(f"{i}:{change}" for i, change in changes)

    def patch(old: Any, leaf: Json) -> Any:
        if isinstance(leaf, list):
            return decode(leaf[0])
        counts = list(old)
        for pair in leaf.split(","):
            index, _, change = pair.partition(":")
            counts[int(index)] += int(change)
        return tuple(counts)

    return differ, patch


def _replacement(hint: Any) -> tuple[Differ, Patcher]:
    encode, decode = encoder_of(hint), decoder_of(hint)

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        tree = encode(new)
        # An infinite number is written as an object, which would read as deeper paths.
        leaves[path] = [tree] if isinstance(tree, dict) else tree

    def patch(old: Any, leaf: Json) -> Any:
        return decode(leaf[0] if isinstance(leaf, list) else leaf)

    return differ, patch


def _optional(hint: Any) -> tuple[Differ, Patcher]:
    inner_differ, inner_patch = _rules(hint)
    encode, decode = encoder_of(hint), decoder_of(hint)

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        if old is None:
            leaves[path] = [encode(new)]
        elif new is None:
            leaves[path] = None
        else:
            inner_differ(old, new, path, leaves)

    def patch(old: Any, leaf: Json) -> Any:
        if leaf is None:
            return None
        return decode(leaf[0]) if isinstance(leaf, list) else inner_patch(old, leaf)

    return differ, patch


def _dataclass(hint: Any) -> tuple[Differ, Patcher]:
    encode, decode = encoder_of(hint), decoder_of(hint)
    rules = {name: _rules(inner) for name, inner in field_types(hint).items()}
    for one in dataclasses.fields(get_origin(hint) or hint):
        if one.metadata.get("secret"):
            inner = field_types(hint)[one.name]
            rules[one.name] = _whole(inner, encoder_of_field(one, inner))

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        if type(old) is not type(new):
            leaves[path] = [encode(new)]
            return
        above = path + "." if path else ""
        for name, (inner, _) in rules.items():
            one, other = getattr(old, name), getattr(new, name)
            if one != other:
                inner(one, other, above + name, leaves)

    def patch(old: Any, leaf: Json) -> Any:
        if isinstance(leaf, list):
            return decode(leaf[0])
        changes = {name: rules[name][1](getattr(old, name), one) for name, one in leaf.items()}
        return dataclasses.replace(old, **changes)

    return differ, patch


def _keyed_tuple(hint: Any) -> tuple[Differ, Patcher]:
    if not dataclasses.is_dataclass(get_origin(hint) or hint):
        return _whole(tuple[hint, ...])
    encode, decode = encoder_of(tuple[hint, ...]), decoder_of(tuple[hint, ...])
    inner_differ, inner_patch = _rules(hint)

    def differ(old: Any, new: Any, path: str, leaves: Leaves) -> None:
        before, after = _keyed(old), _keyed(new)
        same_keys = before is not None and after is not None and list(before) == list(after)
        if not same_keys or any("." in key or not key for key in after or ()):
            leaves[path] = [encode(new)]
            return
        for (key, one), other in zip((before or {}).items(), new, strict=True):
            if one != other:
                inner_differ(one, other, f"{path}.{key}", leaves)

    def patch(old: Any, leaf: Json) -> Any:
        if isinstance(leaf, list):
            return decode(leaf[0])
        return tuple(
            inner_patch(one, leaf[key]) if key in leaf else one
            for key, one in (_keyed(old) or {}).items()
        )

    return differ, patch

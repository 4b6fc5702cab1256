"""Frozen data classes to JSON and back, by their type hints.

What a type says is what is written: a data class is an object with its fields in the order of
their declaration, a member of a union of data classes also says its `type` (the class name), a
tuple is an array, a mapping an object in its own order (an array of pairs when its keys are not
strings), a set a sorted array, an enum its value. A field that still has its empty default
(None, 0, "", (), {}) is left out. Within `hiding` the pairs of a field whose metadata say that it
is secret are written with the word HIDDEN for what each name stands for. Equal values give equal
bytes in every process; the one thing that `==` overlooks and the bytes do not is the order of a
mapping, which is part of the value here. Encoders and decoders are compiled once per type.
"""

import contextlib
import dataclasses
import difflib
import enum
import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, overload
from typing import get_type_hints as hints_of

import orjson

from seakeep.model.codec_scalars import (
    SCALARS,
    CodecError,
    Decoder,
    Encoder,
    Json,
    choices,
    decode_float,
    encode_float,
    enum_of,
    literal,
    scalar,
)

T = TypeVar("T")

HIDDEN = "(hidden)"
_hiding: ContextVar[bool] = ContextVar("hiding", default=False)

DIGEST_HEX_DIGITS = 16
TYPE_TAG = "type"
__all__ = [
    "HIDDEN",
    "CodecError",
    "Decoder",
    "Encoder",
    "Json",
    "decode",
    "decoder_of",
    "digest",
    "dump_tree",
    "dumps",
    "encode",
    "encoder_of",
    "encoder_of_field",
    "field_types",
    "hiding",
    "load_tree",
    "loads",
]

_EMPTY: tuple[object, ...] = (None, 0, "", (), {}, frozenset())


def encode(value: object, as_type: Any = None) -> Json:
    """The JSON tree of a value. `as_type` is its declared type, needed where the value's class
    does not say it all (a union, a generic, a tuple); without it the class itself is taken.
    Raises CodecError when the value does not fit."""
    return encoder_of(type(value) if as_type is None else as_type)(value)


@overload
def decode(as_type: type[T], tree: Json) -> T: ...
@overload
def decode(as_type: Any, tree: Json) -> Any: ...
def decode(as_type: Any, tree: Json) -> Any:
    """The value of a JSON tree. Raises CodecError, with the path, for what does not fit:
    a wrong type, a missing or unknown field, an unknown tag."""
    return decoder_of(as_type)(tree)


def dumps(value: object, as_type: Any = None) -> bytes:
    """The canonical bytes of a value: one line of compact JSON in UTF-8."""
    return dump_tree(encode(value, as_type))


def loads(as_type: Any, data: bytes) -> Any:
    """The value of canonical (or any) JSON bytes. Raises CodecError."""
    return decode(as_type, load_tree(data))


def digest(value: object, as_type: Any = None) -> str:
    """A short name of a value's content: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(dumps(value, as_type)).hexdigest()[:DIGEST_HEX_DIGITS]


def dump_tree(tree: Json) -> bytes:
    """A JSON tree as one line. Text that is no valid Unicode (a name of a file, say) takes the
    slower way, which escapes it. Raises CodecError for what is no JSON tree."""
    try:
        return orjson.dumps(tree)
    except TypeError:
        pass
    try:
        line = json.dumps(tree, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(str(error)) from None
    return line.encode("ascii")


def load_tree(data: bytes) -> Json:
    """The tree of JSON bytes. Raises CodecError when they are not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        # orjson refuses the lone surrogates that dump_tree lets through.
        try:
            return json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise CodecError(f"not JSON: {error}") from None


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


@contextlib.contextmanager
def hiding() -> Iterator[None]:
    """Within it secrets are left out of what is encoded: for files that people keep and share.
    As the secrets of equal values are hidden alike, what is compared stays comparable."""
    token = _hiding.set(True)
    try:
        yield
    finally:
        _hiding.reset(token)


# --- compiling --------------------------------------------------------------

_encoders: dict[Any, Encoder] = {}
_decoders: dict[Any, Decoder] = {}


def encoder_of(as_type: Any) -> Encoder:
    """The compiled encoder of a type. Raises CodecError for a type that has no JSON form."""
    found = _encoders.get(as_type)
    if found is None:
        # A type that mentions itself finds this forwarder while it is being compiled.
        _encoders[as_type] = lambda value: _encoders[as_type](value)
        try:
            found = _encoders[as_type] = _compile(as_type)[0]
        except BaseException:
            del _encoders[as_type]
            raise
    return found


def decoder_of(as_type: Any) -> Decoder:
    """The compiled decoder of a type. Raises CodecError for a type that has no JSON form."""
    found = _decoders.get(as_type)
    if found is None:
        _decoders[as_type] = lambda tree: _decoders[as_type](tree)
        try:
            found = _decoders[as_type] = _compile(as_type)[1]
        except BaseException:
            del _decoders[as_type]
            raise
    return found


def _compile(as_type: Any) -> tuple[Encoder, Decoder]:
    if isinstance(as_type, TypeVar):
        return encode, _undecodable(as_type)
    if isinstance(as_type, NewType):
        return _compile(as_type.__supertype__)
    origin, args = get_origin(as_type), get_args(as_type)
    if origin in (Union, types.UnionType):
        return _union(as_type, args)
    if origin is Literal:
        return literal(args)
    if origin is tuple:
        return _tuple(args)
    plain = origin or as_type
    if isinstance(plain, type):
        if dataclasses.is_dataclass(plain):
            return _dataclass(as_type)
        if issubclass(plain, enum.Enum):
            return enum_of(plain)
        if plain in SCALARS:
            return scalar(plain)
        if issubclass(plain, Mapping) and len(args) == 2:
            return _mapping(*args)
        if issubclass(plain, AbstractSet) and len(args) == 1:
            return _set(args[0])
    raise CodecError(f"no JSON form for the type {_named(as_type)}")


def _undecodable(as_type: Any) -> Decoder:
    def decode_unknown(tree: Json) -> Any:
        raise CodecError(f"the type variable {as_type} must be given to be decoded")

    return decode_unknown


def _named(as_type: Any) -> str:
    return getattr(as_type, "__name__", None) or str(as_type)


# --- collections ------------------------------------------------------------


def _tuple(args: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    if len(args) != 2 or args[1] is not Ellipsis:
        return _fixed_tuple(args)
    encode_one, decode_one = encoder_of(args[0]), decoder_of(args[0])

    def encode_tuple(value: Any) -> Json:
        out: list[Json] = []
        try:
            for item in value:
                out.append(encode_one(item))
        except CodecError as error:
            raise error.inside(f"[{len(out)}]") from None
        return out

    def decode_tuple(tree: Json) -> Any:
        if not isinstance(tree, list):
            raise CodecError(f"expected an array, got {tree!r:.80}")
        out: list[Any] = []
        try:
            for item in tree:
                out.append(decode_one(item))
        except CodecError as error:
            raise error.inside(f"[{len(out)}]") from None
        return tuple(out)

    return encode_tuple, decode_tuple


def _fixed_tuple(args: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    encoders = [encoder_of(arg) for arg in args]
    decoders = [decoder_of(arg) for arg in args]

    def each(items: Any, coders: list[Any]) -> list[Any]:
        if not isinstance(items, list | tuple) or len(items) != len(coders):
            raise CodecError(f"expected {len(coders)} items, got {items!r:.80}")
        out: list[Any] = []
        try:
            for coder, item in zip(coders, items, strict=True):
                out.append(coder(item))
        except CodecError as error:
            raise error.inside(f"[{len(out)}]") from None
        return out

    return lambda value: each(value, encoders), lambda tree: tuple(each(tree, decoders))


def _mapping(key: Any, item: Any) -> tuple[Encoder, Decoder]:
    if not (isinstance(key, type) and issubclass(key, str)):
        return _pairs(key, item)
    encode_key, decode_key = encoder_of(key), decoder_of(key)
    encode_item, decode_item = encoder_of(item), decoder_of(item)

    def each(tree: Any, key_coder: Any, item_coder: Any) -> dict[Any, Any]:
        if not isinstance(tree, Mapping):
            raise CodecError(f"expected an object, got {tree!r:.80}")
        out = {}
        for name, value in tree.items():
            try:
                out[key_coder(name)] = item_coder(value)
            except CodecError as error:
                raise error.inside(f".{name}") from None
        return out

    return (
        lambda value: each(value, encode_key, encode_item),
        lambda tree: each(tree, decode_key, decode_item),
    )


def _pairs(key: Any, item: Any) -> tuple[Encoder, Decoder]:
    encode_pairs, decode_pairs = _compile(tuple[tuple[key, item], ...])
    return lambda value: encode_pairs(value.items()), lambda tree: dict(decode_pairs(tree))


def _set(item: Any) -> tuple[Encoder, Decoder]:
    encode_items, decode_items = _compile(tuple[item, ...])
    # Sets have no order of their own; the order of the members' bytes is the same everywhere.
    return (
        lambda value: sorted(encode_items(value), key=dump_tree),
        lambda tree: frozenset(decode_items(tree)),
    )


# --- unions -----------------------------------------------------------------


def _union(as_type: Any, members: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    optional = type(None) in members
    rest = tuple(member for member in members if member is not type(None))
    if len(rest) == 1:
        return _optional(encoder_of(rest[0]), decoder_of(rest[0]))
    if all(dataclasses.is_dataclass(get_origin(member) or member) for member in rest):
        coders = _tagged(rest)
    elif all(member in (int, float, str, bool) for member in rest):
        coders = _scalars(rest)
    else:
        raise CodecError(
            f"no JSON form for the type {as_type}: mix neither data classes nor "
            "collections with other members in a union"
        )
    return _optional(*coders) if optional else coders


def _optional(encoder: Encoder, decoder: Decoder) -> tuple[Encoder, Decoder]:
    return (
        lambda value: None if value is None else encoder(value),
        lambda tree: None if tree is None else decoder(tree),
    )


def _scalars(members: tuple[type, ...]) -> tuple[Encoder, Decoder]:
    def check(value: Any) -> Any:
        if isinstance(value, bool) and bool not in members:
            value = int(value)
        if isinstance(value, float) and float in members:
            # 2.0 equals 2, so both are written alike.
            if int in members and value.is_integer():
                return int(value)
            return encode_float(value)
        if not isinstance(value, members):
            names = " or ".join(_named(member) for member in members)
            raise CodecError(f"expected {names}, got {value!r:.80}")
        return value

    def decode_scalar(tree: Json) -> Any:
        return decode_float(tree) if isinstance(tree, dict) else check(tree)

    return check, decode_scalar


def _tagged(members: tuple[Any, ...]) -> tuple[Encoder, Decoder]:
    plain = [get_origin(member) or member for member in members]
    encoders = {one: encoder_of(member) for one, member in zip(plain, members, strict=True)}
    decoders = {one.__name__: decoder_of(to) for one, to in zip(plain, members, strict=True)}
    for one in plain:
        if TYPE_TAG in {field.name for field in dataclasses.fields(one)}:
            raise CodecError(f"{one.__name__} is in a union: no field may be named {TYPE_TAG}")

    def encode_tagged(value: Any) -> Json:
        encoder = encoders.get(type(value))
        if encoder is None:
            raise CodecError(f"expected {choices(decoders)}, got {value!r:.80}")
        return {TYPE_TAG: type(value).__name__, **encoder(value)}

    def decode_tagged(tree: Json) -> Any:
        name = tree.get(TYPE_TAG) if isinstance(tree, dict) else None
        if not isinstance(name, str) or name not in decoders:
            raise CodecError(f"expected a type, {choices(decoders)}, got {name!r:.80}")
        return decoders[name]({key: item for key, item in tree.items() if key != TYPE_TAG})

    return encode_tagged, decode_tagged


# --- data classes -----------------------------------------------------------


def field_types(as_type: Any) -> dict[str, Any]:
    """The fields of a data class, in order, with their types; a generic's type variables are
    replaced by its arguments (`Sample[InstanceState]`)."""
    plain = get_origin(as_type) or as_type
    given = dict(zip(getattr(plain, "__parameters__", ()), get_args(as_type), strict=False))
    hints = hints_of(plain)
    return {field.name: _filled(hints[field.name], given) for field in dataclasses.fields(plain)}


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(one, one) for one in parameters)] if parameters else hint


def _dataclass(as_type: Any) -> tuple[Encoder, Decoder]:
    plain: Any = get_origin(as_type) or as_type
    hints = field_types(as_type)
    fields = dataclasses.fields(plain)
    encoders = [
        (one.name, encoder_of_field(one, hints[one.name]), _empty_default(one)) for one in fields
    ]
    decoders = {one.name: decoder_of(hints[one.name]) for one in fields}
    required = [one.name for one in fields if not _has_default(one)]

    def encode_dataclass(value: Any) -> Json:
        if type(value) is not plain:
            raise CodecError(f"expected {plain.__name__}, got {value!r:.80}")
        out = {}
        for name, encoder, empty in encoders:
            item = getattr(value, name)
            if item == empty:
                continue
            try:
                out[name] = encoder(item)
            except CodecError as error:
                raise error.inside(f".{name}") from None
        return out

    def decode_dataclass(tree: Json) -> Any:
        return plain(**_decoded_fields(plain.__name__, tree, decoders, required))

    return encode_dataclass, decode_dataclass


def encoder_of_field(field: "dataclasses.Field[Any]", hint: Any) -> Encoder:
    """The encoder of what a field of a data class holds, which may be secret; `hint` is its type.
    Raises CodecError for a type that has no JSON form."""
    encoder = encoder_of(hint)
    if not field.metadata.get("secret"):
        return encoder
    return lambda pairs: encoder(
        tuple((name, HIDDEN) for name, _ in pairs) if _hiding.get() else pairs
    )


def _decoded_fields(
    owner: str, tree: Json, decoders: Mapping[str, Decoder], required: list[str]
) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise CodecError(f"expected an object ({owner}), got {tree!r:.80}")
    out = {}
    for name, item in tree.items():
        decoder = decoders.get(name)
        if decoder is None:
            raise CodecError(_unknown(name, owner, list(decoders)))
        try:
            out[name] = decoder(item)
        except CodecError as error:
            raise error.inside(f".{name}") from None
    for name in required:
        if name not in out:
            raise CodecError(f"{owner} lacks the field {name}")
    return out


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _empty_default(field: "dataclasses.Field[Any]") -> object:
    """The field's default when it is an empty value, MISSING when it has to be written.
    Other defaults are always written: they may change with a later version."""
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    is_empty = any(type(default) is type(empty) and default == empty for empty in _EMPTY)
    return default if is_empty or default == 0.0 else dataclasses.MISSING


def _unknown(name: str, owner: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; nearest is {near[0]}" if near else ""
    return f"{owner} has no field {name}{hint}"

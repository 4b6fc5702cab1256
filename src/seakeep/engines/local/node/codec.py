"""What goes over a node agent's socket and into its records: JSON, one object a line.

    request  {"id": 7, "verb": "drain", "instance": "web-7"}
    reply    {"id": 7, "status": "done", "detail": ""}           done | refused | failed
    report   {"report": {"node": "us-east/a/0", "at": ..., "full": true,
                         "instances": [...], "gone": [...]}}

Reports come to who asked for them (`watch`). A full one holds every instance; others hold
those that changed, and the ids of those that are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from seakeep.engines.local.processes import Identity
from seakeep.model.observation import Address, InstanceState, Phase, ProbeReading
from seakeep.model.system import (
    Check,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    Probe,
    ProbeKind,
    Protocol,
    Resources,
    TcpCheck,
    Workload,
)
from seakeep.model.time import Instant

Fields: TypeAlias = Mapping[str, Any]
LINE_BYTES_MAX = 1 << 20
"""Of a request; reports may be longer."""


class CodecError(ValueError):
    """A message that is not what it should be; the text says where and what is wanted."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The instances of one node as its agent saw them at `at`."""

    node: str
    at: Instant
    instances: tuple[InstanceState, ...]
    """Sorted by id."""


def encode_line(message: Fields) -> bytes:
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def decode_line(line: bytes) -> dict[str, Any]:
    """Raises CodecError unless the line is one JSON object."""
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise CodecError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise CodecError('want one JSON object a line: {"id": 1, "verb": "report"}')
    return message


# --- fields, checked --------------------------------------------------------


def text(fields: Fields, key: str, default: str | None = None) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str):
        raise CodecError(f"{key}: want a text")
    return value


def whole(fields: Fields, key: str, default: int | None = None) -> int:
    value = fields.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CodecError(f"{key}: want a whole number")
    return value


def number(fields: Fields, key: str, default: float | None = None) -> float:
    value = fields.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise CodecError(f"{key}: want a number")
    return float(value)


def whole_or_none(fields: Fields, key: str) -> int | None:
    return None if fields.get(key) is None else whole(fields, key)


def flag(fields: Fields, key: str, default: bool | None = None) -> bool:
    value = fields.get(key, default)
    if not isinstance(value, bool):
        raise CodecError(f"{key}: want true or false")
    return value


def nested(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    if not isinstance(value, dict):
        raise CodecError(f"{key}: want an object")
    return value


def many(fields: Fields, key: str) -> Sequence[Any]:
    value = fields.get(key, [])
    if not isinstance(value, list):
        raise CodecError(f"{key}: want a list")
    return value


def texts(fields: Fields, key: str) -> tuple[str, ...]:
    values = many(fields, key)
    if not all(isinstance(value, str) for value in values):
        raise CodecError(f"{key}: want a list of texts")
    return tuple(values)


def pairs(fields: Fields, key: str) -> tuple[tuple[str, str], ...]:
    """`[["NAME", "value"], ...]`."""
    found = []
    for value in many(fields, key):
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(isinstance(part, str) for part in value)
        ):
            raise CodecError(f"{key}: want a list of [name, value] pairs of texts")
        found.append((value[0], value[1]))
    return tuple(found)


def _objects(fields: Fields, key: str) -> list[Fields]:
    values = many(fields, key)
    if not all(isinstance(value, dict) for value in values):
        raise CodecError(f"{key}: want a list of objects")
    return list(values)


# --- workloads --------------------------------------------------------------


def _encode_check(check: Check) -> dict[str, Any]:
    match check:
        case HttpCheck(path=path):
            return {"http": path}
        case TcpCheck():
            return {"tcp": True}
        case ExecCheck(command=command):
            return {"exec": command}
        case GrpcCheck(service=service):
            return {"grpc": service}


def _decode_check(fields: Fields) -> Check:
    if "http" in fields:
        return HttpCheck(path=text(fields, "http"))
    if "exec" in fields:
        command = texts(fields, "exec")
        if not command:
            raise CodecError("exec: want a command")
        return ExecCheck(command=command)
    if "grpc" in fields:
        return GrpcCheck(service=text(fields, "grpc"))
    if "tcp" in fields:
        return TcpCheck()
    raise CodecError("check: want one of http, tcp, exec, grpc")


def _decode_probe(fields: Fields) -> Probe:
    probe = Probe(
        kind=ProbeKind(text(fields, "kind")),
        check=_decode_check(nested(fields, "check")),
        period=whole(fields, "period"),
        timeout=whole(fields, "timeout"),
        failures=whole(fields, "failures"),
        successes=whole(fields, "successes", 1),
        delay=whole(fields, "delay", 0),
    )
    if min(probe.period, probe.timeout, probe.failures, probe.successes) <= 0:
        raise CodecError("probes: period, timeout, failures and successes are above 0")
    return probe


def encode_workload(workload: Workload) -> dict[str, Any]:
    return {
        "command": workload.command,
        "port": workload.port,
        "protocol": workload.protocol,
        "env": workload.env,
        "resources": workload.resources,
        "probes": [
            {
                "kind": probe.kind,
                "check": _encode_check(probe.check),
                "period": probe.period,
                "timeout": probe.timeout,
                "failures": probe.failures,
                "successes": probe.successes,
                "delay": probe.delay,
            }
            for probe in workload.probes
        ],
        "stop_grace": workload.stop_grace,
        "revision": workload.revision,
    }


def decode_workload(fields: Fields) -> Workload:
    """Raises CodecError."""
    resources = nested(fields, "resources")
    try:
        return Workload(
            command=texts(fields, "command"),
            port=whole(fields, "port"),
            protocol=Protocol(text(fields, "protocol")),
            env=pairs(fields, "env"),
            resources=Resources(
                cpu_millicores=whole(resources, "cpu_millicores"),
                memory_bytes=whole(resources, "memory_bytes"),
            ),
            probes=tuple(_decode_probe(probe) for probe in _objects(fields, "probes")),
            stop_grace=whole(fields, "stop_grace"),
            revision=text(fields, "revision"),
        )
    except ValueError as error:  # an enumeration's unknown value
        raise CodecError(str(error)) from None


# --- states, readings, identities -------------------------------------------


def decode_reading(fields: Fields) -> ProbeReading:
    return ProbeReading(
        kind=ProbeKind(text(fields, "kind")),
        ok=flag(fields, "ok"),
        count=whole(fields, "count"),
        passed=flag(fields, "passed"),
        checked_at=whole(fields, "checked_at"),
        detail=text(fields, "detail", ""),
    )


def decode_readings(fields: Fields, key: str) -> tuple[ProbeReading, ...]:
    return tuple(decode_reading(reading) for reading in _objects(fields, key))


def decode_address(fields: Fields) -> Address:
    return Address(host=text(fields, "host"), port=whole(fields, "port"))


def decode_state(fields: Fields) -> InstanceState:
    """An `InstanceState` as `encode_line` wrote it. Raises CodecError."""
    try:
        return InstanceState(
            id=text(fields, "id"),
            service=text(fields, "service"),
            region=text(fields, "region"),
            zone=text(fields, "zone"),
            node=text(fields, "node"),
            revision=text(fields, "revision"),
            address=decode_address(nested(fields, "address")),
            phase=Phase(text(fields, "phase")),
            pid=whole_or_none(fields, "pid"),
            created_at=whole(fields, "created_at"),
            started_at=whole(fields, "started_at"),
            restarts=whole(fields, "restarts"),
            probes=decode_readings(fields, "probes"),
            draining_since=whole_or_none(fields, "draining_since"),
            exited_at=whole_or_none(fields, "exited_at"),
            exit_detail=text(fields, "exit_detail", ""),
            cpu_millicores=number(fields, "cpu_millicores", 0.0),
            memory_bytes=whole(fields, "memory_bytes", 0),
        )
    except ValueError as error:
        raise CodecError(str(error)) from None


def decode_identity(fields: Fields) -> Identity:
    return Identity(
        pid=whole(fields, "pid"),
        start_ticks=whole(fields, "start_ticks"),
        boot_id=text(fields, "boot_id"),
        token=text(fields, "token"),
    )


def encode_report(
    node: str, at: Instant, full: bool, instances: Sequence[InstanceState], gone: Sequence[str]
) -> bytes:
    return encode_line(
        {
            "report": {
                "node": node,
                "at": at,
                "full": full,
                "instances": instances,
                "gone": gone,
            }
        }
    )


def merge_report(known: Mapping[str, InstanceState], report: Fields) -> NodeReport:
    """What is known after a report: `known` by instance id, replaced by a full one. Raises
    CodecError."""
    after = {} if flag(report, "full") else dict(known)
    for fields in _objects(report, "instances"):
        state = decode_state(fields)
        after[state.id] = state
    for gone in texts(report, "gone"):
        after.pop(gone, None)
    instances = tuple(after[name] for name in sorted(after))
    return NodeReport(text(report, "node"), whole(report, "at"), instances)

"""What a node agent writes down about its instances: one file each, replaced as a whole.

A record is written before its process is started (without an identity) and again right
after. A crash in between loses nothing: the token in the process's environment follows from
the record, and the next agent finds the process by it.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from seakeep.engines.local.node.codec import (
    CodecError,
    decode_address,
    decode_identity,
    decode_line,
    decode_readings,
    decode_workload,
    encode_workload,
    nested,
    pairs,
    text,
    whole,
    whole_or_none,
)
from seakeep.engines.local.process_table import boot_id
from seakeep.engines.local.processes import Identity
from seakeep.model.ids import InstanceId, ServiceName
from seakeep.model.observation import Address, ProbeReading
from seakeep.model.system import Workload
from seakeep.model.time import Instant


@dataclass(slots=True, kw_only=True)
class Record:
    """One instance, as it must be known to whoever comes after a crash."""

    id: InstanceId
    service: ServiceName
    address: Address
    workload: Workload
    env: tuple[tuple[str, str], ...]
    cwd: str
    created_at: Instant
    started_at: Instant
    restarts: int = 0
    identity: Identity | None = None
    """None before its process is known to have started."""
    draining_since: Instant | None = None
    stop_by: Instant | None = None
    """When a stopping process is killed; None while it is not told to stop."""
    exited_at: Instant | None = None
    exit_detail: str = ""
    readings: tuple[ProbeReading, ...] = ()
    """As of the last turn: an adopted instance must not look as if it had just started."""

    def encode(self) -> bytes:
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["workload"] = encode_workload(self.workload)
        fields["boot"] = boot_id()
        return orjson.dumps(fields)


def _decode(content: bytes, now: Instant) -> Record:
    fields = decode_line(content)
    identity = fields.get("identity")
    record = Record(
        id=text(fields, "id"),
        service=text(fields, "service"),
        address=decode_address(nested(fields, "address")),
        workload=decode_workload(nested(fields, "workload")),
        env=pairs(fields, "env"),
        cwd=text(fields, "cwd"),
        created_at=whole(fields, "created_at"),
        started_at=whole(fields, "started_at"),
        restarts=whole(fields, "restarts"),
        identity=decode_identity(nested(fields, "identity")) if identity is not None else None,
        draining_since=whole_or_none(fields, "draining_since"),
        stop_by=whole_or_none(fields, "stop_by"),
        exited_at=whole_or_none(fields, "exited_at"),
        exit_detail=text(fields, "exit_detail"),
        readings=decode_readings(fields, "readings"),
    )
    if text(fields, "boot") != boot_id():
        # The clock began anew with the machine; the past all looks alike.
        record.created_at = record.started_at = now
        record.draining_since = record.draining_since and now
        record.stop_by = record.stop_by and now
        record.exited_at = record.exited_at and now
    return record


class Records:
    """The records of one node: a folder of `<instance>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def save(self, record: Record) -> None:
        """Raises OSError when the disk does not take it."""
        path = self._path(record.id)
        beside = path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(record.encode())
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        beside.replace(path)

    def forget(self, instance: InstanceId) -> None:
        self._path(instance).unlink(missing_ok=True)

    def load(self, now: Instant) -> tuple[list[Record], list[str]]:
        """(records by id, what could not be read and was put aside)."""
        records, broken = [], []
        for path in sorted(self._folder.glob("*.json")):
            try:
                records.append(_decode(path.read_bytes(), now))
            except (OSError, CodecError, ValueError) as error:
                broken.append(f"{path.name}: {error}")
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(".broken"))
        for leftover in self._folder.glob("*.new"):
            leftover.unlink(missing_ok=True)
        return records, broken

    def _path(self, instance: InstanceId) -> Path:
        return self._folder / f"{instance}.json"

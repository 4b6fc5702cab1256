"""What the journal costs the loop: bytes and time a step, and how fast it is read and replayed.

    python -m benchmarks.journal [--instances 20] [--steps 300]

The peer, in the same run: the same steps with the whole observation each, as a row of an SQLite
table in WAL mode with synchronous=FULL, committed where the journal syncs.
"""

import argparse
import dataclasses
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from seakeep.model.codec import dumps, loads
from seakeep.model.decision import Decision, Reason
from seakeep.model.observation import (
    Address,
    InstanceState,
    Observation,
    Phase,
    ProbeReading,
    Sample,
)
from seakeep.model.system import ProbeKind
from seakeep.model.time import MILLISECOND, SECOND, Instant
from seakeep.runtime.journal import Journal
from seakeep.runtime.reading import read

START: Instant = 5_000 * SECOND
STEP = SECOND
INSTANCES_PER_NODE = 20


def instance(ordinal: int) -> InstanceState:
    node = ordinal // INSTANCES_PER_NODE
    return InstanceState(
        id=f"web-{ordinal}",
        service="web",
        region="us-east",
        zone="a",
        node=f"us-east/a/{node}",
        revision="0123456789abcdef",
        address=Address(host=f"127.1.{ordinal // 250}.{ordinal % 250}", port=8080),
        phase=Phase.RUNNING,
        pid=4000 + ordinal,
        created_at=START,
        started_at=START,
        restarts=0,
        probes=tuple(
            ProbeReading(kind=kind, ok=True, count=1, passed=True, checked_at=START)
            for kind in (ProbeKind.READINESS, ProbeKind.LIVENESS)
        ),
        cpu_millicores=12.5,
        memory_bytes=50 << 20,
    )


def observations(instances: int, steps: int, busy: bool) -> list[Observation]:
    """Quiet: nothing but the age of the readings changes. Busy: every readiness probe is checked
    once and every fifth instance's CPU changes in every step."""
    states = [instance(ordinal) for ordinal in range(instances)]
    out = []
    for step in range(steps):
        at = START + step * STEP
        if busy:
            states = [changed(state, at, ordinal) for ordinal, state in enumerate(states)]
        samples = tuple(
            Sample(value=state, observed_at=at - 3 * MILLISECOND, source=f"node:{state.node}")
            for state in states
        )
        out.append(Observation(seq=step, at=at, instances=samples))
    return out


def changed(state: InstanceState, at: Instant, ordinal: int) -> InstanceState:
    first, *rest = state.probes
    checked_at = at - (ordinal * 7919) % SECOND
    probe = dataclasses.replace(first, count=first.count + 1, checked_at=checked_at)
    cpu = 12.5 + (at // SECOND + ordinal) % 7 if ordinal % 5 == 0 else state.cpu_millicores
    return dataclasses.replace(state, probes=(probe, *rest), cpu_millicores=cpu)


def decision(step: int, instances: int) -> Decision[None]:
    numbers = (("replicas", instances),)
    reason = Reason(code="placement.settled", subject="web", numbers=numbers)
    return Decision(memory=None, reasons=(reason,), wake_at=START + (step + 1) * STEP)


def timed(act: Callable[[], object], count: int) -> float:
    """Milliseconds a piece."""
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) / count * 1000


def journal_row(folder: Path, seen: list[Observation], instances: int) -> tuple[float, ...]:
    journal = Journal.open(folder, "bench", epoch=1)

    def write() -> None:
        for step, observation in enumerate(seen):
            if not journal.step(observation, decision(step, instances)):
                raise SystemExit("the journal could not be written")

    write_ms = timed(write, len(seen))
    journal.close()
    size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    size += sum(path.stat().st_size for path in folder.glob("*.gz"))
    read_ms = timed(lambda: sum(1 for _ in read(folder)), len(seen))
    return size / len(seen), write_ms, read_ms


def sqlite_row(folder: Path, seen: list[Observation], instances: int) -> tuple[float, ...]:
    database = sqlite3.connect(folder / "peer.db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table steps (n integer primary key, seen text, decided text)")

    def write() -> None:
        database.execute("begin")
        committed = time.monotonic()
        for step, observation in enumerate(seen):
            reasons = dumps(decision(step, instances).reasons, tuple[Reason, ...])
            row = (step, dumps(observation), reasons)
            database.execute("insert into steps values (?, ?, ?)", row)
            if time.monotonic() - committed >= 1.0:
                database.execute("commit")
                database.execute("begin")
                committed = time.monotonic()
        database.execute("commit")

    def load() -> None:
        for (data,) in database.execute("select seen from steps order by n"):
            loads(Observation, data)

    write_ms = timed(write, len(seen))
    read_ms = timed(load, len(seen))
    database.execute("pragma wal_checkpoint(truncate)")
    database.close()
    return (folder / "peer.db").stat().st_size / len(seen), write_ms, read_ms


def sync_ms(folder: Path, count: int = 50) -> float:
    """One durable record."""
    journal = Journal.open(folder, "bench", epoch=1)
    cost = timed(lambda: [journal.note("x", n) for n in range(count)], count)
    journal.close()
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--instances", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    print(
        f"{given.instances} instances, {given.steps} steps; Python "
        f"{platform.python_version()}, {os.cpu_count()} cores"
    )
    print(f"{'':24}{'bytes/step':>12}{'write ms':>10}{'read ms':>10}")
    with tempfile.TemporaryDirectory() as name:
        for busy in (False, True):
            seen = observations(given.instances, given.steps, busy)
            for title, row in (("journal", journal_row), ("sqlite, whole", sqlite_row)):
                folder = Path(name) / f"{title} {busy}"
                folder.mkdir()
                size, write_ms, read_ms = row(folder, seen, given.instances)
                label = f"{title}, {'busy' if busy else 'quiet'}"
                print(f"{label:24}{size:12.0f}{write_ms:10.3f}{read_ms:10.3f}")
        print(f"a durable record: {sync_ms(Path(name) / 'sync'):.2f} ms")


if __name__ == "__main__":
    main()

"""The process table: /proc on Linux, psutil elsewhere. Readings only; see `processes`."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TOKEN_VARIABLE = "SEAKEEP_TOKEN"  # noqa: S105  a name, not a secret
LINUX = sys.platform.startswith("linux")
_TICKS = os.sysconf("SC_CLK_TCK")
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_YOUNG_S = 1.0
_YOUNG_TRIES = 5


@dataclass(frozen=True, slots=True)
class Stat:
    """What the process table says about one pid."""

    zombie: bool
    session: int
    start_ticks: int
    cpu_ticks: int
    exit_status: int = 0
    """Wait status of a zombie, if we may know it."""


@cache
def boot_id() -> str:
    """The name of this boot of the machine."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(portable().boot_time()))


def portable() -> Any:
    """psutil: only where there is no /proc, since importing it takes a while."""
    import psutil  # type: ignore[import-untyped]

    return psutil


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    if not LINUX:
        return _stat_portable(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses: fields count from behind the last one.
    fields = line[line.rindex(b")") + 2 :].split()
    return Stat(
        zombie=fields[0] in (b"Z", b"X", b"x"),
        session=int(fields[3]),
        start_ticks=int(fields[19]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        exit_status=int(fields[49]),
    )


def _stat_portable(pid: int) -> Stat | None:
    psutil = portable()
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return Stat(
            zombie=process.status() == psutil.STATUS_ZOMBIE,
            session=os.getsid(pid),
            start_ticks=round(process.create_time() * 100),
            cpu_ticks=round((times.user + times.system) * 100),
        )
    except (psutil.Error, OSError):
        return None


def read_token(pid: int, start_ticks: int) -> str:
    """The token in a process's first environment; empty when it has none or is not ours."""
    if not LINUX:
        psutil = portable()
        try:
            return str(psutil.Process(pid).environ().get(TOKEN_VARIABLE, ""))
        except (psutil.Error, OSError):
            return ""
    start = f"{TOKEN_VARIABLE}=".encode()
    for entry in _environment(pid, start_ticks).split(b"\0"):
        if entry.startswith(start):
            return os.fsdecode(entry[len(start) :])
    return ""


def read_folder(pid: int) -> str:
    """A process's working folder; empty when it is gone or is not ours."""
    if not LINUX:
        psutil = portable()
        try:
            return str(psutil.Process(pid).cwd())
        except (psutil.Error, OSError):
            return ""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _environment(pid: int, start_ticks: int) -> bytes:
    """While a program is being loaded its environment reads as empty, for microseconds: a
    young process is asked again."""
    try:
        for _ in range(_YOUNG_TRIES):
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
            if environment or time.clock_gettime(_BOOT_CLOCK) - start_ticks / _TICKS > _YOUNG_S:
                return environment
            time.sleep(0.001)
    except OSError:
        pass
    return b""


def own_pids() -> Iterator[int]:
    """Processes of this user, except this very one."""
    user, me = os.geteuid(), os.getpid()
    if not LINUX:
        for process in portable().process_iter():
            with contextlib.suppress(Exception):
                if process.pid != me and process.uids().effective == user:
                    yield process.pid
        return
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or int(entry.name) == me:
            continue
        with contextlib.suppress(OSError):
            if user == 0 or entry.stat().st_uid == user:
                yield int(entry.name)

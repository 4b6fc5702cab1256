"""Processes by identity: started, told apart, signalled, awaited and found again.

A pid alone names nothing, since the kernel hands it out again. An `Identity` is a pid, when
the process started, on which boot of the machine, and the token that it carries in its
environment; what differs in any of these is another process and is left alone.

The token is a path: `<system>/<node>/<instance>/<restarts>`. Children inherit it, so whatever
a crash leaves behind is found by the system's token alone, even when the crash came between
the start of a process and the note of its pid on disk.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seakeep.engines.local import process_table

_PROCESS_GROUP = 4
"""PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9."""
_GET_INFO = 0xC040FF0B
"""PIDFD_GET_INFO with the first version (64 bytes) of struct pidfd_info."""
_INFO_EXIT = 1 << 3
"""PIDFD_INFO_EXIT, Linux 6.15."""
_POLL_S = 0.02


class SpawnError(Exception):
    """A process could not be started; the message says why and what to change."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, never another one that got its pid later."""

    pid: int
    start_ticks: int
    """Clock ticks since boot (/proc/PID/stat, field 22)."""
    boot_id: str
    token: str


# --- finding ----------------------------------------------------------------


def identify(pid: int, token: str = "") -> Identity | None:
    """The identity of a running process; `token` is read from it when not given. None when
    there is no such process."""
    found = process_table.read_stat(pid)
    if found is None:
        return None
    token = token or process_table.read_token(pid, found.start_ticks)
    return Identity(pid, found.start_ticks, process_table.boot_id(), token)


def is_alive(identity: Identity) -> bool:
    """Whether this very process runs: not a zombie, not another one with its pid."""
    if identity.boot_id != process_table.boot_id():
        return False
    found = process_table.read_stat(identity.pid)
    return found is not None and not found.zombie and found.start_ticks == identity.start_ticks


def strays(token_prefix: str) -> list[Identity]:
    """Living processes of this user whose token starts with `token_prefix`, and the sessions
    that they lead; by pid. An empty prefix is refused: it would be every process."""
    if not token_prefix:
        raise ValueError("strays() needs the token of a system")
    table: dict[int, tuple[process_table.Stat, str]] = {}
    for pid in process_table.own_pids():
        before = process_table.read_stat(pid)
        if before is None or before.zombie:
            continue
        token = process_table.read_token(pid, before.start_ticks)
        after = process_table.read_stat(pid)
        if after is not None and after.start_ticks == before.start_ticks:
            table[pid] = (before, token)
    ours = {pid for pid, (_, token) in table.items() if token.startswith(token_prefix)}
    return [
        Identity(pid, stat.start_ticks, process_table.boot_id(), token)
        for pid, (stat, token) in sorted(table.items())
        if pid in ours or stat.session in ours
    ]


def with_token(token: str) -> list[Identity]:
    """Living processes whose token is exactly this one; the oldest first."""
    found = [one for one in strays(token) if one.token == token]
    return sorted(found, key=lambda one: (one.start_ticks, one.pid))


def with_folders() -> list[tuple[Identity, str]]:
    """This user's living processes that carry a token, each with its working folder, as the
    process table writes it (`/a/b (deleted)` once it is gone); by pid."""
    found = []
    for pid in process_table.own_pids():
        stat = process_table.read_stat(pid)
        if stat is None or stat.zombie:
            continue
        token = process_table.read_token(pid, stat.start_ticks)
        if token:
            identity = Identity(pid, stat.start_ticks, process_table.boot_id(), token)
            found.append((identity, process_table.read_folder(pid)))
    return sorted(found, key=lambda one: one[0].pid)


def members(identity: Identity) -> list[Identity]:
    """The living processes of one identity: itself, its session, and everything that
    inherited its token (sessions of their own included). By pid."""
    if identity.boot_id != process_table.boot_id():
        return []
    leader = process_table.read_stat(identity.pid)
    # While the session has a member the kernel gives its number to no other process; when
    # somebody else has the number, the session is gone.
    own_session = leader is None or leader.start_ticks == identity.start_ticks
    found = []
    for pid in process_table.own_pids():
        stat = process_table.read_stat(pid)
        if stat is None or stat.zombie or stat.start_ticks < identity.start_ticks:
            continue
        token = process_table.read_token(pid, stat.start_ticks)
        if (
            (own_session and stat.session == identity.pid)
            or (pid == identity.pid and stat.start_ticks == identity.start_ticks)
            or (identity.token and (token + "/").startswith(identity.token + "/"))
        ):
            found.append(Identity(pid, stat.start_ticks, identity.boot_id, token))
    return sorted(found, key=lambda member: member.pid)


def usage(identity: Identity) -> tuple[float, int]:
    """(seconds of CPU so far, bytes of resident memory) of a process and its descendants."""
    if not process_table.LINUX:
        found = process_table.read_stat(identity.pid)
        with contextlib.suppress(Exception):
            memory = int(process_table.portable().Process(identity.pid).memory_info().rss)
            return (found.cpu_ticks / 100 if found else 0.0), memory
        return 0.0, 0
    ticks = pages = 0
    todo = [identity.pid]
    while todo:
        pid = todo.pop()
        stat = process_table.read_stat(pid)
        if stat is None or stat.zombie or stat.start_ticks < identity.start_ticks:
            continue
        ticks += stat.cpu_ticks
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{pid}/statm", "rb") as file:
                pages += int(file.read().split()[1])
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    todo += [int(child) for child in file.read().split()]
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


# --- starting ---------------------------------------------------------------


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path | int | None,
    token: str,
    nice: int = 0,
    pass_fds: Sequence[int] = (),
) -> Identity:
    """Start a process in a session of its own that outlives its parent.

    No shell; no descriptor of ours but `pass_fds`; nothing on stdin; stdout and stderr are
    appended to `log` (a path, an open descriptor, or None for nowhere). The caller reaps it,
    if it cares: `Handle.exit_status`. Raises SpawnError.
    """
    if not argv or not argv[0]:
        raise SpawnError("the command is empty")
    environment = {**env, process_table.TOKEN_VARIABLE: token}
    opened = _open_log(log) if isinstance(log, Path) else None
    output = opened if opened is not None else log if log is not None else subprocess.DEVNULL
    assert not isinstance(output, Path)
    try:
        child = subprocess.Popen(
            list(argv),
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            close_fds=True,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SpawnError(_why(argv[0], cwd, error)) from error
    finally:
        if opened is not None:
            os.close(opened)
    # Tells Popen not to reap the child behind our back when the object goes.
    child.returncode = 0
    if nice:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, nice)
    identity = identify(child.pid, token)
    if identity is None:  # somebody else's SIGCHLD handler reaped it already
        raise SpawnError(f"{argv[0]} ended at once")
    return identity


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpawnError(f"cannot write the log {log}: {error.strerror}") from error


def _why(command: str, cwd: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):  # a zero byte, or '=' in a variable's name
        return f"cannot pass the command or its environment on: {error}"
    if not cwd.is_dir():
        return f"no such folder to run in: {cwd}"
    if error.errno == errno.ENOENT:
        if "/" in command:
            return f"no such file: {command}"
        return f"command not found: {command} (in no folder of PATH)"
    if error.errno == errno.EACCES:
        return f"{command} is not executable"
    if error.errno == errno.ENOEXEC:
        return f"{command} is neither a program nor a script that begins with #!"
    return f"{command}: {error.strerror}"


# --- signals and exits ------------------------------------------------------


class Handle:
    """A hold on one process by which it can be signalled and awaited without a race.

    On Linux a pidfd: it never comes to mean another process. Elsewhere the identity is
    checked right before each use.
    """

    __slots__ = ("fd", "identity")

    def __init__(self, identity: Identity, fd: int | None) -> None:
        self.identity = identity
        self.fd = fd
        """Readable once the process has ended; None where there are no pidfds."""

    @classmethod
    def open(cls, identity: Identity) -> "Handle | None":
        """None when the process is gone. One that has ended but was not reaped can be held."""
        if identity.boot_id != process_table.boot_id():
            return None
        fd = None
        if hasattr(os, "pidfd_open"):
            try:
                fd = os.pidfd_open(identity.pid)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    return None
        # Checked with the descriptor open: from here on it is this process or none.
        found = process_table.read_stat(identity.pid)
        if found is None or found.start_ticks != identity.start_ticks:
            if fd is not None:
                os.close(fd)
            return None
        return cls(identity, fd)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def signal(self, number: int) -> bool:
        """Signal the process itself. False when it is gone."""
        try:
            if self.fd is not None:
                signal.pidfd_send_signal(self.fd, number)
            elif is_alive(self.identity):
                os.kill(self.identity.pid, number)
            else:
                return False
        except ProcessLookupError:
            return False
        return True

    def signal_group(self, number: int) -> bool:
        """Signal its process group, which outlives it while it has members. False when
        nobody is left in it."""
        try:
            if self.fd is not None:
                try:
                    signal.pidfd_send_signal(self.fd, number, None, _PROCESS_GROUP)
                    return True
                except OSError as error:
                    if error.errno != errno.EINVAL:  # a kernel before 6.9
                        raise
            # The number stays taken as long as the leader, dead or alive, is not reaped.
            found = process_table.read_stat(self.identity.pid)
            if found is None or found.start_ticks != self.identity.start_ticks:
                return False
            os.killpg(self.identity.pid, number)
        except ProcessLookupError:
            return False
        return True

    async def ended(self) -> None:
        """Return once the process has ended, child or not. Does not reap it."""
        if self.fd is None:
            while is_alive(self.identity):  # noqa: ASYNC110  nothing tells, where no pidfds are
                await asyncio.sleep(_POLL_S)
            return
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.fd, event.set)
        try:
            await event.wait()
        finally:
            loop.remove_reader(self.fd)

    def exit_status(self) -> int | None:
        """Reap the process if it is our child. Its wait status once it has ended, else None.
        Of a stranger Linux tells it while nobody has reaped it, and from 6.15 on always; else
        it stays None."""
        try:
            pid, status = os.waitpid(self.identity.pid, os.WNOHANG)
            return status if pid else None
        except ChildProcessError:
            pass
        if self.fd is None or not process_table.LINUX:
            return None
        # Its parent has not reaped it yet, and the table still shows how it ended ...
        found = process_table.read_stat(self.identity.pid)
        if found is not None and found.start_ticks == self.identity.start_ticks:
            return found.exit_status if found.zombie else None
        # ... or has, and the kernel kept that for those who hold on to it.
        answer = bytearray(struct.pack("=Q56x", _INFO_EXIT))
        try:
            fcntl.ioctl(self.fd, _GET_INFO, answer)
        except OSError:
            return None
        (known,) = struct.unpack_from("=Q", answer)
        return int(struct.unpack_from("=i", answer, 60)[0]) if known & _INFO_EXIT else None


def describe_exit(status: int | None) -> str:
    """`exit code 1`, `killed by SIGKILL`; of a stranger whose status is not known, `exited`."""
    if status is None:
        return "exited"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def send(identity: Identity, number: int) -> bool:
    """Signal this very process. False when it is gone."""
    handle = Handle.open(identity)
    if handle is None:
        return False
    with contextlib.closing(handle):
        return is_alive(identity) and handle.signal(number)


def send_group(identity: Identity, number: int) -> bool:
    """Signal the process group that this process leads. False when the process is gone."""
    handle = Handle.open(identity)
    if handle is None:
        return False
    with contextlib.closing(handle):
        return handle.signal_group(number)


def reap(identity: Identity) -> int | None:
    """The wait status of a child that has ended, which frees its entry in the process table;
    None while it runs or when it is not ours."""
    try:
        pid, status = os.waitpid(identity.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return status if pid else None


async def wait_exit(identity: Identity) -> None:
    """Return when the process no longer runs, child or not. Does not reap it."""
    handle = Handle.open(identity)
    if handle is None:
        return
    try:
        await handle.ended()
    finally:
        handle.close()


def wait_gone(identities: Iterable[Identity], timeout_s: float) -> list[Identity]:
    """Block until none of them runs, at most `timeout_s`. Those that still do."""
    deadline = time.monotonic() + timeout_s
    left = list(identities)
    while True:
        for identity in left:
            reap(identity)
        left = [identity for identity in left if is_alive(identity)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.005)


def kill_members(identity: Identity, timeout_s: float = 5.0) -> list[Identity]:
    """SIGKILL a process, its session and whatever inherited its token, again until nothing
    new appears. Blocks; the survivors, which only a stuck kernel call can cause."""
    send_group(identity, signal.SIGKILL)
    return _kill_all(lambda: members(identity), timeout_s)


def kill_strays(token_prefix: str, timeout_s: float = 5.0) -> list[Identity]:
    """SIGKILL every process of a system (or, with a longer prefix, of a part of it), again
    until nothing new appears. Blocks; the survivors."""
    return _kill_all(lambda: strays(token_prefix), timeout_s)


def _kill_all(find: Callable[[], list[Identity]], timeout_s: float) -> list[Identity]:
    deadline = time.monotonic() + timeout_s
    while True:
        found = find()
        if not found:
            return []
        for identity in found:
            send(identity, signal.SIGKILL)
        left = max(0.0, deadline - time.monotonic())
        survivors = wait_gone(found, min(1.0, left))
        if time.monotonic() >= deadline:
            return survivors

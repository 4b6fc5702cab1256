"""Limits of CPU and memory by control groups, where this user may set them.

A node is a group with a quota of its whole capacity; an instance is a group in it whose
weight is the CPU it asked for and whose memory is limited to what it asked for. Weight, not
quota: a process that asks for a quarter of a core may use an idle one to start quickly.

Version 2 needs a subtree that was delegated to the user; version 1 needs root, mostly.
Where neither is to be had nothing is limited, and `available` says so.
"""

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from seakeep.engines.local.layout import flat
from seakeep.model.system import Resources

_PERIOD_US = 100_000
_SLOW_PERIOD_US = 50_000
"""Short, so that a slowed process crawls rather than stutters."""
_QUOTA_US_MIN = 1_000


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The folders under which this process may make groups; None where it may not."""

    version: int
    cpu: Path | None
    memory: Path | None

    def available(self) -> str:
        """`CPU and memory by cgroup v2`, or what is not limited and why."""
        have = [name for name in ("cpu", "memory") if getattr(self, name) is not None]
        if not have:
            return "not limited: no control group that this user may write to"
        words = " and ".join(have).replace("cpu", "CPU")
        lacking = "" if len(have) == 2 else ", the other is not limited"
        return f"{words} by cgroup v{self.version}{lacking}"

    def folders(self) -> list[Path]:
        found = [folder for folder in (self.cpu, self.memory) if folder is not None]
        return found[:1] if self.version == 2 else found


def find_hierarchies() -> Hierarchies:
    """Look at what the kernel offers to this process. SEAKEEP_LIMITS=off says: nothing."""
    if os.environ.get("SEAKEEP_LIMITS") == "off":
        return Hierarchies(0, None, None)
    try:
        mounts = _mounts(Path("/proc/self/mountinfo").read_text())
        own = _own_groups(Path("/proc/self/cgroup").read_text())
    except OSError:
        return Hierarchies(0, None, None)
    v1 = Hierarchies(1, *(_v1(mounts, own, name) for name in ("cpu", "memory")))
    if v1.cpu or v1.memory:
        return v1
    if "" in mounts and "" in own:
        home = _v2(mounts[""][1], _below(mounts[""], own[""]))
        if home is not None:
            return Hierarchies(2, home, home)
    return Hierarchies(0, None, None)


def _mounts(mountinfo: str) -> dict[str, tuple[str, Path]]:
    """(root within the hierarchy, mount point) by controller; version 2 by the empty name."""
    found: dict[str, tuple[str, Path]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split()[:3]
        if kind == "cgroup2":
            found.setdefault("", (fields[3], Path(fields[4])))
        elif kind == "cgroup":
            for option in options.split(","):
                if option in ("cpu", "memory"):
                    found.setdefault(option, (fields[3], Path(fields[4])))
    return found


def _own_groups(cgroup: str) -> dict[str, str]:
    """Path of this process's own group by controller; version 2 by the empty name."""
    found: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _below(mount: tuple[str, Path], group: str) -> Path:
    """Where a group is in the file system; a container sees its own group as the root."""
    root, point = mount
    inner = group.removeprefix(root.rstrip("/")) if group.startswith(root) else group
    folder = point / inner.strip("/")
    return folder if folder.is_dir() else point


def _outside_seakeep(folder: Path) -> Path:
    """Out of any group of a system's own, so that groups do not nest from agent to agent."""
    for parent in (folder, *folder.parents):
        if parent.name.startswith("seakeep-"):
            return parent.parent
    return folder


def _v1(mounts: dict[str, tuple[str, Path]], own: dict[str, str], name: str) -> Path | None:
    if name not in mounts or name not in own:
        return None
    folder = _outside_seakeep(_below(mounts[name], own[name]))
    return folder if _may_make_groups(folder) else None


def _v2(point: Path, own: Path) -> Path | None:
    """Processes live in leaves only, and our own group has one: this one. So it is the group
    above that can be divided, if it was delegated, or the root."""
    own = _outside_seakeep(own)
    for folder in (own.parent, own) if own != point else (own,):
        if folder != point and point not in folder.parents:
            continue
        with contextlib.suppress(OSError):
            if not {"cpu", "memory"} <= set((folder / "cgroup.controllers").read_text().split()):
                continue
            control = folder / "cgroup.subtree_control"
            if not {"cpu", "memory"} <= set(control.read_text().split()):
                control.write_text("+cpu +memory")
            if _may_make_groups(folder) and os.access(folder / "cgroup.procs", os.W_OK):
                return folder
    return None


def _may_make_groups(folder: Path) -> bool:
    trial = folder / f"seakeep-trial-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    return True


def prefix(token: str) -> str:
    """What the names of a system's groups start with."""
    return "seakeep-" + hashlib.sha256(token.encode()).hexdigest()[:12]


class NodeGroups:
    """The control groups of one node and its instances. Nothing here raises: a limit that
    cannot be set is a limit that is not set."""

    def __init__(self, token: str, node: str, capacity: Resources) -> None:
        """`token` is the system's."""
        self._found = find_hierarchies()
        self._name = f"{prefix(token)}.{flat(node)}"
        self._capacity = capacity
        self._oom_kills: dict[str, int] = {}

    def available(self) -> str:
        """What is limited, for people."""
        return self._found.available()

    @property
    def limits_cpu(self) -> bool:
        return self._found.cpu is not None

    def prepare(self, instance: str, resources: Resources) -> None:
        """Make an instance's group, with its limits, before its process starts."""
        for folder in self._found.folders():
            with contextlib.suppress(OSError):
                (folder / self._name / instance).mkdir(parents=True, exist_ok=True)
                if self._found.version == 2:
                    _write(folder / self._name / "cgroup.subtree_control", "+cpu +memory")
        self._weigh(self._found.cpu, self._name, self._capacity.cpu_millicores)
        self._quota(self._name, self._capacity.cpu_millicores / 1000, _PERIOD_US)
        self._weigh(self._found.cpu, f"{self._name}/{instance}", resources.cpu_millicores)
        self.slow(instance, None)
        if self._found.memory is not None and resources.memory_bytes > 0:
            group = self._found.memory / self._name / instance
            name = "memory.max" if self._found.version == 2 else "memory.limit_in_bytes"
            _write(group / name, str(resources.memory_bytes))
            # Without this the limit would be met by swapping, which is worse than an end.
            swap = "memory.swap.max" if self._found.version == 2 else "memory.memsw.limit_in_bytes"
            _write(group / swap, "0" if self._found.version == 2 else str(resources.memory_bytes))
        self._oom_kills[instance] = self._count_oom(instance)

    def join(self, instance: str, pid: int) -> None:
        """Put a process (and so its later children) under the limits."""
        for folder in self._found.folders():
            _write(folder / self._name / instance / "cgroup.procs", str(pid))

    def slow(self, instance: str, cores: float | None) -> bool:
        """Limit an instance to a number of cores, or not at all. Whether it was done."""
        return self._quota(f"{self._name}/{instance}", cores, _SLOW_PERIOD_US)

    def was_out_of_memory(self, instance: str) -> bool:
        """Whether the kernel has killed one of its processes for memory since `prepare`."""
        return self._count_oom(instance) > self._oom_kills.get(instance, 0)

    def remove(self, instance: str) -> None:
        """Remove an instance's group; its processes have ended."""
        self._oom_kills.pop(instance, None)
        for folder in self._found.folders():
            _remove(folder / self._name / instance)

    def _weigh(self, root: Path | None, group: str, millicores: int) -> None:
        if root is None or millicores <= 0:
            return
        if self._found.version == 2:
            _write(root / group / "cpu.weight", str(min(10_000, max(1, millicores // 10))))
        else:
            shares = min(262_144, max(2, millicores * 1024 // 1000))
            _write(root / group / "cpu.shares", str(shares))

    def _quota(self, group: str, cores: float | None, period_us: int) -> bool:
        if self._found.cpu is None:
            return False
        folder = self._found.cpu / group
        quota_us = None if not cores else max(_QUOTA_US_MIN, round(cores * period_us))
        if self._found.version == 2:
            return _write(folder / "cpu.max", f"{quota_us or 'max'} {period_us}")
        # The old quota goes first: with the new period it might exceed the parent's.
        done = _write(folder / "cpu.cfs_quota_us", "-1")
        done = _write(folder / "cpu.cfs_period_us", str(period_us)) and done
        return (quota_us is None or _write(folder / "cpu.cfs_quota_us", str(quota_us))) and done

    def _count_oom(self, instance: str) -> int:
        if self._found.memory is None:
            return 0
        name = "memory.events" if self._found.version == 2 else "memory.oom_control"
        with contextlib.suppress(OSError, ValueError):
            for line in (
                (self._found.memory / self._name / instance / name).read_text().splitlines()
            ):
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
        return 0


def remove_all(token: str) -> list[Path]:
    """Remove every group of a system (`seakeep down`, with the system's token), once its
    processes have ended. What could not be removed."""
    left = []
    for group in _groups_of(token):
        for instance in sorted(path for path in group.iterdir() if path.is_dir()):
            _remove(instance)
        if not _remove(group):
            left.append(group)
    return left


def _groups_of(token: str) -> list[Path]:
    """A system's groups wherever they are: who ends it may sit in another session, and so below
    another group, than who started it."""
    try:
        mounts = _mounts(Path("/proc/self/mountinfo").read_text())
    except OSError:
        return []
    found = []
    for point in sorted({point for _, point in mounts.values()}):
        for folder, names, _ in os.walk(point):
            mine = sorted(name for name in names if name.startswith(f"{prefix(token)}."))
            found += [Path(folder) / name for name in mine]
            names[:] = [name for name in names if not name.startswith("seakeep-")]
    return found


def _write(path: Path, content: str) -> bool:
    try:
        path.write_text(content)
    except OSError:
        return False
    return True


def _remove(group: Path) -> bool:
    """A group whose last process has just ended is busy for a moment."""
    for _ in range(20):
        try:
            group.rmdir()
            return True
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(0.005)
    return False

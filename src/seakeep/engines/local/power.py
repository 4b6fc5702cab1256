"""Power of regions, zones and nodes: held by locks, so that it comes back by itself.

Whoever holds the lock file of a place exclusively has cut its power. The kernel lets go of a
lock when its holder ends for whatever reason, so a crashed injector leaves no place dark.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from seakeep.engines.local.layout import Layout

_CUT_TIMEOUT_S = 2.0
"""Lookers hold the lock for microseconds; who holds it for longer has cut the power."""


class PowerCutError(Exception):
    """The power of a place is cut by somebody else already."""


class Power:
    """The power of a system's places."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def is_on(self, region: str, zone: str | None = None, node: str | None = None) -> str | None:
        """None when a place has power, else why not: `no power in us-east/a`. `node` is a
        node's full id (`us-east/a/0`)."""
        places = [region]
        if zone is not None:
            places.append(f"{region}/{zone}")
        if node is not None:
            places.append(node)
        dark = next((place for place in places if self._is_cut(place)), None)
        return f"no power in {dark}" if dark else None

    @contextlib.contextmanager
    def cut(self, place: str) -> Iterator[None]:
        """Hold the power of a region, zone or node off. What runs there is not ended by this:
        see `node.client.power_off`. Raises PowerCutError when it is off already."""
        lock = self._open(place)
        try:
            deadline = time.monotonic() + _CUT_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise PowerCutError(f"the power in {place} is cut already") from None
                    time.sleep(0.01)
            yield
        finally:
            os.close(lock)

    def _is_cut(self, place: str) -> bool:
        if not self._layout.power(place).exists():
            return False
        lock = self._open(place)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _open(self, place: str) -> int:
        path = self._layout.power(place)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

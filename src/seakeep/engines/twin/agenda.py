"""What is going to happen in the twin's control-plane side, by time.

Entries of one instant happen in the order in which they were put down, so that a run does not
depend on anything else. An entry that has been overtaken by events is not taken out: whoever put
it down looks again when it comes up.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from seakeep.model.time import Instant


class Agenda:
    def __init__(self) -> None:
        self._entries: list[tuple[Instant, int, Callable[[], None]]] = []
        self._count = 0

    def put(self, at: Instant, do: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._entries, (at, self._count, do))

    @property
    def next_at(self) -> Instant | None:
        return self._entries[0][0] if self._entries else None

    def take(self) -> Callable[[], None]:
        """The first entry, which must be there."""
        return heappop(self._entries)[2]

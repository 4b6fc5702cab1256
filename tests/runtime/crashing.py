"""A child that appends numbered notes and steps to a journal and dies where it is told to.

    python -m tests.runtime.crashing FOLDER COUNT POINT [SEGMENT_BYTES]

Every system call with which the journal changes the disk is a point, and so is every byte that
it writes: at point number POINT the process kills itself with SIGKILL, having written that part
only. Prints the number of each note whose `append` has returned true, i.e. that is durable.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seakeep.model.decision import Decision
from seakeep.model.observation import Observation
from seakeep.runtime import journal as journal_module
from seakeep.runtime.journal import Journal, Limits


class Fuse:
    """Counts down to the end."""

    def __init__(self, left: int) -> None:
        self.left = left

    def burn(self, amount: int) -> int:
        """How much of `amount` may still happen."""
        allowed = min(amount, self.left)
        self.left -= allowed
        return allowed

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def arm(fuse: Fuse) -> None:
    """Real calls, cut short when the fuse has burnt down."""
    write = os.write

    def short_write(handle: int, data: Any) -> int:
        allowed = fuse.burn(len(data))
        written = write(handle, bytes(data)[:allowed]) if allowed else 0
        if allowed < len(data):
            fuse.die()
        return written

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            if not fuse.burn(1):
                fuse.die()
            return call(*given, **named)

        return run

    os.write = short_write  # type: ignore[assignment]
    for name in ("fsync", "ftruncate", "rename", "replace", "unlink"):
        setattr(os, name, guarded(getattr(os, name)))
    journal_module.sync_data = guarded(journal_module.sync_data)


def main() -> None:
    folder, count, point = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    limits = Limits(segment_bytes=int(sys.argv[4]), packed=False) if sys.argv[4:] else Limits()
    out = os.dup(1)
    say = os.write
    fuse = Fuse(point)
    if point >= 0:
        arm(fuse)
    journal = Journal.open(folder, "shop", epoch=1, limits=limits)
    number = 0
    while number < count or count < 0:
        number += 1
        if journal.note(f"note {number}", number):
            say(out, b"%d\n" % number)
        observation = Observation(seq=number, at=number)
        journal.step(observation, Decision(memory=None))
    journal.close()
    say(out, b"left %d\n" % (point - fuse.left))


if __name__ == "__main__":
    main()

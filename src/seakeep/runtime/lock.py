"""Who may change a system: one supervisor, or one `seakeep down`, at a time.

The kernel lets go of the lock when its holder ends for whatever reason.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from seakeep.engines.local.layout import Layout


def try_lock(layout: Layout) -> int | None:
    """A descriptor that holds the system's lock until it is closed; None while somebody else
    has it. The state folder must be there; raises FileNotFoundError when it is not."""
    path = layout.state / "supervisor.lock"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A `down` may have removed the folder between the two: the lock of a file that has
            # no name any more keeps nobody out.
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[bool]:
    """Hold the lock while the context is open; yields whether it was to be had."""
    handle = try_lock(layout)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def is_free(layout: Layout) -> bool:
    """Whether nobody holds the lock in this moment."""
    try:
        with locked(layout) as mine:
            return mine
    except FileNotFoundError:
        return True

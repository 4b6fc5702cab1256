"""Log files of instances: kept short by copy and truncate.

The processes hold their log open and know nothing of this; they append, so they go on at the
new end. What they write between the last copied byte and the cut is lost, a window of
microseconds.
"""

import contextlib
import os
from pathlib import Path

LOG_BYTES_MAX = 10 << 20
LOGS_KEPT = 3
_CHUNK_BYTES = 1 << 20


def rotate(log: Path, bytes_max: int = LOG_BYTES_MAX, kept: int = LOGS_KEPT) -> bool:
    """Cut a log that has reached `bytes_max`; its content goes to `<log>.1`, what was there
    to `<log>.2`, up to `kept`. Whether it did."""
    try:
        if log.stat().st_size < bytes_max:
            return False
    except FileNotFoundError:
        return False
    for older in range(kept - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            _numbered(log, older).replace(_numbered(log, older + 1))
    with open(log, "r+b") as source, open(_numbered(log, 1), "wb") as target:
        os.fchmod(target.fileno(), 0o600)
        while chunk := source.read(_CHUNK_BYTES):
            target.write(chunk)
        source.truncate(0)
    return True


def _numbered(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")

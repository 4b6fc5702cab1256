"""Files that are either the old one or the new one, whatever happens in between."""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` by a rename, for this user alone. Raises OSError, and the old
    content stays."""
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # workloads with their variables stand in some
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    fresh.rename(path)

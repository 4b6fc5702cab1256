"""The HdrHistogram log format, version 1.3: one line per second and traffic source (the tag).

Written here because the library's own writer knows no tags. Values are nanoseconds and the
interval's maximum is in milliseconds, which is what the tools that read such logs take by
default (HistogramLogAnalyzer, HistogramLogProcessor).
"""

import re
from datetime import UTC, datetime
from typing import TextIO

from seakeep.load.histogram import Histogram
from seakeep.load.plan import Lane
from seakeep.model.time import MILLISECOND, Duration, in_seconds


class HdrLogWriter:
    """Writes into an open text file."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._has_header = False

    def header(self, began_at_wall_ns: int) -> None:
        """`began_at_wall_ns`: start of the run, nanoseconds since the epoch; the times of the
        intervals count from there."""
        began_s = in_seconds(began_at_wall_ns)
        shown = datetime.fromtimestamp(began_s, UTC).isoformat(timespec="milliseconds")
        self._file.write(
            "#[Histogram log format version 1.3]\n"
            f"#[StartTime: {began_s:.3f} (seconds since epoch), {shown}]\n"
            f"#[BaseTime: {began_s:.3f} (seconds since epoch)]\n"
            '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'
        )
        self._has_header = True

    def interval(
        self, start: Duration, end: Duration, closed: list[tuple[Lane, Histogram]]
    ) -> None:
        """What ended between `start` and `end` since the run's start, per lane."""
        if not self._has_header:
            raise ValueError("the header comes first")
        for lane, histogram in closed:
            if histogram.count:
                self._file.write(
                    f"Tag={_tag(lane.source)},{in_seconds(start):.3f},"
                    f"{in_seconds(end - start):.3f},{histogram.max / MILLISECOND:.3f},"
                    f"{histogram.encode()}\n"
                )


def _tag(name: str) -> str:
    return re.sub(r"[,\s]", "_", name)

"""How long to wait before the next try: doubling, up to a cap.

The shape is the kubelet's CrashLoopBackOff (Pod lifecycle, "container restart policy": at once,
then 10 s, 20 s, 40 s ... capped at 300 s, forgotten after 10 minutes of running) with figures of
our own: an embedded process starts in a second, and KEP-4603 found the first waits too long.
"""

from dataclasses import dataclass

from seakeep.model.time import Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    first: Duration
    cap: Duration

    def delay(self, tries: int) -> Duration:
        """The wait before the next try after `tries` of them: none before the first, then
        `first`, doubling with every try, at most `cap`."""
        if tries <= 0:
            return 0
        return min(self.first << min(tries - 1, 40), self.cap)

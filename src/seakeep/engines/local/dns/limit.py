"""Response rate limiting: how many answers one network gets over UDP, where senders can be forged.

Windows of a second. As long as all networks together got no more than one may have, nobody is
looked at: that is one comparison for a whole batch. Only beyond it answers are counted by network
(/24), from then on until a whole window is quiet. Of the answers beyond the limit every second one
is a truncated one, which is no larger than its question and which an honest resolver follows by
TCP; the others are dropped.
"""

NETWORKS_MAX = 50_000
"""Counted one by one within a second; more share one count."""
_OTHERS = b""


class Limit:
    """`per_s` 0: no limit. Times are seconds on any clock that only grows."""

    def __init__(self, per_s: int) -> None:
        self.per_s = per_s
        self.counting = False
        self._window = 0
        self._total = 0
        self._counts: dict[bytes, int] = {}
        self._beyond = 0

    def begin(self, now_s: float, answers: int) -> bool:
        """Before a batch of so many answers: whether each must be counted."""
        if not self.per_s:
            return False
        window = int(now_s)
        if window != self._window:
            self.counting = self._total > self.per_s and window == self._window + 1
            self._window, self._total = window, 0
            self._counts.clear()
        self._total += answers
        if self._total > self.per_s:
            self.counting = True
        return self.counting

    def admits(self, network: bytes) -> bool:
        """Whether this network may have one more answer now."""
        counts = self._counts
        count = counts.get(network, 0)
        if not count and len(counts) >= NETWORKS_MAX:
            network = _OTHERS
            count = counts.get(network, 0)
        counts[network] = count + 1
        return count < self.per_s

    def slips(self) -> bool:
        """Of an answer that is beyond the limit: whether it is sent truncated."""
        self._beyond += 1
        return self._beyond % 2 == 0

"""How one request ended, as the client that sent it saw it.

Every end has exactly one name, so that counts add up: due = ok + declined + failed + still in
flight.
Latency runs from the instant at which the request was *due*, never from when it was sent, so
that a stall of the server, or of this client, is felt by every request that fell into it.
"""

from dataclasses import dataclass
from enum import StrEnum

from seakeep.model.time import Instant


class Result(StrEnum):
    """The class of an answer, or why there was none."""

    OK_2XX = "2xx"
    OK_3XX = "3xx"
    CLIENT_ERROR = "4xx"
    """Other than 429."""
    LIMITED = "429"
    SHED = "shed"
    """503 with Retry-After: a server that has too much to do says so, and when to come again."""
    SERVER_ERROR = "5xx"
    REFUSED = "refused"
    """No connection could be made."""
    RESET = "reset"
    """The connection ended before the answer did."""
    TIMEOUT = "timeout"
    """No whole answer within the timeout, counted from the sending."""
    PROTOCOL = "protocol"
    """The answer is not HTTP/1.1."""
    UNRESOLVED = "dns"
    """No address was known: no DNS server had an answer."""
    OVERLOADED = "client overloaded"
    """Not sent: this client had no room left (in flight, files or ports)."""

    @property
    def ok(self) -> bool:
        """Whether the request was served."""
        return self in (Result.OK_2XX, Result.OK_3XX)

    @property
    def declined(self) -> bool:
        """Whether it was turned away on purpose: no failure, if that is what one asked for."""
        return self in (Result.LIMITED, Result.SHED)

    @property
    def timed(self) -> bool:
        """Whether its latency belongs into the percentiles: a served request's, and that of
        one that timed out (for which the figure is a lower bound). A fast failure would
        flatter them; it is counted as a failure instead."""
        return self.ok or self is Result.TIMEOUT


DECLINED = tuple(result for result in Result if result.declined)
FAILURES = tuple(result for result in Result if not result.ok and not result.declined)


def result_of_status(status: int, *, retry_after: bool = False) -> Result:
    """The class of an HTTP status code. A 1xx as final answer is a protocol error."""
    if status == 429:
        return Result.LIMITED
    if status == 503 and retry_after:
        return Result.SHED
    by_hundred = {
        2: Result.OK_2XX,
        3: Result.OK_3XX,
        4: Result.CLIENT_ERROR,
        5: Result.SERVER_ERROR,
    }
    return by_hundred.get(status // 100, Result.PROTOCOL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the client brought back for one request."""

    result: Result
    status: int | None = None
    detail: str = ""
    """Why it failed, in a few words; empty when served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed request, for the log of failures."""

    source: str
    service: str
    region: str | None
    """Whose edge it was sent to; None when loading a URL."""
    due_at: Instant
    """On the monotonic clock of this machine."""
    ended_at: Instant
    result: Result
    status: int | None
    detail: str

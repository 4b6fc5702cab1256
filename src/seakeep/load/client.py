"""The HTTP client of the load: one request in, one `Answer` out, never an exception.

aiohttp with a keep-alive pool per target. It neither retries, nor follows redirects, nor keeps
cookies, nor decompresses: what the system did must be what is counted.
"""

import errno
import resource
from types import TracebackType

import aiohttp
from yarl import URL

from seakeep import __version__
from seakeep.load.plan import Target
from seakeep.load.results import Answer, Result, result_of_status
from seakeep.model.time import Duration, in_seconds

KEEPALIVE_S = 4.0
"""Idle connections are closed before common servers close theirs (uvicorn: 5 s), or a request
could be lost to a connection that was about to be closed anyway."""

OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
"""Errors that say that this client has no room left: files or ports."""

_NEVER_ROUND_S = 1e9


class HttpClient:
    """Use as an async context manager, inside the loop that sends."""

    def __init__(self, timeout: Duration) -> None:
        """`timeout`: for a whole request, from sending to the end of the answer."""
        raise_file_limit()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            timeout=aiohttp.ClientTimeout(total=in_seconds(timeout), ceil_threshold=_NEVER_ROUND_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
            headers={"User-Agent": f"seakeep-load/{__version__}"},
        )
        # aiohttp sends an idempotent request again when a kept connection breaks; a load
        # generator must count that failure. There is no public switch (tests/load watches it).
        self._session._retry_connection = False
        self._bases: dict[Target, tuple[str, dict[str, str]]] = {}

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, target: Target, method: str, path: str) -> Answer:
        """Send one request and read its answer to the end."""
        base, headers = self._base(target)
        url = URL(base + path, encoded=True)
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False
            ) as response:
                async for _ in response.content.iter_any():
                    pass
                status, again = response.status, "Retry-After" in response.headers
        except TimeoutError:
            return Answer(result=Result.TIMEOUT, detail="timed out")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return answer_of_error(error)
        result = result_of_status(status, retry_after=again)
        return Answer(result=result, status=status, detail="" if result.ok else f"HTTP {status}")

    def _base(self, target: Target) -> tuple[str, dict[str, str]]:
        found = self._bases.get(target)
        if found is None:
            host = target.address.host
            bracketed = f"[{host}]" if ":" in host else host
            found = (
                f"http://{bracketed}:{target.address.port}",
                {"Host": target.host, **dict(target.headers)},
            )
            self._bases[target] = found
        return found


def answer_of_error(error: BaseException) -> Answer:
    """The class of an exception of aiohttp or of the system below it."""
    number = _errno_of(error)
    detail = errno.errorcode.get(number, "") if number else ""
    if number in OWN_LIMITS:
        return Answer(result=Result.OVERLOADED, detail=detail)
    if number == errno.ETIMEDOUT:
        return Answer(result=Result.TIMEOUT, detail=detail)
    if isinstance(error, aiohttp.ClientConnectorError):
        if number in (errno.ECONNRESET, errno.EPIPE):
            return Answer(result=Result.RESET, detail=detail)
        return Answer(result=Result.REFUSED, detail=detail or str(error))
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return Answer(result=Result.RESET, detail=detail or "closed before the answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return _answer_of_payload(error, detail)
    if isinstance(error, aiohttp.ClientOSError):
        return Answer(result=Result.RESET, detail=detail or str(error))
    return Answer(result=Result.PROTOCOL, detail=str(error).partition("\n")[0][:200])


def _answer_of_payload(error: aiohttp.ClientPayloadError, detail: str) -> Answer:
    """A body that broke off is a reset; one that is not what its headers say is not HTTP."""
    cause = error.__cause__
    broken_off = (
        _errno_of(error) in (errno.ECONNRESET, errno.EPIPE)
        or cause is None
        or isinstance(cause, OSError)
        or "not enough data" in str(cause).lower()
    )
    if broken_off:
        return Answer(result=Result.RESET, detail=detail or "closed within the answer")
    return Answer(result=Result.PROTOCOL, detail=str(cause).partition("\n")[0][:200])


def _errno_of(error: BaseException) -> int | None:
    """The system's error number, from the error or from what caused it."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return None
        inner = seen.os_error if isinstance(seen, aiohttp.ClientConnectorError) else seen
        if isinstance(inner, OSError) and inner.errno:
            return inner.errno
        seen = seen.__cause__
    return None


def raise_file_limit() -> None:
    """Allow as many open files as this user may have: every request in flight needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return

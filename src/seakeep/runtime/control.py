"""How other programs of the same user talk to the supervisor: JSON lines over a Unix socket.

A client connects, sends one line `{"verb": "status", ...fields}` and reads lines: one
`{"reply": {...}}`, or for a stream `{"item": {...}}` again and again until `{"end": true}`, or
`{"error": {"message", "hint"}}` instead. Then the connection is closed. Every connection has a
thread of its own, so that a client that does not read, or never asks, holds up nobody.
"""

import contextlib
import fcntl
import os
import socket as sockets
import stat
import struct
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import orjson

REQUEST_BYTES_MAX = 1 << 20
REQUEST_WITHIN_S = 10.0
"""From connecting to the end of the request's line."""
SEND_WITHIN_S = 20.0
"""For a client to take one line; then it is cut off."""
CONNECTIONS_MAX = 128

Request: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Request], dict[str, Any] | Iterator[dict[str, Any] | None]]
"""Called in the connection's thread. An iterator makes the reply a stream; an item None is not
sent, it only lets the server see whether the client is still there. A ControlError goes to the
client; the iterator is closed when the client leaves."""


class ControlError(Exception):
    """What the other side of the socket should be told, and what can be done about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotRunning(ControlError):
    """No supervisor answers at the socket."""


# --- client -----------------------------------------------------------------


def call(socket: Path, verb: str, *, timeout_s: float = 30.0, **fields: Any) -> dict[str, Any]:
    """Ask for one reply. Raises NotRunning; ControlError with what the supervisor says, or when
    it does not answer in time."""
    with contextlib.closing(_replies(socket, verb, fields, timeout_s)) as replies:
        for reply in replies:
            return reply
    raise ControlError(f"{verb}: the supervisor answered with an empty stream")


def stream(socket: Path, verb: str, **fields: Any) -> Iterator[dict[str, Any]]:
    """Ask for a stream; connects at the first item and waits without limit between items.
    Raises as `call`, and ControlError when the supervisor goes away in the middle. Close it (or
    let it go) to hang up."""
    return _replies(socket, verb, fields, None)


def _replies(
    path: Path, verb: str, fields: Mapping[str, Any], timeout_s: float | None
) -> Generator[dict[str, Any], None, None]:
    with _connected(path, timeout_s) as connection, connection.makefile("rb") as lines:
        try:
            connection.sendall(orjson.dumps({**fields, "verb": verb}) + b"\n")
            for line in lines:
                answer = orjson.loads(line)
                if "error" in answer:
                    raise ControlError(answer["error"]["message"], answer["error"]["hint"])
                if "end" in answer:
                    return
                yield answer.get("reply", answer.get("item"))
                if "reply" in answer:
                    return
        except TimeoutError:
            raise ControlError(
                f"{verb}: the supervisor did not answer within {timeout_s:g} s",
                "it may be busy: ask again, or see its log",
            ) from None
        except (OSError, orjson.JSONDecodeError) as error:
            raise _went_away(verb) from error
    raise _went_away(verb)


def _went_away(verb: str) -> ControlError:
    return ControlError(
        f"{verb}: the supervisor went away in the middle of its answer",
        "`seakeep up` starts it again; the system goes on meanwhile",
    )


def _connected(path: Path, timeout_s: float | None) -> sockets.socket:
    connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NotRunning("the supervisor is not running", "start it with `seakeep up`") from None
    except OSError as error:
        connection.close()
        raise ControlError(
            f"cannot talk to the supervisor: {error.strerror or error}",
            "it belongs to another user" if isinstance(error, PermissionError) else "",
        ) from None
    return connection


# --- server -----------------------------------------------------------------


class Server:
    """Answers until `close`; use it as a context manager."""

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        report: Callable[[str], None],
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._report = report
        self._closing = False
        self._guard = threading.Lock()
        self._connections: set[sockets.socket] = set()
        self._lock = _locked(path)
        try:
            self._listener, self._inode = _listener(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._accept, name="control-socket", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up on everybody and remove the socket."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()
        # Wakes the accepting thread, which closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(sockets.SHUT_RDWR)
        self._listener.close()
        self._thread.join(REQUEST_WITHIN_S)
        with self._guard:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(sockets.SHUT_RDWR)
        os.close(self._lock)

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._closing:
                    return
                # Out of handles, say: others may give theirs back.
                self._report(f"control socket: {error}")
                threading.Event().wait(0.1)
                continue
            with self._guard:
                crowded = len(self._connections) >= CONNECTIONS_MAX
                if not crowded:
                    self._connections.add(connection)
            if crowded:
                connection.close()
                continue
            try:
                threading.Thread(
                    target=self._converse, args=(connection,), name="control", daemon=True
                ).start()
            except RuntimeError as error:
                self._report(f"control socket: {error}")
                self._forget(connection)

    def _converse(self, connection: sockets.socket) -> None:
        try:
            if _peer_is_trusted(connection):
                _Conversation(connection, self._handlers, self._report).run()
        except OSError:
            pass  # The client has left, or does not read.
        finally:
            self._forget(connection)

    def _forget(self, connection: sockets.socket) -> None:
        with self._guard:
            self._connections.discard(connection)
            connection.close()


class _Conversation:
    """One request and its answer."""

    def __init__(
        self,
        connection: sockets.socket,
        handlers: Mapping[str, Handler],
        report: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._handlers = handlers
        self._report = report

    def run(self) -> None:
        """Raises OSError when the client is gone."""
        try:
            self._answer(self._request())
        except ControlError as error:
            self._send({"error": {"message": error.message, "hint": error.hint}})

    def _request(self) -> Request:
        line = self._line()
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ControlError("a request is one line of JSON") from None
        if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
            raise ControlError('a request is an object with a "verb"')
        return request

    def _line(self) -> bytes:
        # One deadline for the whole line, however slowly it trickles in.
        timer = threading.Timer(
            REQUEST_WITHIN_S, self._connection.shutdown, args=(sockets.SHUT_RD,)
        )
        timer.daemon = True
        timer.start()
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                part = self._connection.recv(1 << 16)
                if not part:
                    raise ConnectionResetError("left before asking")
                line, newline, _ = part.partition(b"\n")
                parts.append(line)
                size += len(line)
                if size > REQUEST_BYTES_MAX:
                    raise ControlError(f"a request has {REQUEST_BYTES_MAX} bytes at most")
                if newline:
                    return b"".join(parts)
        finally:
            timer.cancel()

    def _answer(self, request: Request) -> None:
        verb = request["verb"]
        handler = self._handlers.get(verb)
        if handler is None:
            known = ", ".join(self._handlers)
            raise ControlError(f"there is no verb {verb[:40]}", f"it is one of {known}")
        try:
            answer = handler(request)
            if isinstance(answer, dict):
                self._send({"reply": answer})
            else:
                self._stream(answer)
        except (ControlError, OSError):
            raise
        except Exception as error:
            # A fault of ours in one verb must not take the supervisor down.
            self._report(f"control verb {verb}: {error!r}")
            raise ControlError(
                f"{verb} failed inside the supervisor: {error!r}", "see its log"
            ) from error

    def _stream(self, items: Iterator[dict[str, Any] | None]) -> None:
        try:
            for item in items:
                if item is not None:
                    self._send({"item": item})
                elif self._client_left():
                    return
            self._send({"end": True})
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _client_left(self) -> bool:
        try:
            return self._connection.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False

    def _send(self, tree: dict[str, Any]) -> None:
        data = orjson.dumps(tree) + b"\n"
        self._connection.settimeout(SEND_WITHIN_S)
        try:
            self._connection.sendall(data)
        finally:
            self._connection.settimeout(None)


def serve(
    socket: Path,
    handlers: Mapping[str, Handler],
    report: Callable[[str], None] = lambda problem: None,
) -> Server:
    """Answer at `socket` (mode 600) in threads of its own until closed. `report` is told of
    faults in handlers. Raises ControlError when another server answers there."""
    return Server(socket, handlers, report)


def _locked(path: Path) -> int:
    """Held as long as the server lives, so that only one of two can clear a stale socket."""
    handle = os.open(
        path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise _taken(path) from None
    return handle


def _taken(path: Path) -> ControlError:
    return ControlError(f"another supervisor answers at {path}", "`seakeep down` ends it")


def _listener(path: Path) -> tuple[sockets.socket, int]:
    """A listening socket at `path`, which appears there complete, with its mode."""
    _clear(path)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(CONNECTIONS_MAX)
        inode = fresh.lstat().st_ino
        fresh.rename(path)
    except BaseException:
        listener.close()
        fresh.unlink(missing_ok=True)
        raise
    return listener, inode


def _clear(path: Path) -> None:
    """Make sure that nobody answers at `path`."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is not a socket", "move it away")
    try:
        _connected(path, REQUEST_WITHIN_S).close()
    except NotRunning:
        return
    raise _taken(path)


def _peer_is_trusted(connection: sockets.socket) -> bool:
    """Whether the client runs as this user or root. The kernel says so on Linux; elsewhere the
    socket's mode and its private folder have to do."""
    option = getattr(sockets, "SO_PEERCRED", None)
    if option is None:
        return True
    data = connection.getsockopt(sockets.SOL_SOCKET, option, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", data)
    return uid in (0, os.getuid())

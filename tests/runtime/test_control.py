"""The control socket: answers, streams, errors, and what it is not harmed by."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seakeep.runtime import control
from seakeep.runtime.control import ControlError, NotRunning, Request, call, serve, stream

DEADLINE_S = 20.0


class Desk:
    """Handlers with something to say."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.release = threading.Event()

    def handlers(self) -> dict[str, control.Handler]:
        return {
            "echo": lambda request: {"got": dict(request)},
            "big": lambda request: {"text": "x" * int(request["size"])},
            "count": self.count,
            "forever": self.forever,
            "wait": self.wait,
            "refuse": self.refuse,
            "break": lambda request: {"x": 1 / 0},
            "odd": lambda request: {"x": object()},
        }

    def count(self, request: Request) -> Iterator[dict[str, Any]]:
        for number in range(int(request["to"])):
            yield {"number": number}
        if request.get("fail"):
            raise ControlError("enough", "count less")

    def forever(self, request: Request) -> Iterator[dict[str, Any] | None]:
        try:
            yield {"first": True}
            while True:
                time.sleep(0.02)
                yield {"text": "x" * 1000} if request.get("loud") else None
        finally:
            self.closed.set()

    def wait(self, request: Request) -> dict[str, Any]:
        self.release.wait(DEADLINE_S)
        return {}

    def refuse(self, request: Request) -> dict[str, Any]:
        raise ControlError("no", "ask nicely")


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes at most."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="sk-") as folder:
        yield Path(folder) / "supervisor"


@pytest.fixture
def desk() -> Iterator[Desk]:
    found = Desk()
    yield found
    found.release.set()


def test_calls_and_streams(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        assert call(place, "echo", a=[1, {"b": None}]) == {
            "got": {"verb": "echo", "a": [1, {"b": None}]}
        }
        assert [one["number"] for one in stream(place, "count", to=500)] == list(range(500))
        assert list(stream(place, "count", to=0)) == []
        assert len(call(place, "big", size=30_000_000)["text"]) == 30_000_000


def test_errors_have_a_message_and_a_hint(place: Path, desk: Desk) -> None:
    reports: list[str] = []
    with serve(place, desk.handlers(), reports.append):
        with pytest.raises(ControlError) as caught:
            call(place, "refuse")
        assert (caught.value.message, caught.value.hint) == ("no", "ask nicely")
        with pytest.raises(ControlError, match="there is no verb dance"):
            call(place, "dance")
        for verb in ("break", "odd"):
            with pytest.raises(ControlError, match="failed inside the supervisor"):
                call(place, verb)
        items = stream(place, "count", to=2, fail=True)
        assert [next(items), next(items)] == [{"number": 0}, {"number": 1}]
        with pytest.raises(ControlError, match="enough"):
            next(items)
        assert call(place, "echo")
    assert len(reports) == 2


def test_nobody_there(place: Path, desk: Desk) -> None:
    with pytest.raises(NotRunning) as caught:
        call(place, "echo")
    assert "not running" in caught.value.message
    assert "seakeep up" in caught.value.hint
    with serve(place, desk.handlers()):
        pass
    assert not place.exists()
    # What a killed server leaves: a socket file that nobody listens at.
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place))
    left.close()
    with pytest.raises(NotRunning):
        call(place, "echo")
    with serve(place, desk.handlers()):
        assert call(place, "echo")


def test_a_living_server_is_not_replaced(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        with pytest.raises(ControlError, match="another supervisor answers"):
            serve(place, desk.handlers())
        assert call(place, "echo")
        # Not even when it holds no lock.
        place.with_name("supervisor.lock").unlink()
        with pytest.raises(ControlError, match="another supervisor answers"):
            serve(place, desk.handlers())
        assert call(place, "echo")


def test_a_file_in_the_way_is_left_alone(place: Path, desk: Desk) -> None:
    place.write_text("mine")
    with pytest.raises(ControlError, match="is not a socket"):
        serve(place, desk.handlers())
    assert place.read_text() == "mine"


def test_the_socket_is_the_users_alone(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        mode = place.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_another_user_gets_no_answer(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        place.parent.chmod(0o755)
        place.chmod(0o666)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setuid(65_534)
                call(place, "echo")
            except NotRunning:
                status = 2
            except ControlError:
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert call(place, "echo")


def test_many_at_once(place: Path, desk: Desk) -> None:
    results: list[int] = []

    def ask(number: int) -> None:
        for _ in range(10):
            results.append(call(place, "echo", number=number)["got"]["number"])

    with serve(place, desk.handlers()):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert sorted(results) == sorted(list(range(20)) * 10)


def test_a_client_that_does_not_read_holds_up_nobody(
    place: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SEND_WITHIN_S", 0.5)
    with serve(place, desk.handlers()):
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(place))
        deaf.sendall(b'{"verb":"forever","loud":true}\n')
        assert call(place, "echo")
        # It is cut off in the end, and its handler told.
        assert desk.closed.wait(DEADLINE_S)
        deaf.close()


def test_a_client_that_hangs_up_ends_its_stream(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        items = stream(place, "forever")
        assert next(items) == {"first": True}
        items.close()  # type: ignore[attr-defined]
        assert desk.closed.wait(DEADLINE_S)


def test_one_that_never_asks_is_sent_away(
    place: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REQUEST_WITHIN_S", 0.2)
    with serve(place, desk.handlers()):
        mute = socket.socket(socket.AF_UNIX)
        mute.settimeout(DEADLINE_S)
        mute.connect(str(place))
        assert mute.recv(1) == b""
        mute.close()


def test_a_server_that_dies_in_the_middle(place: Path, desk: Desk) -> None:
    server = serve(place, desk.handlers())
    items = stream(place, "forever")
    next(items)
    server.close()
    with pytest.raises(ControlError, match="went away"):
        for _ in items:
            pass


def test_no_answer_in_time(place: Path, desk: Desk) -> None:
    with serve(place, desk.handlers()):
        with pytest.raises(ControlError, match=r"did not answer within 0\.1 s"):
            call(place, "wait", timeout_s=0.1)
        desk.release.set()


def exchange(place: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(place))
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        parts = []
        try:
            while part := client.recv(1 << 16):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def test_junk_does_no_harm(place: Path, desk: Desk) -> None:
    requests = st.binary(max_size=200) | st.sampled_from(
        [b"GET / HTTP/1.1", b"[]", b"{}", b'{"verb":1}', b'{"verb":"echo","a":', b"[" * 5000]
    )

    @settings(max_examples=150, deadline=None)
    @given(requests, st.booleans())
    def check(data: bytes, ended: bool) -> None:
        answer = exchange(place, data + b"\n" if ended else data)
        assert answer == b"" or answer.startswith(b'{"error":{"message":')

    with serve(place, desk.handlers()):
        check()
        assert b"bytes at most" in exchange(place, b"x" * 1_200_000 + b"\n")
        assert call(place, "echo")

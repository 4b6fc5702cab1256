"""A real link process: latency, order, back-pressure, resets, partitions, and their end."""

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seakeep.engines.local.link.client import LinkClient, LinkError, hold_fault
from seakeep.model.observation import Address
from seakeep.model.system import Protocol
from seakeep.model.time import MILLISECOND
from tests.live.envoy_rig import DEADLINE_S, Rig, rig, service, system, until

pytestmark = pytest.mark.live

LATENCY = 30 * MILLISECOND
ROUND_TRIP_S = 0.060
HALF = [service("db", Protocol.TCP)]


class Echo:
    """A TCP server at an address: sends back what it gets, in threads of its own."""

    def __init__(self, address: Address) -> None:
        self._server = socket.create_server((address.host, address.port))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._server.accept()
            except OSError:
                return
            self._open.append(taken)
            threading.Thread(target=self._echo, args=(taken,), daemon=True).start()

    def _echo(self, taken: socket.socket) -> None:
        try:
            while data := taken.recv(65_536):
                taken.sendall(data)
            taken.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        # A listener that another thread waits on stays open until it is shut down.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for taken in self._open:
            taken.close()


@contextmanager
def linked(latency: int = LATENCY) -> Iterator[tuple[Rig, Address, Address]]:
    """A rig whose region us has a link to eu; the link's near end and the gateway's address."""
    with rig(system(*HALF, regions={"us": "a", "eu": "a"}, latency=latency)) as made:
        made.start_link("us")
        near = made.book.link("us", "eu", "db", 9000)
        yield made, near, made.book.gateway("eu", "db", 9000)


@contextmanager
def echoing(address: Address) -> Iterator[Echo]:
    echo = Echo(address)
    try:
        yield echo
    finally:
        echo.close()


def listening(address: Address) -> socket.socket:
    return socket.create_server((address.host, address.port))


def call(address: Address, timeout_s: float = DEADLINE_S) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=timeout_s)


def round_trip_s(connection: socket.socket, data: bytes = b"x") -> float:
    began = time.monotonic()
    connection.sendall(data)
    assert receive(connection, len(data)) == data
    return time.monotonic() - began


def receive(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (data := connection.recv(65_536)):
        found += data
    return bytes(found)


def silent(connection: socket.socket, for_s: float = 0.3) -> bool:
    """Whether nothing, not even an end, comes for a while."""
    connection.settimeout(for_s)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(DEADLINE_S)
    return False


def test_bytes_take_the_declared_time_each_way() -> None:
    with linked() as (_, near, far), echoing(far), call(near) as connection:
        trips = [round_trip_s(connection) for _ in range(10)]
        assert min(trips) >= ROUND_TRIP_S - 0.001
        assert sorted(trips)[5] < ROUND_TRIP_S + 0.050, "it adds little of its own"


def test_bytes_arrive_in_order_and_whole_with_half_closes() -> None:
    sent = os.urandom(5 << 20)
    with linked(latency=2 * MILLISECOND) as (_, near, far), echoing(far), call(near) as connection:
        writer = threading.Thread(
            target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
        )
        writer.start()
        assert receive(connection, len(sent) + 1) == sent
        writer.join()


def test_a_sender_is_held_back_when_nobody_reads() -> None:
    with linked() as (_, near, far), listening(far) as server, call(near) as connection:
        taken, _ = server.accept()
        connection.setblocking(False)
        sent = 0
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 1.0:
            try:
                sent += connection.send(bytes(65_536))
                quiet_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 64 << 20, "it takes everything"
        taken.close()


def test_a_refusal_comes_as_a_reset_and_the_next_at_once() -> None:
    with linked() as (_, near, far):
        with call(near) as connection:
            began = time.monotonic()
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            assert time.monotonic() - began >= ROUND_TRIP_S - 0.002
        with pytest.raises(ConnectionRefusedError):
            call(near)
        with echoing(far):
            until(lambda: _accepts(near), "it listens again when the target does")
            with call(near) as connection:
                round_trip_s(connection)


def test_a_reset_at_the_target_reaches_the_client() -> None:
    with linked() as (_, near, far), listening(far) as server, call(near) as connection:
        taken, _ = server.accept()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        taken.close()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_partition_swallows_and_its_end_resets_what_has_a_hole() -> None:
    with linked() as (made, near, far), echoing(far):
        used, idle = call(near), call(near)
        with used, idle:
            round_trip_s(used)
            round_trip_s(idle)
            control = made.layout.link_socket("us")
            with hold_fault(control, "partition", target="eu", direction="both"):
                used.sendall(b"lost")
                assert silent(used)
                with pytest.raises(TimeoutError):
                    call(near, timeout_s=0.5)
            with pytest.raises(ConnectionResetError):
                used.recv(1)
            round_trip_s(idle)
        until(lambda: _accepts(near), "new connections work again")
        with call(near) as connection:
            round_trip_s(connection)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_partition_of_one_direction(direction: str) -> None:
    with linked() as (made, near, far), listening(far) as server, call(near) as connection:
        taken, _ = server.accept()
        taken.settimeout(DEADLINE_S)
        control = made.layout.link_socket("us")
        heard, unheard = (connection, taken) if direction == "in" else (taken, connection)
        with hold_fault(control, "partition", target="eu", direction=direction):
            heard.sendall(b"through")
            unheard.sendall(b"lost")
            assert receive(unheard, 7) == b"through"
            assert silent(heard)
            with pytest.raises(TimeoutError):
                call(near, timeout_s=0.5)
        taken.close()


def test_an_added_delay_is_added_and_goes() -> None:
    with linked() as (made, near, far), echoing(far), call(near) as connection:
        control = made.layout.link_socket("us")
        with hold_fault(control, "delay", target="eu", added_ns=100 * MILLISECOND):
            assert round_trip_s(connection) >= ROUND_TRIP_S + 0.199
        trips = [round_trip_s(connection) for _ in range(5)]
        assert min(trips) < ROUND_TRIP_S + 0.100


def test_a_fault_ends_with_its_holder_even_by_sigkill() -> None:
    hold = (
        "import sys, time, pathlib\n"
        "from seakeep.engines.local.link.client import hold_fault\n"
        "with hold_fault(pathlib.Path(sys.argv[1]), 'partition', target='eu', direction='both'):\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    with linked() as (made, near, far), echoing(far), call(near) as connection:
        source = str(Path(__file__).parents[2] / "src")
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, str(made.layout.link_socket("us"))],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        made.processes.append(holder)
        assert holder.stdout is not None
        with holder.stdout:
            assert holder.stdout.readline() == b"held\n"
        assert report(made)["targets"]["eu"]["cut_out"]
        holder.send_signal(signal.SIGKILL)
        until(lambda: not report(made)["targets"]["eu"]["cut_out"], "the partition is undone")
        round_trip_s(connection)


def test_two_holders_of_one_fault_must_both_let_go() -> None:
    with linked() as (made, near, far), echoing(far), call(near) as connection:
        control = made.layout.link_socket("us")
        with hold_fault(control, "partition", target="eu", direction="both"):
            with hold_fault(control, "partition", target="eu", direction="out"):
                pass
            connection.sendall(b"x")
            assert silent(connection)


def test_reconfiguring_keeps_connections_and_changes_latency() -> None:
    with linked() as (made, near, far), echoing(far), call(near) as connection:
        round_trip_s(connection)

        async def change(wires: list[dict[str, Any]]) -> dict[str, Any]:
            client = await LinkClient.connect(made.layout, "us")
            await client.configure(wires)
            found = await client.report()
            await client.close()
            return found

        wires = json.loads((made.layout.link("us") / "link.json").read_text())["wires"]
        asyncio.run(change([{**wires[0], "latency_ns": 0}]))
        assert min(round_trip_s(connection) for _ in range(5)) < ROUND_TRIP_S
        assert asyncio.run(change([]))["connections"] == 1
        round_trip_s(connection)
        with pytest.raises(ConnectionRefusedError):
            call(near)


def test_what_makes_no_sense_is_refused_with_a_reason() -> None:
    with linked() as (made, _, _):
        control = made.layout.link_socket("us")
        for reason, fields in [
            ("no link to 'mars'; there are: eu", {"verb": "partition", "target": "mars"}),
            ("not one of both", {"verb": "partition", "target": "eu", "direction": "up"}),
            ("not negative", {"verb": "delay", "target": "eu", "added_ns": -1}),
            ("verb 'cut' is not", {"verb": "cut"}),
        ]:
            with pytest.raises(LinkError, match=reason), hold_fault(control, **fields):  # type: ignore[arg-type]
                pass
        nothing = made.layout.sockets / "nothing"
        with pytest.raises(LinkError, match="no link listens"), hold_fault(nothing, "delay"):
            pass

        async def configure(wires: object) -> None:
            client = await LinkClient.connect(made.layout, "us")
            await client.configure(wires)  # type: ignore[arg-type]

        with pytest.raises(LinkError, match=r"wires\[0\] must have"):
            asyncio.run(configure([{"listen": "127.0.0.1"}]))
        taken = {"listen": "192.0.2.1:1", "target": "x:1", "region": "eu", "latency_ns": 1}
        with pytest.raises(LinkError, match="cannot listen at 192"):
            asyncio.run(configure([taken]))
        assert made.links["us"].poll() is None, "it lives on"
        assert made.layout.link_socket("us").stat().st_mode & 0o777 == 0o600


def test_it_leaves_no_socket_behind_and_replaces_a_stale_one() -> None:
    with linked() as (made, near, far), echoing(far):
        control = made.layout.link_socket("us")
        made.links["us"].kill()
        made.links["us"].wait()
        assert control.exists(), "killed, it could not tidy up"
        control.rename(control.with_name("stale"))
        control.with_name("stale").rename(control)
        made.links["us"] = again = made.spawn(made.links["us"].args, "again")  # type: ignore[arg-type]
        until(lambda: _accepts(near), "a new one takes over")
        until(lambda: report(made)["connections"] == 0, "it answers")
        again.terminate()
        assert again.wait(DEADLINE_S) == 0
        assert not control.exists()


def report(made: Rig) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        client = await LinkClient.connect(made.layout, "us")
        found = await client.report()
        await client.close()
        return found

    return asyncio.run(ask())


def _accepts(address: Address) -> bool:
    try:
        call(address, timeout_s=1.0).close()
    except OSError:
        return False
    return True

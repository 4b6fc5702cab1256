"""DNS servers as processes, asked by dig and kdig; whole systems whose clients go by DNS."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from seakeep.engines.local import processes
from seakeep.engines.local.state import load_state
from tests.engines.test_dns_zone import TREE, host
from tests.live.systems import SPEC, Running, eventually, running

pytestmark = pytest.mark.live

EAST, WEST = "127.1.0.1", "127.2.0.1"
PLACES = [["198.18.0.0/24", [40.7, -74.0]], ["198.18.1.0/24", [48.9, 2.4]]]
needs_dig = pytest.mark.skipif(not shutil.which("dig"), reason="dig is missing (bind9-dnsutils)")
needs_kdig = pytest.mark.skipif(not shutil.which("kdig"), reason="kdig is missing (knot-dnsutils)")


def free_port() -> int:
    """Free for UDP and TCP alike."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return int(tcp.getsockname()[1])


class Server:
    """A server process with a table of its own."""

    def __init__(self, folder: Path) -> None:
        self.table, self.control = folder / "table.json", folder / "control"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, **changes: Any) -> None:
        fresh = self.table.with_suffix(".new")
        fresh.write_text(json.dumps({**TREE, "places": PLACES, **changes}))
        fresh.rename(self.table)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "seakeep.engines.local.dns.server",
             "--address", f"127.0.0.1:{self.port}", "--table", str(self.table),
             "--control", str(self.control)],
        )  # fmt: skip
        eventually(self.control.exists)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
            self.control.unlink(missing_ok=True)

    def tell(self, verb: str) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.control))
            connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            return dict(json.loads(connection.makefile().readline()))

    def ask(self, name: str = "shop.example", kind: str = "A", subnet: str = "") -> list[str]:
        options = [dns.edns.ECSOption(subnet, 24, 0)] if subnet else []
        query = dns.message.make_query(name, kind, use_edns=0, options=options)
        answer = dns.query.udp(query, "127.0.0.1", port=self.port, timeout=20)
        return [str(record) for rrset in answer.answer for record in rrset]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.write()
    made.start()
    yield made
    made.stop()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


# --- a server alone ---------------------------------------------------------


@needs_dig
def test_dig_is_answered(server: Server) -> None:
    def dig(*arguments: str) -> str:
        return run("dig", "@127.0.0.1", "-p", str(server.port), "+time=10", *arguments)

    assert EAST in dig("shop.example", "+subnet=198.18.0.0/24", "+short")
    nearest = dig("shop.example", "+subnet=198.18.1.0/24")
    assert "CLIENT-SUBNET: 198.18.1.0/24/24" in nearest
    assert f"5\tIN\tA\t{WEST}" in nearest
    assert "flags: qr aa rd;" in nearest
    assert "status: NXDOMAIN" in dig("nothing.shop.example")
    assert "status: NOERROR" in dig("shop.example", "AAAA")
    assert "status: REFUSED" in dig("example.org")
    assert "ns-us-east.shop.example. hostmaster" in dig("shop.example", "SOA", "+tcp", "+short")
    assert len(dig("shop.example", "NS", "+short", "+noedns").split()) == 2
    assert "Transfer failed" in dig("shop.example", "AXFR")
    assert "status: NOTIMP" in dig("shop.example", "+opcode=notify")
    assert "status: BADVERS" in dig("shop.example", "+edns=1", "+noednsnegotiation")
    assert "WARNING" not in dig("shop.example", "+norecurse")


@needs_kdig
def test_kdig_is_answered(server: Server) -> None:
    def kdig(*arguments: str) -> str:
        return run("kdig", "@127.0.0.1", "-p", str(server.port), "+timeout=10", *arguments)

    assert kdig("shop.example", "+subnet=198.18.1.0/24", "+short").split() == [WEST]
    answer = kdig("shop.example", "+subnet=198.18.1.0/24", "+tcp", "+keepopen", "A", "AAAA")
    assert "WARNING" not in answer
    assert "SOA" in kdig("x.shop.example", "+dnssec")


def test_a_new_table_is_answered_from_and_a_bad_one_is_not(server: Server) -> None:
    assert server.ask(subnet="198.18.1.0") == [WEST]
    server.write(digest="1", hosts=[host("shop.example", regions=("us-east",), out=("eu-west",))])
    assert server.ask(subnet="198.18.1.0") == [WEST], "not told yet"
    told = server.tell("load")
    assert (told["digest"], told["out"]) == ("1", ["shop.example eu-west"])
    assert server.ask(subnet="198.18.1.0") == [EAST]
    server.table.write_text("{")
    assert not server.tell("load")["ok"]
    assert server.ask(subnet="198.18.1.0") == [EAST]
    assert server.tell("report")["digest"] == "1"


def test_it_answers_from_its_last_table_after_a_restart(server: Server) -> None:
    server.write(digest="1", hosts=[host("shop.example", regions=("eu-west",))])
    server.stop()
    server.start()
    assert server.ask() == [WEST]


def test_without_a_table_it_says_nothing_and_waits_for_one(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        assert server.tell("report")["digest"] == ""
        query = dns.message.make_query("shop.example", "A")
        with pytest.raises(dns.exception.Timeout):
            dns.query.udp(query, "127.0.0.1", port=server.port, timeout=0.5)
        server.write()
        assert server.tell("load")["ok"]
        assert server.ask() == [EAST]
    finally:
        server.stop()


def test_rubbish_harms_nobody(server: Server) -> None:
    packet = dns.message.make_query("shop.example", "A", use_edns=0).to_wire()
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        for n in range(2000):
            client.send(packet[: n % len(packet)])
            client.send(bytes((n + i) * 7 & 255 for i in range(n % 3000)))
            client.send(b"")
    assert server.ask() == [EAST]
    assert server.process is not None
    assert server.process.poll() is None


def test_questions_on_one_connection_are_answered_in_order(server: Server) -> None:
    names = ["shop.example", "f.shop.example", "nothing.shop.example", "one.shop.example"] * 20
    queries = [dns.message.make_query(name, "A", use_edns=0) for name in names]
    packets = [query.to_wire() for query in queries]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        stream = b"".join(len(one).to_bytes(2, "big") + one for one in packets)
        for start in range(0, len(stream), 37):  # in pieces that end anywhere
            client.sendall(stream[start : start + 37])
        file = client.makefile("rb")
        for query in queries:
            answer = dns.message.from_wire(file.read(int.from_bytes(file.read(2), "big")))
            assert query.is_response(answer)


def test_connections_are_limited_and_idle_ones_closed(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(100)]
    try:
        one_too_many = socket.create_connection(("127.0.0.1", server.port), 20)
        with one_too_many, pytest.raises(OSError):  # noqa: PT012  closed or reset, whichever
            one_too_many.sendall(b"\0\1")
            if one_too_many.recv(1) == b"":
                raise ConnectionResetError
        assert server.ask() == [EAST], "UDP goes on"
        held[0].settimeout(60)
        assert held[0].recv(1) == b"", "it has said nothing"
    finally:
        for one in held:
            one.close()
    query = dns.message.make_query("shop.example", "A")
    eventually(lambda: dns.query.tcp(query, "127.0.0.1", port=server.port, timeout=20).answer)


def test_a_network_that_asks_too_much_is_sent_to_tcp(server: Server) -> None:
    server.write(answers_per_s=50)
    server.tell("load")
    query = dns.message.make_query("shop.example", "A")
    packet = query.to_wire()
    truncated = full = 0
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        client.settimeout(1)
        for _ in range(400):
            client.send(packet)
        while True:
            try:
                answer = dns.message.from_wire(client.recv(512))
            except TimeoutError:
                break
            truncated += bool(answer.flags & dns.flags.TC)
            full += bool(answer.answer)
    assert truncated >= 20
    assert full < 300
    assert dns.query.tcp(query, "127.0.0.1", port=server.port, timeout=20).answer


# --- whole systems ----------------------------------------------------------

DNS_SPEC = (
    SPEC.replace("east: {zones", "east: {at: [39.0, -77.5], zones")
    .replace("west: {zones", "west: {at: [53.3, -6.3], zones")
    .replace("routes: [{path: /}]", "routes: [{host: pair.example}]")
    .replace("rate: 20/s}", "rate: 20/s}\n  others: {from: [48.9, 2.4], to: front, rate: 20/s}")
    + "dns: {zone: pair.example, ttl: 1s, health: {fall: 500ms, rise: 2s}}\n"
)


def answer_of(system: Running, region: str, subnet: str = "198.18.0.0") -> str:
    """The edge that a region's server answers with: its region; empty when there is no answer."""
    state = load_state(system.layout)
    assert state is not None
    server = state.servers[region]
    query = dns.message.make_query(
        "pair.example", "A", use_edns=0, options=[dns.edns.ECSOption(subnet, 24, 0)]
    )
    try:
        answer = dns.query.udp(query, server.host, port=server.port, timeout=2)
    except (OSError, dns.exception.Timeout):
        return ""
    address = str(answer.answer[0][0]) if answer.answer else ""
    return next((name for name, edge in state.edges.items() if edge.host == address), "")


def test_clients_of_a_lost_region_go_to_the_other_and_come_back(tmp_path: Path) -> None:
    with running(tmp_path, DNS_SPEC) as system:
        eventually(lambda: answer_of(system, "west") == "east")
        eventually(lambda: answer_of(system, "east", "198.18.1.0") == "west")
        shown = system.status()
        assert shown["dns"]["hosts"][0]["regions"] == {"east": True, "west": True}
        report = tmp_path / "report.json"
        load = system.start("load", "--duration", "40s", "--overstay", "0%", "--json", str(report))
        time.sleep(3)
        injector = system.start("inject", "lose-region", "east", "--for", "120s")
        try:
            eventually(lambda: answer_of(system, "west") == "west")
            assert answer_of(system, "east") == "", "its server has no power"
            assert system.status()["dns"]["hosts"][0]["regions"] == {"east": False, "west": True}
            time.sleep(8)
        finally:
            injector.kill()
            injector.wait()
        eventually(lambda: answer_of(system, "west") == "east", 60)
        eventually(lambda: answer_of(system, "east") == "east", 60)
        assert load.wait(90) == 0
        people, others = json.loads(report.read_text())["sources"]
        assert set(people["requests_by_region"]) == {"east", "west"}
        assert others["failed"] == 0
        failed = [row["second"] for row in people["series"] if row["failed"]]
        assert failed, "the region was lost"
        assert max(failed) - min(failed) < 15, "they were served by the other region"
        told = system.seakeep("explain", "pair.example").out
        assert "east is out of the answers for pair.example" in told


def test_servers_outlive_seakeep_and_are_adopted(tmp_path: Path) -> None:
    with running(tmp_path, DNS_SPEC) as system:
        before = {region["name"]: region["dns"] for region in system.status()["regions"]}
        old = system.supervisor()
        assert processes.send(old, signal.SIGKILL)
        eventually(lambda: not processes.is_alive(old))
        assert answer_of(system, "east") == "east"
        system.up()
        after = {region["name"]: region["dns"] for region in system.status()["regions"]}
        for name, server in after.items():
            assert server["restarts"] == 0
            assert server["digest"] == before[name]["digest"]
        mark = system.token() + "/@parts/east/dns"
        victim = processes.with_token(mark)[0]
        processes.send(victim, signal.SIGKILL)
        eventually(lambda: processes.with_token(mark) and answer_of(system, "east") == "east")
        system.spec.write_text(DNS_SPEC.replace("ttl: 1s", "ttl: 1s, port: 5353"))
        system.up()
        eventually(lambda: answer_of(system, "east") == "east")
        system.spec.write_text(DNS_SPEC.partition("dns: {zone")[0])
        system.up()
        eventually(lambda: not processes.with_token(mark))
        assert load_state(system.layout).servers == {}  # type: ignore[union-attr]

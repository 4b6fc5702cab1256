"""Answers per second on one core: Seakeep's DNS server beside gdnsd and PowerDNS.

    python benchmarks/dns_rate.py [--seconds 4] [--rounds 3] [--json]

All three answer the same questions, which dnsperf sends: six names by 256 client subnets (EDNS
client subnet), half of which lie near one region and half near the other. Each server is pinned to
core 0, dnsperf to core 1; they take turns within one run, so that whatever else the machine does
hits all. Health is in play: Seakeep's server gets a new table every second, with a region in or
out of one of its names, which empties its cache; gdnsd checks both regions by TCP every two;
PowerDNS's geoip backend knows no health. Response rate limiting is on at Seakeep's, far above what
is asked.

Besides the rate, which suffers from whatever else the machine does, it tells the CPU time that an
answer costs the server, from /proc, which does so less. Needs Linux and dnsperf; a peer that is
not installed is left out, and the program says so.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import dns.edns
import dns.message
import dns.query

ZONE = "shop.example"
NAMES = (ZONE, *(f"{name}.{ZONE}" for name in ("www", "api", "img", "cart", "login")))
SUBNETS = 256
EAST, WEST = "127.0.0.11", "127.0.0.12"
OUTSTANDING, CLIENTS = 500, 4
LIMIT_PER_S = 50_000_000
STARTED_WITHIN_S = 20.0
PEERS = {"gdnsd": "gdnsd", "pdns": "pdns_server"}


@dataclass
class Server:
    """One that runs: whom to measure, and where it answers."""

    name: str
    version: str
    process: subprocess.Popen[bytes]
    port: int


@dataclass(frozen=True)
class Round:
    answers_per_s: float
    lost: int
    cpu_us: float
    """Of the server, per answer."""


def subnet(index: int) -> str:
    return f"198.18.{index}.0"


def is_east(index: int) -> bool:
    return index % 2 == 0


def write_questions(path: Path) -> None:
    """In dnsperf's binary format: messages behind their length."""
    data = bytearray()
    for n in range(len(NAMES) * SUBNETS):
        option = dns.edns.ECSOption(subnet(n * 7 % SUBNETS), 24, 0)
        query = dns.message.make_query(
            NAMES[n % len(NAMES)], "A", use_edns=0, payload=1232, options=[option], id=n
        )
        packet = query.to_wire()
        data += len(packet).to_bytes(2, "big") + packet
    path.write_bytes(data)


# --- servers ----------------------------------------------------------------


def start(argv: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(["taskset", "-c", "0", *argv], cwd=folder, stdout=log, stderr=log)


def free_port() -> int:
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            return int(tcp.getsockname()[1])


def table(number: int, west_is_out: bool) -> dict[str, Any]:
    hosts = [
        {"host": name, "by": "latency", "regions": ["east", "west"], "weights": [], "out": []}
        for name in NAMES
    ]
    if west_is_out:
        hosts[-1] |= {"regions": ["east"], "out": ["west"]}
    return {
        "format": 1, "digest": f"{number:016x}", "zone": ZONE, "region": "east", "ttl_s": 5,
        "negative_ttl_s": 5, "answers_per_s": LIMIT_PER_S,
        "servers": {"east": "127.0.0.21", "west": "127.0.0.22"},
        "edges": {"east": EAST, "west": WEST},
        "locations": {"east": [39.0, -77.5], "west": [53.3, -6.3]},
        "links": [["east", "west", 38_000_000]],
        "places": [[f"{subnet(n)}/24", [40.7, -74.0] if is_east(n) else [48.9, 2.4]]
                   for n in range(SUBNETS)],
        "database": "", "hosts": hosts,
    }  # fmt: skip


def start_seakeep(folder: Path, stack: ExitStack) -> Server:
    port, path, control = free_port(), folder / "table.json", folder / "control"
    path.write_text(json.dumps(table(0, False)))
    process = start(
        [sys.executable, "-m", "seakeep.engines.local.dns.server",
         "--address", f"127.0.0.1:{port}", "--table", str(path), "--control", str(control)],
        folder,
    )  # fmt: skip
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.wait(1.0):
            number += 1
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(table(number, number % 2 == 1)))
            fresh.rename(path)
            if control.exists():
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(control))
                    connection.sendall(b'{"verb": "load"}\n')
                    connection.recv(4096)

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(over.set)
    return Server("seakeep", f"Python {platform.python_version()}", process, port)


def start_gdnsd(folder: Path, stack: ExitStack) -> Server:
    port, health = free_port(), free_port()
    for host in (EAST, WEST):  # what it checks
        listener = socket.create_server((host, health))
        stack.callback(listener.close)
        threading.Thread(target=accept_all, args=(listener,), daemon=True).start()
    nets = "\n".join(
        f'"{subnet(n)}/24" => [{"east, west" if is_east(n) else "west, east"}]'
        for n in range(SUBNETS)
    )
    (folder / "zones").mkdir()
    (folder / "config").write_text(f"""
options => {{ listen => 127.0.0.1, dns_port => {port}, udp_threads => 1, tcp_threads => 1,
  edns_client_subnet => true, run_dir => "{folder}/run", state_dir => "{folder}/state" }}
service_types => {{ alive => {{ plugin => tcp_connect, port => {health}, interval => 2,
  timeout => 1 }} }}
plugins => {{ geoip => {{
  maps => {{ where => {{ datacenters => [east, west], nets => {{ {nets} }} }} }}
  resources => {{ shop => {{ map => where, service_types => alive,
    dcmap => {{ east => {EAST}, west => {WEST} }} }} }}
}} }}
""")
    records = "\n".join(f"{name}. 5 DYNA geoip!shop" for name in NAMES)
    (folder / "zones" / ZONE).write_text(
        f"@ SOA ns1 hostmaster 1 3600 600 3600 5\n@ NS ns1\nns1 A 127.0.0.1\n{records}\n"
    )
    process = start(["gdnsd", "-c", str(folder), "start"], folder)
    return Server("gdnsd", version_of(["gdnsd", "version"]), process, port)


def accept_all(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


def start_pdns(folder: Path, stack: ExitStack) -> Server:
    port = free_port()
    nets = "\n".join(
        f"        '{subnet(n)}/24': '{'east' if is_east(n) else 'west'}.in.{ZONE}'"
        for n in range(SUBNETS)
    )
    services = "\n".join(
        f"      {name}:\n{nets}\n        default: 'east.in.{ZONE}'" for name in NAMES
    )
    (folder / "zones.yaml").write_text(f"""
domains:
  - domain: {ZONE}
    ttl: 5
    records:
      {ZONE}:
        - soa: ns1.{ZONE} hostmaster.{ZONE} 1 3600 600 3600 5
        - ns: ns1.{ZONE}
      ns1.{ZONE}:
        - a: 127.0.0.1
      east.in.{ZONE}:
        - a: {EAST}
      west.in.{ZONE}:
        - a: {WEST}
    services:
{services}
""")
    process = start(
        ["pdns_server", "--no-config", "--launch=geoip", "--daemon=no", "--guardian=no",
         f"--geoip-zones-file={folder / 'zones.yaml'}", "--geoip-database-files=",
         "--edns-subnet-processing=yes", "--local-address=127.0.0.1", f"--local-port={port}",
         f"--socket-dir={folder}", "--receiver-threads=1", "--distributor-threads=1",
         "--webserver=no", "--security-poll-suffix=", "--log-dns-queries=no", "--loglevel=3"],
        folder,
    )  # fmt: skip
    return Server("pdns", version_of(["pdns_server", "--version"]), process, port)


def version_of(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
    return found.group() if found else "unknown"


@contextmanager
def running(begin: Callable[[Path, ExitStack], Server], folder: Path) -> Iterator[Server]:
    folder.mkdir(mode=0o755)
    with ExitStack() as stack:
        server = begin(folder, stack)
        try:
            check(server, folder)
            yield server
        finally:
            server.process.terminate()
            server.process.wait(20)


def check(server: Server, folder: Path) -> None:
    """Wait until it answers, and see that it answers by client subnet."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    wrong = ""
    while time.monotonic() < deadline and server.process.poll() is None:
        wrong = ""
        for n in (0, 1):
            option = dns.edns.ECSOption(subnet(n), 24, 0)
            query = dns.message.make_query(NAMES[1], "A", use_edns=0, options=[option])
            try:
                answer = dns.query.udp(query, "127.0.0.1", port=server.port, timeout=1)
            except (OSError, dns.exception.Timeout):
                wrong = "no answer"
                break
            found = [record.to_text() for rrset in answer.answer for record in rrset]
            wrong = wrong or ("" if found == [EAST if is_east(n) else WEST] else str(found))
        if not wrong:
            return
        time.sleep(0.2)
    log = (folder / "log").read_text(errors="replace")[-2000:]
    raise SystemExit(f"{server.name} does not answer as it should: {wrong}\n{log}")


# --- measuring --------------------------------------------------------------


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server: Server, questions: Path, seconds: float) -> Round:
    before = cpu_s(server.process.pid)
    done = subprocess.run(
        ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(server.port),
         "-d", str(questions), "-B", "-l", f"{seconds:g}", "-c", str(CLIENTS),
         "-q", str(OUTSTANDING), "-t", "2"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    spent = cpu_s(server.process.pid) - before

    def figure(label: str) -> float:
        found = re.search(rf"{label}:\s+([\d.]+)", done.stdout)
        if found is None:
            raise SystemExit(f"dnsperf said:\n{done.stdout}{done.stderr}")
        return float(found.group(1))

    completed = figure("Queries completed")
    return Round(
        figure("Queries per second"), int(figure("Queries lost")), 1e6 * spent / max(1, completed)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server")
    parser.add_argument("--json", action="store_true", help="print a document")
    arguments = parser.parse_args()
    if not sys.platform.startswith("linux") or not shutil.which("dnsperf"):
        print("dns_rate: needs Linux and dnsperf (Debian: dnsperf); nothing is measured")
        return 0
    begins = {"seakeep": start_seakeep, "gdnsd": start_gdnsd, "pdns": start_pdns}
    missing = [name for name, program in PEERS.items() if not shutil.which(program)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        questions = folder / "questions"
        write_questions(questions)
        servers = [
            stack.enter_context(running(begin, folder / name))
            for name, begin in begins.items()
            if name not in missing
        ]
        rounds: dict[str, list[Round]] = {server.name: [] for server in servers}
        for _ in range(arguments.rounds):
            for server in servers:
                rounds[server.name].append(measure(server, questions, arguments.seconds))
        versions = {server.name: server.version for server in servers}
    tell(rounds, versions, missing, arguments.json)
    return 0


def tell(
    rounds: dict[str, list[Round]], versions: dict[str, str], missing: list[str], as_json: bool
) -> None:
    rates = {name: median(one.answers_per_s for one in all_) for name, all_ in rounds.items()}
    costs = {name: median(one.cpu_us for one in all_) for name, all_ in rounds.items()}
    ours = rates["seakeep"]
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "questions": len(NAMES) * SUBNETS,
        "missing": missing,
        "servers": {
            name: {
                "version": versions[name],
                "answers_per_s": round(rates[name]),
                "lowest": round(min(one.answers_per_s for one in rounds[name])),
                "highest": round(max(one.answers_per_s for one in rounds[name])),
                "cpu_us_per_answer": round(costs[name], 2),
                "lost": sum(one.lost for one in rounds[name]),
                "seakeep_is": round(ours / rates[name], 2),
                "seakeep_is_by_cpu": round(costs[name] / costs["seakeep"], 2),
            }
            for name in rounds
        },
    }
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{document['machine']}; {document['questions']} different questions")
    for name, one in document["servers"].items():  # type: ignore[attr-defined]
        print(
            f"{name:8} {one['version']:14} {one['answers_per_s']:>8,}/s"
            f"  ({one['lowest']:,} to {one['highest']:,})"
            f"  {one['cpu_us_per_answer']:5.2f} µs of CPU an answer  lost {one['lost']}"
        )
    for name in rounds:
        if name != "seakeep":
            print(
                f"seakeep / {name}: {ours / rates[name]:.2f} by rate, "
                f"{costs[name] / costs['seakeep']:.2f} by CPU"
            )
    for name in missing:
        print(f"{name} is not installed, so it was not measured")


if __name__ == "__main__":
    sys.exit(main())

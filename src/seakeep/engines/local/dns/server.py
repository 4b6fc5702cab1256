"""The DNS server of a region, as a process of its own.

    python -m seakeep.engines.local.dns.server --address 127.1.0.53:5300 \\
        --table <json> --control <socket>

Answers from the table in its file, which it reads at its start and whenever it is told to. It needs
nobody to go on: while Seakeep is down, and after a restart of its own, it answers from the last
table. Without one it answers nothing. The control socket, which only its owner may open, speaks
JSON lines, one answer to each:

    {"verb": "load"}      read the table; answers as `report` does, or says why the old one stays
    {"verb": "report"}    digest and regions kept out of the present table, and counts
"""

import argparse
import asyncio
import gc
import json
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seakeep.engines.local.control_socket import bind_control, told_to_end
from seakeep.engines.local.dns.places import Database, DatabaseError, Places
from seakeep.engines.local.dns.tcp import TcpServer
from seakeep.engines.local.dns.udp import UdpServer, open_socket
from seakeep.engines.local.dns.zone import Table, TableError
from seakeep.model.system import Location

LINE_BYTES_MAX = 4096
Told = dict[str, Any]


class Server:
    """Table, sockets and control."""

    def __init__(self, path: Path, opened: socket.socket) -> None:
        self._path = path
        self._address = "{}:{}".format(*opened.getsockname())
        self.udp = UdpServer(opened)
        self.tcp = TcpServer(lambda: self.table)
        self.table: Table | None = None
        self.trouble = ""
        """Of the database, which is done without then."""
        self._places: tuple[object, Places] | None = None
        self._database: tuple[tuple[str, int, int], Database] | None = None

    def load(self) -> None:
        """Read the table. Raises TableError, and the old one stays."""
        try:
            tree = json.loads(self._path.read_bytes())
            if not isinstance(tree, dict):
                raise TableError("it is no object")
            places = [
                (str(prefix), Location(latitude_deg=float(at[0]), longitude_deg=float(at[1])))
                for prefix, at in tree.get("places", [])
            ]
            table = Table(tree, self._found_places(places, str(tree.get("database", ""))))
        except (OSError, ValueError, TypeError) as error:
            raise TableError(f"cannot read {self._path}: {error}") from error
        self.table = table
        self.udp.use(table)

    def _found_places(self, places: list[tuple[str, Location]], database: str) -> Places:
        """The places of before, with what they remember, while they are the same."""
        opened = self._open_database(database)
        key = (places, opened)
        if self._places is None or self._places[0] != key:
            self._places = (key, Places(places, opened))
        return self._places[1]

    def _open_database(self, name: str) -> Database | None:
        self.trouble = ""
        if not name:
            self._database = None
            return None
        try:
            found = os.stat(name)
            key = (name, found.st_mtime_ns, found.st_size)
            if self._database is None or self._database[0] != key:
                self._database = (key, Database(Path(name)))
        except (OSError, DatabaseError) as error:
            self.trouble = f"places of clients are not known: {name}: {error}"
            if self._database is not None and self._database[0][0] == name:
                return self._database[1]  # the one of before is better than none
            return None
        return self._database[1]

    def report(self) -> Told:
        table = self.table
        return {
            "address": self._address,
            "digest": "" if table is None else table.digest,
            "out": [] if table is None else list(table.out),
            "trouble": self.trouble,
            "udp": self.udp.answered,
            "tcp": self.tcp.answered,
            "limited": self.udp.dropped,
            "cached": self.udp.cached,
        }

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection, from its first line to its end."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._told(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked has gone, or sent no lines
        finally:
            writer.close()

    def _told(self, line: bytes) -> Told:
        try:
            verb = json.loads(line)["verb"]
            if verb == "load":
                self.load()
            elif verb != "report":
                return {"ok": False, "error": f"unknown verb {verb!r}"}
            return {"ok": True, **self.report()}
        except (TableError, ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": str(error) or type(error).__name__}


async def run(server: Server, address: tuple[str, int], control: Path) -> None:
    """Until SIGTERM. Raises OSError when an address cannot be had."""
    stopped = told_to_end()
    tcp = await server.tcp.serve(*address)
    threading.Thread(target=server.udp.run, name="udp", daemon=True).start()
    # Last: once the control socket is there, the server answers.
    listener = bind_control(control)
    controls = await asyncio.start_unix_server(server.control, sock=listener, limit=LINE_BYTES_MAX)
    await stopped.wait()
    tcp.close()
    controls.close()


def address_of(text: str) -> tuple[str, int]:
    """`127.1.0.53:5300`. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="seakeep-dns", description="The DNS server of a region.")
    parser.add_argument("--address", type=address_of, required=True, help="host:port, UDP and TCP")
    parser.add_argument("--table", type=Path, required=True, help="JSON file with what it answers")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket to listen at")
    arguments = parser.parse_args(argv)
    try:
        server = Server(arguments.table, open_socket(*arguments.address))
        if arguments.table.exists():
            try:
                server.load()
            except TableError as error:
                print(f"dns: {error}", file=sys.stderr)
        gc.freeze()  # answering makes next to no garbage; what there is now stays
        asyncio.run(run(server, arguments.address, arguments.control))
    except OSError as error:
        print(f"dns: {error}", file=sys.stderr)
        return 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The thread at the socket waits in the kernel, and would be waited for.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

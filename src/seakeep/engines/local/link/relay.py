"""The WAN link of a region: its way out to the others, as a process of its own.

    python -m seakeep.engines.local.link.relay --config <json> --control <socket>

Listens at this region's end of every link and carries bytes to the other region's gateway with
the declared latency (see `link.wire`). It is configured and disturbed through a Unix socket
that only its owner may open: JSON lines, one answer to each.

    {"verb": "configure", "wires": [{"listen": "127.1.102.1:8080", "target": "127.2.253.1:8080",
                                     "region": "eu-west", "latency_ns": 38000000}, ...]}
    {"verb": "report"}
    {"verb": "partition", "target": "eu-west", "direction": "both" | "out" | "in"}
    {"verb": "delay", "target": "eu-west", "added_ns": 50000000}

A fault lasts for as long as the control connection that asked for it stays open, so that it
ends with whoever asked, however that one ends.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seakeep.engines.local.control_socket import (
    LINE_BYTES_MAX,
    bind_control,
    raise_descriptor_limit,
    remove_control,
    told_to_end,
)
from seakeep.engines.local.link.wire import Region, Wire

DIRECTIONS = ("both", "out", "in")


class BadRequest(Exception):
    """A control message or a configuration that makes no sense; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireConfig:
    """One line of a link's configuration."""

    listen: tuple[str, int]
    target: tuple[str, int]
    region: str
    latency_ns: int
    """One way."""


class Link:
    """All wires of one region, and the faults that are being held."""

    def __init__(self) -> None:
        self.regions: dict[str, Region] = {}
        self.wires: dict[tuple[str, int], Wire] = {}

    def configure(self, configs: Sequence[WireConfig]) -> None:
        """Open what is new, close what is gone, change the rest; connections go on. Raises
        OSError, having done all it could, when an address cannot be had."""
        wanted = {config.listen: config for config in configs}
        for listen in [listen for listen in self.wires if listen not in wanted]:
            self.wires.pop(listen).close()
        failed: list[str] = []
        for listen, config in wanted.items():
            region = self.regions.setdefault(config.region, Region(config.region))
            region.latency_ns = config.latency_ns
            wire = self.wires.get(listen)
            if wire is not None and wire.region is region:
                wire.target = config.target
                continue
            if wire is not None:
                wire.close()
            self.wires[listen] = Wire(listen, config.target, region)
            try:
                self.wires[listen].open()
            except OSError as error:
                del self.wires[listen]
                failed.append(f"cannot listen at {_written(listen)}: {error.strerror or error}")
        if failed:
            raise OSError("; ".join(failed))

    def partition(self, target: str, direction: str) -> Callable[[], None]:
        """Cut the way to a region; returns what undoes it. Raises BadRequest."""
        region = self._region(target)
        if direction not in DIRECTIONS:
            raise BadRequest(f"direction {direction!r} is not one of {', '.join(DIRECTIONS)}")
        out, back = int(direction != "in"), int(direction != "out")

        def change(sign: int) -> None:
            region.cut_out += sign * out
            region.cut_in += sign * back
            for wire in self.wires.values():
                if wire.region is region:
                    wire.cut_changed()

        change(1)
        return lambda: change(-1)

    def delay(self, target: str, added_ns: int) -> Callable[[], None]:
        """Make the way to a region longer, in both directions; returns what undoes it."""
        region = self._region(target)
        region.added_ns.append(added_ns)
        return lambda: region.added_ns.remove(added_ns)

    def report(self) -> dict[str, Any]:
        return {
            "connections": sum(region.connections for region in self.regions.values()),
            "targets": {
                name: {
                    "connections": region.connections,
                    "bytes_out": region.bytes_out,
                    "bytes_in": region.bytes_in,
                    "refused": region.refused,
                    "latency_ns": region.latency_ns,
                    "added_ns": sum(region.added_ns),
                    "cut_out": region.cut_out > 0,
                    "cut_in": region.cut_in > 0,
                }
                for name, region in sorted(self.regions.items())
            },
        }

    def _region(self, name: str) -> Region:
        if name not in self.regions:
            known = ", ".join(sorted(self.regions)) or "none"
            raise BadRequest(f"no link to {name!r}; there are: {known}")
        return self.regions[name]


def parse_wires(value: object) -> list[WireConfig]:
    """The `wires` of a configuration. Raises BadRequest."""
    if not isinstance(value, list):
        raise BadRequest("'wires' must be a list")
    return [_wire(entry, index) for index, entry in enumerate(value)]


def _wire(entry: object, index: int) -> WireConfig:
    try:
        assert isinstance(entry, dict)
        latency_ns = entry["latency_ns"]
        assert isinstance(latency_ns, int)
        assert latency_ns >= 0
        return WireConfig(
            listen=_address(entry["listen"]),
            target=_address(entry["target"]),
            region=str(entry["region"]),
            latency_ns=latency_ns,
        )
    except (AssertionError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadRequest(
            f"wires[{index}] must have listen and target (host:port), region, and latency_ns "
            f"(whole, not negative): {error!r}"
        ) from error


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _written(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


# --- control ----------------------------------------------------------------


class Control:
    """The control socket's side of the conversation."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One control connection, from its first line to its end."""
        undo: list[Callable[[], None]] = []
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line, undo)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # Gone, or a line without end: either way the conversation is over.
        finally:
            for step in reversed(undo):
                step()
            writer.close()

    def _answer(self, line: bytes, undo: list[Callable[[], None]]) -> dict[str, Any]:
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise BadRequest("a message is a JSON object")
            return {"ok": True, **self._do(message, undo)}
        except json.JSONDecodeError as error:
            return {"ok": False, "error": f"not JSON: {error}"}
        except (BadRequest, OSError) as error:
            return {"ok": False, "error": str(error)}

    def _do(self, message: Mapping[str, Any], undo: list[Callable[[], None]]) -> dict[str, Any]:
        match message.get("verb"):
            case "configure":
                self._link.configure(parse_wires(message.get("wires")))
            case "report":
                return self._link.report()
            case "partition":
                direction = str(message.get("direction", "both"))
                undo.append(self._link.partition(str(message.get("target")), direction))
            case "delay":
                added_ns = message.get("added_ns")
                if not isinstance(added_ns, int) or added_ns < 0:
                    raise BadRequest("added_ns must be a whole number, not negative")
                undo.append(self._link.delay(str(message.get("target")), added_ns))
            case verb:
                raise BadRequest(f"verb {verb!r} is not configure, report, partition or delay")
        return {}


async def run(configs: Sequence[WireConfig], control: Path) -> None:
    """Carry until SIGTERM or SIGINT. Raises OSError when an address cannot be had.

    The control socket comes last: once it is there, the link carries."""
    link = Link()
    link.configure(configs)
    server = await asyncio.start_unix_server(
        Control(link).serve, sock=bind_control(control), limit=LINE_BYTES_MAX
    )
    await told_to_end().wait()
    server.close()
    remove_control(control)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="seakeep-link", description="The WAN link of a region.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file with its wires")
    parser.add_argument("--control", type=Path, required=True, help="Unix socket to listen at")
    arguments = parser.parse_args(argv)
    raise_descriptor_limit()
    try:
        configs = parse_wires(json.loads(arguments.config.read_text()).get("wires"))
        asyncio.run(run(configs, arguments.control))
    except (OSError, ValueError, AttributeError, BadRequest) as error:
        print(f"link: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

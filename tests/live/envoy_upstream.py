"""A small HTTP or PROXY-protocol server that plays an instance in tests of the data plane.

    python envoy_upstream.py http|proxy <host> <port> <name>

HTTP: answers any path with JSON about the request. `/sleep/0.5` takes half a second, `/busy/0.5`
does too, but waits until no other is at work (a service with one slot), `/sleep-by-name/1/2`
takes one second of web-0 and two of web-1,
`/status/503` answers so, `/flaky` answers 503 to the first request that this server gets with
an x-key header's value; `/ready` answers 200, or what a PUT to `/ready/503` told it to.
PROXY: reads a PROXY protocol v2 header (the specification's section 2.2), answers with JSON
about it after the first byte of payload.
"""

import asyncio
import json
import socket
import struct
import sys

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class Instance:
    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = 200
        self.seen: set[str] = set()
        self.slot = asyncio.Lock()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ")
                pairs = (line.split(": ", 1) for line in lines[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                await reader.readexactly(int(headers.get("content-length", 0)))
                status = await self._status(method, path, headers)
                about = {"name": self.name, "method": method, "path": path, "headers": headers}
                body = json.dumps(about).encode()
                answer = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(answer.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _status(self, method: str, path: str, headers: dict[str, str]) -> int:
        parts = path.strip("/").split("/")
        if parts[0] == "sleep":
            await asyncio.sleep(float(parts[1]))
        elif parts[0] == "sleep-by-name":
            await asyncio.sleep(float(parts[1 + int(self.name.rpartition("-")[2])]))
        elif parts[0] == "busy":
            async with self.slot:
                await asyncio.sleep(float(parts[1]))
        elif parts[0] == "status":
            return int(parts[1])
        elif parts[0] == "flaky" and headers["x-key"] not in self.seen:
            self.seen.add(headers["x-key"])
            return 503
        elif parts[0] == "ready":
            if method == "PUT":
                self.ready = int(parts[1])
                return 200
            return self.ready
        return 200

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readexactly(16)
            assert head[:12] == SIGNATURE, head
            version, family, size = struct.unpack("!BBH", head[12:])
            rest = await reader.readexactly(size)
            about = {"name": self.name, "command": version & 15, "version": version >> 4}
            if version & 15 == 1 and family == 0x11:  # PROXY, TCP over IPv4
                source, target, source_port, target_port = struct.unpack("!4s4sHH", rest[:12])
                about["source"] = f"{socket.inet_ntoa(source)}:{source_port}"
                about["target"] = f"{socket.inet_ntoa(target)}:{target_port}"
            if await reader.read(1):
                writer.write(json.dumps(about).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def main() -> None:
    mode, host, port, name = sys.argv[1:]
    instance = Instance(name)
    serve = instance.http if mode == "http" else instance.proxy
    server = await asyncio.start_server(serve, host, int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""A writer of MaxMind DB files, as small as can be: maps, text and doubles, 24-bit records."""

import struct
from ipaddress import ip_network
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def write(path: Path, entries: dict[str, Any], kind: str = "GeoLite2-City") -> None:
    """`entries`: IPv4 network -> record."""
    nodes: list[list[Any]] = [[None, None]]
    data = bytearray()
    for text, entry in entries.items():
        network = ip_network(text)
        address, at = int(network.network_address), 0
        offset = len(data)
        data += encode(entry)
        for depth in range(network.prefixlen):
            bit = address >> (31 - depth) & 1
            if depth == network.prefixlen - 1:
                nodes[at][bit] = ("data", offset)
            else:
                if nodes[at][bit] is None:
                    nodes.append([None, None])
                    nodes[at][bit] = len(nodes) - 1
                at = nodes[at][bit]
    tree = bytearray()
    for node in nodes:
        for child in node:
            if child is None:
                child = len(nodes)
            elif isinstance(child, tuple):
                child = len(nodes) + 16 + child[1]
            tree += child.to_bytes(3, "big")
    metadata = encode(
        {
            "binary_format_major_version": 2, "binary_format_minor_version": 0,
            "build_epoch": 1_700_000_000, "database_type": kind, "ip_version": 4,
            "node_count": len(nodes), "record_size": 24,
            "description": {"en": "a test"}, "languages": [],
        }
    )  # fmt: skip
    path.write_bytes(bytes(tree) + bytes(16) + bytes(data) + MARKER + metadata)


def encode(value: Any) -> bytes:
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _control(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        packed = value.to_bytes(8, "big").lstrip(b"\0")
        return _control(9, len(packed)) + packed  # uint64
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(encode, value))
    return _control(7, len(value)) + b"".join(
        encode(key) + encode(item) for key, item in value.items()
    )


def _control(kind: int, size: int) -> bytes:
    head = size if size < 29 else 29
    rest = b"" if size < 29 else bytes((size - 29,))
    if kind < 8:
        return bytes((kind << 5 | head,)) + rest
    return bytes((head, kind - 7)) + rest


def city(latitude: float, longitude: float) -> dict[str, Any]:
    return {"location": {"latitude": latitude, "longitude": longitude}}

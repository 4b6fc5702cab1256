"""Amounts as protobuf writes them in JSON."""

from seakeep.model.time import Duration


def duration(value: Duration) -> str:
    """`0.250000000s`."""
    return f"{value // 1_000_000_000}.{value % 1_000_000_000:09d}s"

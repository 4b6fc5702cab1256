"""Small draws of the control-plane side: phases, jitter, and how long a process takes to start.

Each is a function of the seed and of what it is for, so that no draw can move another.
"""

import hashlib
from collections.abc import Mapping

from seakeep.engines.twin.numbers import draw, stream_table, table_of
from seakeep.model.ids import InstanceId, ServiceName
from seakeep.model.system import Service
from seakeep.model.time import Duration
from seakeep.model.work import START, Distribution


def fraction(seed: int, name: str) -> float:
    """0 <= x < 1."""
    raw = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return (int.from_bytes(raw, "little") >> 11) / (1 << 53)


class Starts:
    """How long processes take from their start until they are ready."""

    def __init__(self, seed: int, services: Mapping[ServiceName, Service]) -> None:
        self._seed = seed
        self._rows = {name: row for row, name in enumerate(services)}
        self._table = table_of([_start_of(one) for one in services.values()])

    def of(self, service: ServiceName, instance: InstanceId, restarts: int) -> Duration:
        """Of one process."""
        stream = stream_table(self._seed, [f"start {instance} {restarts}"])
        return round(draw(stream, 0, self._table, self._rows[service]))


def _start_of(service: Service) -> Distribution:
    return START if service.work is None else service.work.start

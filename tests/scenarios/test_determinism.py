"""The same spec, scenario and seed give the same bytes; what is added moves no other draw."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from seakeep.model.run import Run
from seakeep.model.scenario import FaultKind, Scenario
from seakeep.runtime.simulate import simulate
from tests.scenarios.random_systems import SCENARIO, spec_of, system_of
from tests.scenarios.runs import fault, scenario, spec, web

PRINT = """
from tests.scenarios.test_determinism import a_run, digest
print(digest(a_run()))
"""


def a_run() -> Run:
    return simulate(system_of(spec_of(7)), SCENARIO, seed=7)


def digest(run: Run) -> str:
    """Of every bit of it."""
    hashed = hashlib.sha256()
    for piece in _pieces(run):
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield value.tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name.encode()
            yield from _pieces(getattr(value, field.name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _pieces(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, Enum):
        yield str(value.value).encode()
    else:
        yield repr(value).encode()


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert digest(a_run()) == digest(a_run())


def test_so_it_does_in_another_process_that_hashes_otherwise() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "4242"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest(a_run())


def test_another_seed_gives_another_run() -> None:
    system = system_of(spec_of(7))
    one, other = (simulate(system, SCENARIO, seed=seed) for seed in (1, 2))
    assert digest(one) != digest(other)


def test_a_service_that_is_added_leaves_the_others_draws_alone() -> None:
    plan = scenario(fault(FaultKind.SLOW, "web-1", for_s=20, amount=0.2), duration_s=40)
    before, after = _with_and_without(plan)
    for name in before.traffic:
        one, other = before.traffic[name], after.traffic[name]
        assert one.requests == other.requests
        assert np.array_equal(one.latency.counts, other.latency.counts)
        assert np.array_equal(one.wait.counts, other.wait.counts)
    assert after.traffic["others"].ok > 0


def _with_and_without(plan: Scenario) -> tuple[Run, Run]:
    services = {"web": web()}
    small = spec(services)
    other = web(routes=[{"host": "other.trial.example"}])
    large = spec({**services, "other": other})
    large["traffic"] = {
        **small["traffic"],
        "others": {"from": [40, -75], "to": "other", "rate": "50/s"},
    }
    one, two = (simulate(system_of(tree), plan, seed=3) for tree in (small, large))
    return one, two

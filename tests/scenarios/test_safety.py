"""A thousand random systems in random trouble: nothing unsafe while it lasts, whole again after.

Every failure names its seed and the command that replays it. SEAKEEP_SAFETY_FROM moves the seeds,
to look at others than these.
"""

import os

import pytest

from tests.scenarios.random_systems import shrunk, spec_of, trouble

FIRST = int(os.environ.get("SEAKEEP_SAFETY_FROM", "0"))
SYSTEMS = 1_000
BATCH = 20


@pytest.mark.parametrize("first", range(FIRST, FIRST + SYSTEMS, BATCH))
def test_random_systems_stay_safe_and_heal(first: int) -> None:
    for seed in range(first, first + BATCH):
        print(f"seed {seed}")
        found = trouble(spec_of(seed), seed)
        assert not found, (
            f"seed {seed}: {found}\n"
            f"replay it: python -m tests.scenarios.random_systems --seed {seed} --shrink"
        )


def test_a_failing_spec_is_made_small() -> None:
    spec = spec_of(3)
    wanted = next(iter(spec["services"]))

    def is_bad(trial: dict[str, object]) -> bool:
        return wanted in trial.get("services", {})  # type: ignore[operator]

    assert shrunk(spec, is_bad) == {"services": {wanted: {}}}

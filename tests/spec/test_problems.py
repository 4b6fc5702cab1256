"""Golden transcripts: each file in cases/ and all that is wrong with it, in words.

After a deliberate change of words, write them anew with SEAKEEP_WRITE_CASES=1 and read the
difference.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.spec.writing import problems_of, transcript

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda case: case.stem)
def test_every_problem_is_told_with_its_place(case: Path, tmp_path: Path) -> None:
    shutil.copy(case, tmp_path / "seakeep.yaml")
    told = transcript(problems_of(tmp_path / "seakeep.yaml"), tmp_path)
    golden = case.with_suffix(".txt")
    if os.environ.get("SEAKEEP_WRITE_CASES"):
        golden.write_text(told, encoding="utf-8")
    assert told == golden.read_text(encoding="utf-8")

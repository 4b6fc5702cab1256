"""The specs that are shown to people are right."""

import re
from pathlib import Path

import pytest

from seakeep.spec import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/concepts/twin.md", "docs/guides/write-a-spec.md"]


def blocks(page: str) -> list[str]:
    """Whole specs of a page; those that include files of the reader's are left out."""
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [block for block in found if block.startswith("system:") and "include:" not in block]


def test_the_example_loads_without_a_warning() -> None:
    loaded = load(ROOT / "examples" / "shop" / "seakeep.yaml")
    assert loaded.warnings == ()
    system = loaded.system
    assert list(system.services) == ["web", "catalog", "orders"]
    for service in system.services.values():
        for share in service.spread.regions.values():
            assert service.replicas.min * share >= 2, f"{service.name}: fewer than two in a region"


@pytest.mark.parametrize("page", PAGES)
def test_specs_in_the_docs_load(page: str, tmp_path: Path) -> None:
    assert blocks(page)
    for block in blocks(page):
        (tmp_path / "seakeep.yaml").write_text(block)
        assert load(tmp_path / "seakeep.yaml").warnings == ()

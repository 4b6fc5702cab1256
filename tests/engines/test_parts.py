"""The marks on the processes of the machinery."""

import os
import signal
from pathlib import Path

from seakeep.engines.local import processes
from seakeep.engines.local.node.client import power_off
from seakeep.engines.local.parts import part_token
from seakeep.model.ids import LABEL


def test_no_region_is_called_as_the_mark_of_the_parts(tmp_path: Path) -> None:
    token = "0123456789abcdef"
    mark = part_token(token, "east").split("/")[1]
    assert not LABEL.match(mark)
    edge = processes.spawn(
        ["sleep", "60"], env=dict(os.environ), cwd=tmp_path, log=None,
        token=part_token(token, "east") + "edge",
    )  # fmt: skip
    try:
        for region in ("part", "parts", "east"):
            assert power_off(region, token) == []
            assert processes.is_alive(edge), "nodes in a region lose their power, parts do not"
        assert processes.with_token(edge.token) == [edge]
        assert processes.with_token(part_token(token, "east")) == [], "no prefix, the whole"
    finally:
        processes.send(edge, signal.SIGKILL)
        processes.wait_gone([edge], 5)

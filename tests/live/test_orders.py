"""Orders in a system that runs: they outlive the supervisor, and end with the system."""

from pathlib import Path

import pytest

from seakeep.engines.local.state import load_state
from seakeep.runtime import control
from tests.live.chaos import crash_supervisor
from tests.live.systems import eventually, running

pytestmark = pytest.mark.live


def test_orders_outlive_the_supervisor_and_end_with_the_system(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        socket = system.layout.supervisor_socket
        given = control.call(socket, "give", kind="pause", subject="front", by="ann@desk")
        assert given["is_new"]
        again = control.call(socket, "give", kind="pause", subject="front", by="bob@desk")
        assert not again["is_new"]
        assert again["order"]["given_by"] == "ann@desk"
        with pytest.raises(control.ControlError) as caught:
            control.call(socket, "give", kind="drain", subject="eats", by="ann@desk")
        assert caught.value.hint == "did you mean east?"

        crash_supervisor(system)
        system.up()
        eventually(lambda: system.status()["orders"])
        (order,) = system.status()["orders"]
        assert (order["id"], order["given_by"]) == ("pause:front", "ann@desk")
        assert order["given_at_ns"] == given["order"]["given_at_ns"]
        assert "pause front, ordered by ann@desk" in system.seakeep("status").out

        gone = control.call(socket, "withdraw", order="pause:front", by="bob@desk")
        assert gone["withdrawn"]["id"] == "pause:front"
        assert control.call(socket, "orders")["orders"] == []
        told = system.seakeep("explain", "--json").out
        assert "ann@desk ordered pause:front" in told
        assert "bob@desk withdrew pause:front" in told

        control.call(socket, "give", kind="pause", subject="back", by="ann@desk")
        assert system.seakeep("down", "--keep-logs").code == 0
        assert load_state(system.layout) is None
        system.up()
        assert system.status()["orders"] == []

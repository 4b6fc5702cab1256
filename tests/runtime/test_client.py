"""Asking a supervisor, which may be of another version."""

import pytest

from seakeep.engines.local.layout import layout_for
from seakeep.runtime import client, control


def test_a_supervisor_of_another_version_is_told_from_one_that_is_not(monkeypatch, tmp_path):
    document = {"format": client.STATUS_FORMAT, "pid": 7}
    monkeypatch.setattr(control, "call", lambda *_, **__: document)
    assert client.status(layout_for(tmp_path)) == document
    document["format"] = client.STATUS_FORMAT - 1
    with pytest.raises(client.OtherVersion, match="of another version") as found:
        client.status(layout_for(tmp_path))
    assert "kill 7" in found.value.hint

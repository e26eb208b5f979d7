"""Scripts that look for faults say so when they find one, and when they looked too little."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


def test_a_command_that_was_killed_less_often_than_asked_proves_nothing(tmp_path, monkeypatch):
    import kill

    monkeypatch.setattr(kill, "disturb_all", lambda *_: [kill.Row("split", 1.0, 2, [0.1, 0.2], 6)])
    enough = CliRunner().invoke(kill.main, ["--kills", "2", "-o", str(tmp_path)])
    assert enough.exit_code == 0, enough.output
    assert json.loads((tmp_path / "kills.json").read_text())["commands"][0]["kills"] == 2
    assert (tmp_path / "kills.md").read_text().splitlines()[2] == "| split | 1.0 | 2 | 0 1 1 0 0 0 0 0 0 0 | 6 of 6 |"
    few = CliRunner().invoke(kill.main, ["--kills", "3"])
    assert few.exit_code == 1
    assert "2 kills struck of the 3" in few.output

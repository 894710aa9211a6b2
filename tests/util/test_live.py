"""How far a running cell is, as those see it who look from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.util import live
from uora_bench.util.live import Live, LiveFile, read_live
from uora_bench.util.progress import Progress


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY", 0.0)


def test_steps_and_scoring_are_written_and_removed_at_the_end(tmp_path: Path) -> None:
    shown = Progress(9, 3, "cell", folder=tmp_path)
    shown.note(loss="0.412", epoch="2")
    shown.step()
    said = read_live(tmp_path)
    assert said is not None
    assert (said.step, said.steps, said.facts) == (4, 9, {"loss": "0.412", "epoch": "2"})
    assert said.left is not None
    assert said.left >= 0
    for _ in shown.over([1, 2], "scoring dev"):
        pass
    said = read_live(tmp_path)
    assert said is not None
    assert said.what == "scoring dev 2/2"
    shown.close()
    assert list(tmp_path.iterdir()) == []


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    Progress(9, 3, "cell", enabled=False, folder=tmp_path).step()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": "x"}', '{"step": 1, "steps": 2, "other": 3}', "\0"])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / live.FILE).write_text(text)
    assert read_live(tmp_path) is None


def test_a_place_that_refuses_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    file = LiveFile(folder)
    file.write(Live(1, 2))
    file.remove()
    assert not folder.exists()

"""A checkpoint is gone on from only when it is whole and of this cell; a damaged one is never believed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from uora_bench.contract import harness as contract_harness
from uora_bench.errors import UserError
from uora_bench.execution.trackers import Tracker
from uora_bench.records.attempts import LAST, PREVIOUS
from uora_bench.training.checkpoint import Checkpoints

ID = "0" * 16  # of the harness


def flip(path: Path, place: int, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def state(steps: int) -> dict[str, object]:
    return {"method": {"adapter": {"A": torch.arange(8.0)}}, "history": {"steps": steps}, "position": 3}


def begun(folder: Path) -> Checkpoints:
    """A run that was stopped in its second epoch, with a checkpoint of the first one's end behind that."""
    contract_harness.train("uora", folder, stop_at=contract_harness.PER_EPOCH + 3)
    assert (folder / LAST).is_file()
    assert (folder / PREVIOUS).is_file()
    return Checkpoints(folder, ID)


def test_every_flipped_bit_is_seen_and_the_checkpoint_before_is_used(tmp_path):
    kept = Checkpoints(tmp_path, ID)
    kept.save_last(state(1))
    kept.save_last(state(2))
    whole = (tmp_path / LAST).read_bytes()
    draw = random.Random(0)
    for place in [*draw.sample(range(len(whole)), 300), 0, len(whole) - 1]:
        flip(tmp_path / LAST, place, draw.randrange(8))
        with pytest.raises(UserError, match="cannot use the checkpoint"):
            kept.read(LAST)
        (tmp_path / LAST).write_bytes(whole)
    (tmp_path / LAST).write_bytes(whole[:-50])
    found, note = kept.latest()
    assert found is not None
    assert found["history"] == {"steps": 1}
    assert "resuming from previous.pt" in note
    flip(tmp_path / PREVIOUS, 99, 0)
    with pytest.raises(UserError, match="force=true starts over"):
        kept.latest()


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, ID)
    kept.save_last(state(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uora_bench.util.atomic.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.save_last(state(2))
    found, _ = kept.latest()
    assert found is not None
    assert found["history"] == {"steps": 1}


def test_what_is_no_checkpoint_of_this_cell_is_one_line(tmp_path):
    Checkpoints(tmp_path, "1" * 16).save_last(state(1))
    with pytest.raises(UserError, match="it is of 1111111111111111") as caught:
        Checkpoints(tmp_path, ID).latest()
    assert "\n" not in str(caught.value)
    torch.save(state(10**6), tmp_path / LAST)  # made or changed by hand
    with pytest.raises(UserError, match="no checksum"):
        Checkpoints(tmp_path, ID).latest()
    (tmp_path / LAST).unlink()
    (tmp_path / LAST).mkdir()
    with pytest.raises(UserError, match="directory"):
        Checkpoints(tmp_path, ID).latest()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda s: s.pop("optimizer"), "it has no 'optimizer'"),
        (lambda s: s["history"].update(steps=10**6), "at step 1000000"),
        (lambda s: s.update(position=-5), "-5 steps after"),
        (lambda s: s["history"].update(other=1), "other"),
        (lambda s: s["method"]["adapter"].popitem(), "only in one of them"),
    ],
)
def test_a_checkpoint_of_other_code_is_one_line(change, part, tmp_path):
    kept = begun(tmp_path)
    content = kept.read(LAST)
    change(content)
    kept.save_last(content)
    with pytest.raises(UserError, match=part) as caught:
        contract_harness.train("uora", tmp_path)
    assert "\n" not in str(caught.value)


def resumed(folder: Path) -> str:
    """The scores, weights and report at the end, as text."""
    found = contract_harness.train("uora", folder).outcome()
    return repr({**found, **{k: sorted((n, t.tolist()) for n, t in found[k].items()) for k in ("adapter", "head")}})


def check_flips(folder: Path, count: int) -> None:
    kept = begun(folder)
    wanted: str | None = None
    files = {name: (folder / name).read_bytes() for name in (LAST, PREVIOUS)}
    draw, seen = random.Random(1), 0
    for turn in range(count + 1):
        for path in folder.glob("*"):
            path.unlink()
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        if turn:
            flip(folder / LAST, draw.randrange(len(files[LAST])), draw.randrange(8))
            seen += "damaged" in kept.latest()[1] or "checksum" in kept.latest()[1]
        result = resumed(folder)
        wanted = wanted or result
        assert result == wanted
    assert seen == count


def test_a_run_that_goes_on_from_a_damaged_checkpoint_ends_as_if_nothing_had_happened(tmp_path):
    check_flips(tmp_path, 2)


def test_a_resumed_run_can_tell_the_tracker_all_again_and_knows_its_forward_paths(tmp_path, monkeypatch):
    whole = contract_harness.train("lora", tmp_path / "whole")
    contract_harness.train("lora", tmp_path / "parts", stop_at=contract_harness.PER_EPOCH + 3)
    # a start in which nothing is left to train: what it knows comes from the checkpoint alone
    seen: list[tuple[int, dict[str, float]]] = []
    last = contract_harness.train("lora", tmp_path / "parts")
    monkeypatch.setattr(Tracker, "log_again", lambda self, rows: seen.extend(rows))
    again = contract_harness.train("lora", tmp_path / "parts")
    assert last.rows != whole.rows
    told = [(row["step"], {k: v for k, v in row.items() if k != "step"}) for row in whole.rows]
    assert [tuple(row) for row in seen] == told
    assert [tuple(row) for row in again.history.logged] == told
    assert again.method.forward_paths() == whole.method.forward_paths()
    assert whole.method.forward_paths()


@pytest.mark.slow
def test_one_hundred_flipped_bits_change_no_result(tmp_path):
    check_flips(tmp_path, 100)

"""Every picture is decoded once before training, by one process of all that need it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.pictures import one_line, packed, picture, task_of
from uora_bench.data import images, picture_check
from uora_bench.errors import UserError


def test_all_pictures_are_decoded_once_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda *given: decoded.append(1) or decode(*given))
    whole = packed(picture(size=(200, 200)), "JPEG")
    good = [packed(picture(i)) for i in range(3)]
    rows = Dataset.from_dict({"img": good, "label": [0, 1, 2]})
    cut = Dataset.from_dict({"img": [*good, whole[: len(whole) // 2]], "label": [0, 1, 2, 3]})
    task_of().check_files({"train": rows, "dev": rows}, tmp_path / "known")
    assert len(decoded) == 3
    task_of().check_files({"train": rows}, tmp_path / "known")
    assert len(decoded) == 3
    for _ in range(2):  # a broken one is not remembered as a good one
        with pytest.raises(
            UserError, match=r"row 3 \(from 0, of 4\) cannot be decoded: image file is truncated"
        ) as caught:
            task_of().check_files({"train": rows, "dev": cut}, tmp_path / "known")
        one_line(caught)
    (kept,) = (tmp_path / "known").glob("*.json")
    kept.write_text("{")
    task_of().check_files({"train": rows}, tmp_path / "known")


def test_of_several_processes_one_decodes_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads stand for the processes: each has a lock of its own."""
    decoded: list[int] = []
    decode, begun = images.decode, threading.Barrier(3)

    def slowly(*given: Any) -> Any:
        decoded.append(1)
        time.sleep(0.05)
        return decode(*given)

    def check(_: int) -> int:
        begun.wait()
        return picture_check.brightest(rows, "img", None, tmp_path / "known")

    monkeypatch.setattr(images, "decode", slowly)
    rows = Dataset.from_dict({"img": [packed(picture(i)) for i in range(3)], "label": [0, 1, 2]})
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(check, range(3)))) == 1
    assert len(decoded) == 3


def test_a_folder_that_takes_no_lock_costs_no_more_than_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Dataset.from_dict({"img": [packed(picture())], "label": [0]})
    (tmp_path / "known").write_text("a file where the folder should be")
    assert 0 < picture_check.brightest(rows, "img", None, tmp_path / "known") <= 255
    assert "is not kept in" in capsys.readouterr().err

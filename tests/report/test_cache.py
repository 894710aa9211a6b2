"""Numbers kept between tables: the same bytes with them, without them and while they are made; and what they are not
believed for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.table_bench import Bench, kept
from uora_bench.cli import tables as command
from uora_bench.errors import UserError
from uora_bench.report import cache, comparability, row_comparison, stats, write


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(cache, "WORTH", 0.0)
    made = Bench(tmp_path, monkeypatch)
    easy = np.random.default_rng(0).random(120)
    for method, share in (("lora", 0.7), ("uora", 0.75)):
        for seed in range(3):
            kept(made, method, seed, easy < share + seed / 100)
    made.preset(axes={"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0, 1, 2]},
                table={"margin": {"points": 1.0, "reference": "lora"}})  # fmt: skip
    return made


def texts(bench: Bench) -> list[str]:
    """The table in all formats, as a new process would make it."""
    for memory in (comparability._COUNTED, comparability._READ, comparability._CHECKED):
        memory.clear()  # type: ignore[attr-defined]
    table = bench.table()
    return [render(table) for render in write.FORMATS.values()]


def file_of(bench: Bench) -> Path:
    return bench.results / ".cache" / "quickstart.json"


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("it was computed")


def test_tables_have_the_same_bytes_cold_warm_and_without_and_warm_computes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.unused():
        without = texts(bench)
    assert not (bench.results / ".cache").exists()
    assert texts(bench) == without
    assert (file_of(bench).with_name(".gitignore")).read_text() == "*\n"
    for module, name in ((row_comparison, "compare_rows"), (row_comparison, "compare_items"), (stats, "best_marks")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(comparability, "read_predictions", refuse)
    assert texts(bench) == without
    with cache.unused(), pytest.raises(AssertionError, match="computed"):
        texts(bench)


@pytest.mark.parametrize("how", ["cut", "changed", "empty", "no text"])
def test_a_damaged_file_is_computed_anew(bench: Bench, how: str) -> None:
    expected = texts(bench)
    whole = file_of(bench).read_bytes()
    digit = max(whole.rfind(b"%d" % n) for n in range(10))
    spoilt = {
        "cut": whole[: len(whole) // 2],
        "changed": whole[:digit] + b"%d" % (9 - int(whole[digit : digit + 1])) + whole[digit + 1 :],
        "empty": b"",
        "no text": b"\xff\xfe" + whole,
    }
    file_of(bench).write_bytes(spoilt[how])
    assert texts(bench) == expected
    assert file_of(bench).read_bytes() == whole


def test_other_code_other_predictions_and_another_margin_are_other_questions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = texts(bench)
    kept(bench, "uora", 0, np.zeros(120, dtype=bool))
    changed = texts(bench)
    assert changed != before
    with cache.unused():
        assert texts(bench) == changed
    monkeypatch.setattr(cache, "_code", lambda: "newer")
    monkeypatch.setattr(row_comparison, "compare_items", refuse)
    with pytest.raises(AssertionError, match="computed"):
        texts(bench)


def test_predictions_that_are_not_those_of_the_record_are_found_with_kept_numbers_too(bench: Bench) -> None:
    texts(bench)
    path = next((bench.results / "records" / "quickstart").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is not the file that its record was written with"):
        texts(bench)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(bench: Bench) -> None:
    with cache.unused():
        expected = texts(bench)
    (bench.results / ".cache").write_text("no folder")
    assert texts(bench) == expected


def test_quick_numbers_are_not_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "WORTH", 60.0)
    texts(bench)
    assert not (bench.results / ".cache").exists()


def test_answers_that_nobody_asks_for_go_once_there_are_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    texts(bench)
    count = len(cache._read(file_of(bench)))
    kept(bench, "uora", 0, np.zeros(120, dtype=bool))
    texts(bench)
    assert len(cache._read(file_of(bench))) > count
    monkeypatch.setattr(cache, "MOST", count)
    kept(bench, "uora", 0, np.ones(120, dtype=bool))
    texts(bench)
    assert len(cache._read(file_of(bench))) == count


def test_the_command_keeps_none_where_told_so(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=quickstart", f"results.dir={bench.results}"]

    def printed(*more: str) -> str:
        assert command.COMMAND.act(command.COMMAND.read([*words, *more])) == 0
        return capsys.readouterr().out

    anew = printed("cache=false")
    assert not (bench.results / ".cache").exists()
    assert printed() == printed() == anew
    assert file_of(bench).is_file()


def test_of_two_commands_at_a_time_the_last_ones_answers_stay_whole(bench: Bench) -> None:
    records = bench.results / "records" / "quickstart"
    with cache.answers_of(records):
        cache.take(int, "first", lambda: 1)
        with cache.answers_of(records):
            cache.take(int, "second", lambda: 2)
        assert len(cache._read(file_of(bench))) == 1
    assert list(cache._read(file_of(bench)).values()) == [1]
    with cache.answers_of(records):
        assert cache.take(int, "first", refuse) == 1  # type: ignore[arg-type]

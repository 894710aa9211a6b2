"""What a table says of rows against each other: marks, averages, comparisons with a reference row, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.table_bench import GRID, Bench
from uora_bench.errors import UserError
from uora_bench.report import explain, latex, markdown, write
from uora_bench.report.published import Library


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, monkeypatch)
    made.preset()
    return made


def test_best_is_marked_only_where_the_test_can_tell(bench: Bench) -> None:
    tasks = ["glue/rte", "glue/mrpc", "glue/qnli"]
    bench.preset(
        axes={"method": ["lora", "uora"], "task": tasks, "seed": [0, 1, 2]},
        table={"average": True},
    )
    for task in tasks:
        for seed in range(3):
            bench.record(f"method=lora task={task} seed={seed}", 0.5 + seed / 100)
            bench.record(f"method=uora task={task} seed={seed}", 0.6 + seed / 100)
    found = bench.table()
    rows = {row.label: row for block in found.blocks for row in block.rows}
    # nine pairs, all on one side: p = 2/2^9; three pairs in one column: at best 0.25
    assert rows["uora"].average is not None
    assert rows["uora"].average.mark == "best"
    assert rows["uora"].average.ours.value == pytest.approx(61)
    assert rows["lora"].average is not None
    assert rows["lora"].average.mark == ""
    assert all(p.mark == "" for row in rows.values() for p in row.entries)
    assert "**61.00**" in markdown.render(found)


def test_an_average_is_marked_by_its_own_columns_alone_and_taken_apart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ["glue/rte", "glue/mrpc", "glue/qnli", "glue/sst2"]
    columns = [{"task": t, "label": t[5:], "averaged": t != "glue/sst2"} for t in tasks]
    bench.preset(
        axes={"method": ["lora", "uora"], "task": tasks, "seed": [0, 1, 2]},
        table={"average": True, "columns": columns},
    )
    whole = [(task, seed) for task in tasks for seed in range(3)]
    late = whole[7:9]  # two seeds of QNLI
    for task, seed in [*(one for one in whole if one not in late), *late]:
        if (task, seed) == late[0]:
            assert "UC14: the columns of an average have from 1 to 3 seeds." in bench.table().about
        bench.record(f"method=lora task={task} seed={seed}", 0.5 + seed / 100)
        # as much worse outside the average as better inside it
        bench.record(f"method=uora task={task} seed={seed}", (0.2 if task == "glue/sst2" else 0.6) + seed / 100)
    marks = {row.label: row.average.mark for row in bench.table().blocks[0].rows if row.average is not None}
    assert marks == {"lora": "", "uora": "best"}
    monkeypatch.setattr(write, "published_library", lambda *_: Library(()))
    text = explain.explain(["quickstart", "uora", "Avg"], bench.results, None)
    assert text.splitlines()[:2] == ["quickstart · uora · Avg: 61.00", "  mean over rte, mrpc, qnli; mean over seeds"]
    where = f"results.dir={bench.results}"
    assert f"  mrpc: 61.0000 (3 of 3 seeds; explain quickstart uora mrpc {where})" in text.splitlines()
    assert "have from" not in " ".join(bench.table().about)
    assert "sst2" not in text
    assert "seed 0: 60.0000, seed 1: 61.0000, seed 2: 62.0000" in text
    text = explain.explain(["quickstart", "uora", "Avg"], bench.results, "best_dev")
    assert f"explain quickstart uora mrpc rule=best_dev {where})" in text


def test_what_is_compared_is_there_for_a_paper(bench: Bench) -> None:
    bench.preset(table={"reference": "uora"})
    assert latex.comparisons(bench.table()) == ""  # nothing to compare yet
    for method, score in (("lora", 0.5), ("uora", 0.6)):
        for seed in range(3):
            for task in ("glue/rte", "glue/mrpc"):
                bench.record(f"method={method} task={task} seed={seed}", score + seed / 100)
    found = bench.table()
    text = latex.comparisons(found)
    assert "lora & rte, mrpc & 6 & $-$10.00 [$-$10.00, $-$10.00] & 0.00 [0.00, 0.00] & 0.031 & worse" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"\label{tab:quickstart-against}" in text
    assert r"\label{tab:quickstart-over}" in text
    assert "*" not in text
    names = {path.name for path in write.files([found], bench.results / "tables")}
    assert {"quickstart_comparisons.tex", "quickstart_comparisons.csv"} <= names


def test_rows_are_compared_with_the_reference_over_the_columns_both_have(bench: Bench) -> None:
    methods = ["lora", "uora", "vera", "full"]
    bench.preset(axes={**GRID["axes"], "method": methods}, table={"reference": "uora"})
    shift = {"lora": 0.0, "uora": 0.1, "vera": 0.1}
    for method, more in shift.items():
        for seed in range(3):
            for task in ("glue/rte", "glue/mrpc")[: 1 if method == "vera" else 2]:
                bench.record(f"method={method} task={task} seed={seed}", 0.5 + more + seed / 100)
    found = bench.table()
    (one,) = found.comparisons
    lines = {line.row: line for line in one.lines}
    assert lines["lora"].columns == ("rte", "mrpc")
    lora = lines["lora"].comparison
    assert lora is not None
    assert lora.difference == pytest.approx(-10)
    assert (lora.n_pairs, lora.p) == (6, pytest.approx(2 / 2**6))
    assert lora.adjusted_p == pytest.approx(2 * 2 / 2**6)  # Holm over two: lora and vera
    assert lora.verdict == "not distinguished"
    assert lines["vera"].columns == ("rte",)
    vera = lines["vera"].comparison
    assert vera is not None
    assert vera.p == 1
    assert lines["full"].comparison is None
    assert one.columns == ("rte",)  # what every row that has seeds enough has
    assert {w.row: round(w.mean.point, 6) for w in one.wholes} == {"lora": 51, "uora": 61, "vera": 61}
    text = markdown.render(found)
    assert (
        "| lora | rte, mrpc | 6 | −10.00 [−10.00, −10.00] | 0.00 [0.00, 0.00] | 0.062 | too few pairs to tell |" in text
    )
    assert "| full | – | 0 | – | – | – | too few seeds |" in text
    bench.preset(table={"reference": "uoar"})
    with pytest.raises(UserError, match="did you mean 'uora'"):
        bench.table()

"""Theory records in tables, figures and explanations, and kept apart from the reports of trained cells."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.theory_runs import QUICK, read_all, run, several
from uora_bench.errors import UserError
from uora_bench.grid import estimate
from uora_bench.grid.request import GridRequest
from uora_bench.report import collect, csv_file, explain, figures, latex, markdown, page, write
from uora_bench.theory import presets, record
from uora_bench.theory import report as theory
from uora_bench.theory.report import histograms, studies

KINDS = (theory,)
FOLDERS = [ROOT / "results" / "records" / f"theory_{name}" for name in presets.names()]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_the_records_of_every_preset_are_committed_and_whole(folder: Path) -> None:
    (study,) = studies.studies(folder.name, ROOT / "results")
    for group in study.groups:
        assert len(group.records) == group.planned
        for one in group.records:
            found = record.read_record(folder / f"{one.cell_id}.json")  # checks the id against the content
            assert (found.status, found.experiment, found.cell_id) == ("done", folder.name, one.cell_id)
            assert found.provenance["git"]["commit"]


# --- tables and figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mine", "sweep", "histogram", "best", "regression", "map"])
def test_every_kind_has_tables_in_every_format(results: Path, name: str) -> None:
    (made,) = theory.tables_of(f"theory_{name}", results, None)
    text = markdown.render(made)
    assert text.startswith(f"## {made.title}\n")
    assert "peak memory" not in text
    assert "[U+" not in latex.render(made), "a letter that LaTeX does not have"
    rows = list(csv.DictReader(io.StringIO(csv_file.render(made))))
    assert len(rows) == sum(len(block.rows) for block in made.blocks) * len(made.columns)
    assert any(row["ours_mean"] for row in rows)


def test_a_table_s_numbers_are_the_records(results: Path) -> None:
    (made,) = theory.tables_of("theory_mine", results, None)
    by_label = {one.label.partition(" ·")[0]: one for one in read_all(results, "theory_mine")}
    assert [block.label for block in made.blocks] == sorted(by_label)
    labels = [column.label for column in made.columns]
    assert labels == ["α", "theory", "released formula", "simulated", "z"]
    for block in made.blocks:
        found = by_label[block.label].results
        assert found is not None
        row = next(row for row in block.rows if row.label == "α = 1 (LoRA)")
        i = found.x.index(1.0)
        shown = [entry.ours.value for entry in row.entries]
        mean, error = found.simulated["accuracy"].mean[i], found.simulated["accuracy"].error[i]
        theory_value = found.theory["corrected"]["accuracy"][i]
        assert shown[1] == pytest.approx(100 * theory_value)
        assert shown[2] == pytest.approx(100 * found.theory["released"]["accuracy"][i])
        assert shown[3] == pytest.approx(100 * mean)
        assert row.entries[3].ours.std == pytest.approx(100 * error)
        assert shown[4] == pytest.approx((mean - theory_value) / error, abs=1e-3)


def test_own_settings_are_told_apart_and_get_nothing_of_the_preset(tmp_path: Path) -> None:
    for n in (20, 30):
        assert run(tmp_path, f"{QUICK} beta=0.5 n={n} experiment_name=theory_own") == 0
    (made,) = theory.tables_of("theory_own", tmp_path, write.published_library())
    assert [block.label for block in made.blocks] == [f"β=0.5, n={n}, 8 repetitions" for n in (20, 30)]
    text = markdown.render(made)
    assert "N=100, p=40, μ=0.8" in text
    assert "n=30 experiment_name=theory_own`" in text
    for word in ("| published", "5000", "n=40", "Figure 1's", "each of 81"):
        assert word not in text


def test_seeds_of_one_setting_stand_in_one_place(tmp_path: Path) -> None:
    assert run(tmp_path, f"{QUICK} beta=0.5 seed=0,1 experiment_name=theory_two") == 0
    (made,) = theory.tables_of("theory_two", tmp_path, None)
    (block,) = made.blocks
    entry = block.rows[1].entries[3]
    own = [one.results.simulated["accuracy"] for one in read_all(tmp_path, "theory_two")]
    i = read_all(tmp_path, "theory_two")[0].results.x.index(1.0)
    assert set(entry.ours.by_seed) == {0, 1}
    assert entry.ours.std == pytest.approx(100 * math.hypot(own[0].error[i], own[1].error[i]) / 2)


def test_published_numbers_stand_on_lines_of_their_own() -> None:
    library = write.published_library()
    for name in ("accuracy_alpha", "amazon_table_1", "amazon_variants"):
        found = theory.tables_of(f"theory_{name}", ROOT / "results", library)[0]
        entries = [p for block in found.blocks for row in block.rows for p in row.entries]
        published = [p for p in entries if p.published is not None]
        assert published
        for p in published:
            assert p.published.source
            assert p.published.value not in p.ours.by_seed.values()
            assert p.delta is None or p.delta == pytest.approx(p.ours.value - p.published.value)


def test_table_1_names_the_baseline_that_the_paper_s_lacks() -> None:
    (made,) = theory.tables_of("theory_amazon_table_1", ROOT / "results", write.published_library())
    labels = [column.label for column in made.columns]
    assert labels[-1] == "source alone"
    assert any("the paper's table lacks" in line for line in made.about)
    rows = made.blocks[0].rows
    assert rows[0].label == "books → dvd"
    published = {
        c: row.entries[labels.index(c)].published for c in ("α=0", "α=1", "α* as released") for row in rows[:1]
    }
    assert [published[c].text for c in published] == ["60.93 ± 0.49", "76.43 ± 0.06", "77.92 ± 0.1"]
    assert all(row.entries[-1].published is None for row in rows)
    mean = rows[-1]
    assert mean.label == "mean of the transfers"
    for i in range(3, len(labels)):
        own = [row.entries[i].ours.value for row in rows[:-1]]
        assert mean.entries[i].ours.value == pytest.approx(sum(own) / 12)


def test_records_of_other_settings_are_in_no_place_of_a_preset_s_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "regression_risk repetitions=3 beta=0.5") == 0
    assert "experiment_name=" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"1 record.* of other settings than the preset's.*experiment_name="):
        write.make_table(GridRequest("theory_regression_risk", "print"), tmp_path, None, kinds=KINDS)
    assert run(tmp_path, "regression_risk repetitions=400 beta=0.5") == 0
    assert "experiment_name=" not in capsys.readouterr().out
    (made,) = theory.tables_of("theory_regression_risk", tmp_path, None)
    assert len(made.orphans) == 1
    assert [block.label for block in made.blocks if any(p.ours.n for r in block.rows for p in r.entries)] == ["β=0.5"]
    assert "1 record(s) of other settings" in markdown.render(made)


@pytest.mark.parametrize("name", ["mine", "sweep", "histogram", "best", "regression", "map"])
def test_a_figure_s_csv_is_what_the_records_hold_and_it_draws(results: Path, name: str) -> None:
    specs = theory.figures_of(f"theory_{name}", results)
    assert specs
    for spec in specs:
        assert spec.name.startswith(f"theory_{name}")
        rows = list(csv.DictReader(io.StringIO(spec.data)))
        ids = {one.cell_id for one in read_all(results, f"theory_{name}")}
        assert {row["cell_ids"] for row in rows} == ids
        rendered = figures.canvas.render(spec)
        assert rendered["svg"].startswith(b"<?xml")
        assert figures.canvas.render(spec) == rendered
        assert spec.caption.endswith(".")


def test_points_of_a_figure_are_the_simulated_means(results: Path) -> None:
    (spec,) = theory.figures_of("theory_mine", results)
    known = {one.cell_id: one.results for one in read_all(results, "theory_mine")}
    rows = list(csv.DictReader(io.StringIO(spec.data)))
    assert len(rows) == sum(len(one.x) for one in known.values())
    for row in rows:
        one = known[row["cell_ids"]]
        i = studies.index_of(one, float(row["x"]))
        assert float(row["simulated"]) == one.simulated["accuracy"].mean[i]
        assert float(row["error"]) == one.simulated["accuracy"].error[i]
        assert float(row["theory"]) == one.theory["corrected"]["accuracy"][i]


def test_histograms_are_densities_and_count_every_point(results: Path) -> None:
    for one in read_all(results, "theory_histogram"):
        assert one.results is not None
        assert [h.alpha for h in one.results.histograms] == [0.1, 1.0, 10.0]
        for h in one.results.histograms:
            assert sum(h.negative) == sum(h.positive) == 200
            assert len(h.edges) == len(h.negative) + 1 == 11
            widths = [high - low for low, high in zip(h.edges, h.edges[1:], strict=False)]
            heights = histograms.density(h, 1)
            assert sum(d * w for d, w in zip(heights, widths, strict=True)) == pytest.approx(1)


# --- the rest of the house --------------------------------------------------------------------------------------------


def test_reports_of_trained_cells_leave_theory_alone(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not [name for name in write.experiments(results, KINDS) if theory.owns(name)]
    names = [made.name for made in write.all_tables(results, kinds=KINDS)]
    assert {"theory_mine", "theory_map", "vera_table2"} <= set(names)
    assert not [m for m in write.all_tables(results, "best_dev", kinds=KINDS) if theory.owns(m.name)]
    made = write.make_table(GridRequest("theory_mine", "print"), results, None, kinds=KINDS)
    assert made.name == "theory_mine"
    with pytest.raises(UserError, match="does not narrow"):
        write.make_table(GridRequest("theory_mine", "print", axes={"beta": ["1"]}), results, None, kinds=KINDS)
    with pytest.raises(UserError, match="no theory records called 'theory_mien'; did you mean 'theory_mine'"):
        write.make_table(GridRequest("theory_mien", "print"), results, None, kinds=KINDS)
    with pytest.raises(UserError, match="cells that were trained"):
        page.command(["theory_mine"], results, None, KINDS)
    assert figures.command("theory_map", False, results, kinds=KINDS) == 0
    assert (results / "figures" / "own" / "theory_map.svg").is_file()
    capsys.readouterr()


def test_explain_names_the_record_and_the_command(results: Path) -> None:
    text = explain.explain(["theory_mine", "α = 1 (LoRA)", "simulated", "β=0.5"], results, None, KINDS)
    assert " ± " in text.splitlines()[0]
    assert "uora-bench theory experiment=accuracy_alpha n=20" in text
    (path,) = [word for word in text.split() if word.endswith(".json")]
    assert record.read_record(Path(path)).cell["parameters"]["beta"] == 0.5
    assert explain.explain(["THEORY_mine", "α = 1 (lora)", "Simulated", "Β=0.5"], results, None, KINDS) == text
    for words, said in (
        (["α = 1 (LoRA)", "simulated"], "is in 3 blocks"),
        (["α = 9", "simulated"], "no row 'α = 9'"),
        (["α = 1 (LoRA)", "simulatd", "β=0.5"], "did you mean 'simulated'"),
        (["α = 1 (LoRA)", "simulated", "β=0.6"], "no block 'β=0.6'"),
    ):
        with pytest.raises(UserError, match=said.replace("(", r"\(")):
            explain.explain(["theory_mine", *words], results, None, KINDS)


def test_a_grid_of_trained_cells_does_not_take_theory_records_for_its_own(results: Path) -> None:
    assert list(estimate.elsewhere(results, "")) == []
    with pytest.raises(UserError, match="of a theory cell"):
        collect.collect(GridRequest(None, "print", axes={"experiment_name": ["theory_mine"]}), results)

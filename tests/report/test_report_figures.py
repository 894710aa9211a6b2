"""Figures: their CSV is what the records hold, the pictures do not change, and methods can be told apart."""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.support.made_up_grids import EPOCHS, QUANTILES, TARGETS, made_up, snapshot
from tests.support.paths import ROOT
from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.grid.request import GridRequest
from uora_bench.records.record import EpochScores
from uora_bench.report import collect, figures, table, write
from uora_bench.report.figures import canvas, files, scatter, style
from uora_bench.report.figures.slots import Slot


def three_seeds(cell):
    return cell.task.name in ("glue/mrpc", "glue/rte")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """MiniLM's experiment on two of its four tasks, three seeds."""
    folder = tmp_path_factory.mktemp("results")
    made_up(folder, "minilm_glue", three_seeds)
    return folder


def built(results, experiment="minilm_glue", library=None):
    collection = collect.collect(GridRequest(experiment, "print"), results)
    return table.build(collection, library), collection


def sketched(results, experiment="minilm_glue", library=None):
    return {spec.name: spec for spec in files.figure_specs(*built(results, experiment, library))}


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def records(results, experiment="minilm_glue"):
    found = [json.loads(p.read_text("utf-8")) for p in (results / "records" / experiment).glob("*.json")]
    return {record["cell_id"]: record for record in found}


def texts(svg):
    return {"".join(e.itertext()).strip() for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")}


def dominates(a, b, sign):
    return a[0] <= b[0] and sign * a[1] >= sign * b[1] and (a[0] < b[0] or a[1] != b[1])


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_that_the_records_allow(results):
    assert sorted(sketched(results)) == [
        f"minilm_glue_{n}"
        for n in ("alpha", "curves", "pareto_memory", "pareto_parameters", "pareto_seconds", "refreshes")
    ]


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        ("parameters", lambda found: max(r["counts"]["adapter"] for r in found)),
        ("seconds", lambda found: statistics.median(r["seconds"]["train"] + r["seconds"]["eval"] for r in found)),
        ("memory", lambda found: max(r["peak_memory_bytes"] for r in found)),
    ],
)
def test_the_table_of_costs_holds_what_the_records_do(results, kind, cost):
    held, seen = records(results), set()
    for row in rows(sketched(results)[f"minilm_glue_pareto_{kind}"].data):
        found = [held[name] for name in row["cell_ids"].split()]
        seen |= set(row["cell_ids"].split())
        scores = {r["cell"]["seed"]: r["scores"]["last"]["scores"]["dev"][row["metric"]] * 100 for r in found}
        assert row["method"] == found[0]["cell"]["method"]["name"]
        assert float(row["cost"]) == cost(found)
        assert float(row["score"]) == statistics.fmean(scores.values())
        assert row["by_seed"] == " ".join(f"{seed}:{score!r}" for seed, score in sorted(scores.items()))
        assert int(row["n"]) == len(found)
        assert (float(row["std"]) if row["std"] else None) == (
            statistics.stdev(scores.values()) if len(scores) > 1 else None
        )
    assert seen == set(held)


def test_the_front_of_the_table_is_the_front_of_its_numbers(results):
    for name in ("parameters", "seconds", "memory"):
        found = rows(sketched(results)[f"minilm_glue_pareto_{name}"].data)
        for panel in {row["panel"] for row in found}:
            own = [(float(r["cost"]), float(r["score"]), r["on_front"]) for r in found if r["panel"] == panel]
            for cost, score, mark in own:
                beaten = any(dominates(other, (cost, score), 1) for other in own)
                assert (mark == "1") == (not beaten)


def test_the_table_of_curves_holds_every_epoch_of_every_seed(results):
    held = records(results)
    found = rows(sketched(results)["minilm_glue_curves"].data)
    shown = {}
    for row in found:
        for name, entry in zip(row["cell_ids"].split(), row["by_seed"].split(), strict=True):
            seed, score = entry.split(":")
            assert held[name]["cell"]["seed"] == int(seed)
            shown[name, int(row["epoch"])] = float(score)
        values = [float(entry.split(":")[1]) for entry in row["by_seed"].split()]
        assert [float(row[k]) for k in ("score", "min", "max")] == [
            statistics.fmean(values), min(values), max(values)]  # fmt: skip
    assert shown == {
        (name, e["epoch"]): e["scores"]["dev"][r["metric"]["primary"]] * 100
        for name, r in held.items()
        for e in r["epochs"]
    }


def test_the_table_of_refreshes_holds_the_counts_of_the_records(results):
    held = {n: r for n, r in records(results).items() if r["cell"]["method"]["name"] == "uora"}
    so_far, per_target = {}, {}
    for row in rows(sketched(results)["minilm_glue_refreshes"].data):
        for name, entry in zip(row["cell_ids"].split(), row["by_seed"].split(), strict=True):
            count = int(entry.split(":")[1])
            if row["panel"] == "cumulative":
                so_far[name, int(row["epoch"])] = count
            else:
                per_target[name, row["target"]] = count
        counts = [int(entry.split(":")[1]) for entry in row["by_seed"].split()]
        assert float(row["refreshes"]) == statistics.fmean(counts)
        assert (int(row["min"]), int(row["max"])) == (min(counts), max(counts))
    assert so_far == {(n, e["epoch"]): e["method"]["refreshes"] for n, r in held.items() for e in r["epochs"]}
    assert per_target == {(n, t): c for n, r in held.items() for t, c in r["method"]["refreshes_per_layer"].items()}


def test_the_table_of_alpha_holds_the_mean_quantiles_of_the_records(results):
    held = records(results)
    found = rows(sketched(results)["minilm_glue_alpha"].data)
    assert len(found) == 2 * EPOCHS * len(TARGETS)  # tasks, epochs, targets
    for row in found:
        cells = [held[name] for name in row["cell_ids"].split()]
        assert len(cells) == int(row["n"]) == 3
        for q in QUANTILES:
            values = [c["epochs"][int(row["epoch"]) - 1]["method"]["alpha"][row["target"]][q] for c in cells]
            assert float(row[q]) == statistics.fmean(values)
    first = [Slot.from_name(r["target"]) for r in found[: len(TARGETS)]]
    assert [(s.kind, s.block) for s in first] == [(k, b) for k in "qv" for b in (0, 2, 10)]


def test_records_of_the_end_only_are_a_single_point(tmp_path):
    def old(values):
        values["epochs"] = tuple(EpochScores(e.epoch, e.step, e.train_loss, e.scores, e.seconds)
                                 for e in values["epochs"])  # fmt: skip

    made_up(tmp_path, "minilm_glue", lambda c: three_seeds(c) and c.method.name == "uora" and c.seed == 0, old)
    spec = sketched(tmp_path)["minilm_glue_refreshes"]
    found = [row for row in rows(spec.data) if row["panel"] == "cumulative"]
    assert {(row["epoch"], row["read_from"]) for row in found} == {(str(EPOCHS), "method")}
    assert "single point" in spec.caption
    assert canvas.render(spec).png.startswith(b"\x89PNG")


def test_long_runs_of_alpha_draw_some_epochs_with_the_first_and_the_last(tmp_path):
    def long(values):
        first = values["epochs"][0]
        values["epochs"] = tuple(EpochScores(e, e, 0.1, first.scores, 1.0, snapshot("alpha_lora", e, 0, None))
                                 for e in range(1, 31))  # fmt: skip

    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name == "alpha_lora", long)
    spec = sketched(tmp_path)["minilm_glue_alpha"]
    epochs = sorted({int(row["epoch"]) for row in rows(spec.data)})
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 30, 8)
    assert "8 epochs are drawn" in spec.caption


def test_without_uora_or_alpha_lora_there_is_no_figure_of_them(tmp_path):
    made_up(tmp_path, "minilm_glue", lambda c: three_seeds(c) and c.method.name in ("lora", "vera") and c.seed == 0)
    assert sorted(sketched(tmp_path)) == [
        f"minilm_glue_{n}" for n in ("curves", "pareto_memory", "pareto_parameters", "pareto_seconds")
    ]


def test_one_row_has_no_front_and_one_epoch_no_curve(tmp_path):
    def short(values):
        values["epochs"] = values["epochs"][-1:]

    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name == "lora", short)
    assert sketched(tmp_path) == {}
    assert figures.rendered_figures(*built(tmp_path)) == []


def test_without_a_finished_record_nothing_is_drawn(tmp_path):
    assert figures.rendered_figures(*built(tmp_path)) == []


# --- beside published numbers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    made_up(folder, "vera_table2", lambda c: c.task.name == "glue/sst2" and c.backbone.name == "roberta_base")
    return folder


def test_published_numbers_stand_beside_ours_and_are_not_mixed(beside):
    library = write.published_library()
    (name,) = [n for n in sketched(beside, "vera_table2", library) if n.endswith("published")]
    spec = sketched(beside, "vera_table2", library)[name]
    held = records(beside, "vera_table2")
    found = rows(spec.data)
    assert [row["whose"] for row in found] == ["ours", "published"] * (len(found) // 2)
    known = {(n.method, n.value) for n in library.table("VeRA", "Table 2") if n.task == "SST-2"}
    for ours, theirs in zip(found[::2], found[1::2], strict=True):
        cells = [
            held[name]["scores"]["best_dev"]["scores"]["dev"]["accuracy"] * 100 for name in ours["cell_ids"].split()
        ]
        assert float(ours["value"]) == statistics.median(cells)
        assert float(theirs["value"]) in {value for _, value in known}
        assert theirs["source"]
        assert not theirs["cell_ids"]
        assert ours["row"] == theirs["row"]
    svg = canvas.render(spec).svg
    assert {"ours", "published"} <= texts(svg)


def test_without_published_numbers_there_are_no_such_bars(beside):
    assert not any(n.endswith("published") for n in sketched(beside, "vera_table2", None))


def test_a_look_does_not_change_when_records_come_in(results, tmp_path):
    made_up(tmp_path, "minilm_glue", lambda cell: three_seeds(cell) and getattr(cell.method, "tau", None) == 0)
    few, many = (style.looks(built(folder)[0].blocks[0]) for folder in (tmp_path, results))
    assert few == many


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(results):
    return {rendered.name: rendered for rendered in figures.rendered_figures(*built(results))}


def test_the_same_records_give_the_same_bytes_whatever_matplotlibrc_says(results, drawn):
    import matplotlib

    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "svg.hashsalt": None}):
        again = {rendered.name: rendered for rendered in figures.rendered_figures(*built(results))}
        assert matplotlib.rcParams["font.size"] == 20  # what the caller set is back
    assert {n: (d.svg, d.png, d.data) for n, d in again.items()} == {
        n: (d.svg, d.png, d.data) for n, d in drawn.items()
    }


def test_pictures_are_small_and_their_text_is_text_without_a_date(drawn):
    for rendered in drawn.values():
        assert max(len(rendered.svg.encode()), len(rendered.png), len(rendered.data.encode())) < 150_000
        assert rendered.png.startswith(b"\x89PNG")
        assert "dc:date" not in rendered.svg
        assert "MRPC" in {text.split(":")[0] for text in texts(rendered.svg)}
    assert {"UORA (τ 1e-3)", "LoRA", "Pareto front"} <= texts(drawn["minilm_glue_pareto_parameters"].svg)


def test_no_adapter_at_all_has_a_place_on_the_logarithmic_axis(drawn):
    assert {"0", "10k", "1M"} <= texts(drawn["minilm_glue_pareto_parameters"].svg)


def test_ids_differ_between_figures_so_that_one_page_can_hold_them(drawn):
    def ids(name):
        svg = ElementTree.fromstring(drawn[name].svg)
        defined = [e for e in svg.iter() if e.tag.endswith("defs")]
        return {child.get("id") for one in defined for child in one.iter() if child.get("id")}

    assert ids("minilm_glue_pareto_seconds")  # the same markers as in the other
    assert not ids("minilm_glue_pareto_seconds") & ids("minilm_glue_pareto_memory")


def test_only_points_that_would_cover_each_other_move_aside():
    shifts = scatter.apart([7680.0, 7680.0, 7680.0, 4992.0], [80.0, 80.5, 60.0, 80.2], [1.0, 1.0, 0.0, 1.0])
    assert shifts[0] < 0 < shifts[1]
    assert shifts[2:] == [0.0, 0.0]


def test_a_legend_fits_its_figure():
    labels = ["uora rank=256 trainer.lr_adapter=0.03 trainer.lr_head=0.002"] * 24
    assert canvas.legend_columns(canvas.WIDTH, labels) == 2
    assert canvas.legend_columns(4.4, labels) == 1
    assert canvas.legend_columns(canvas.WIDTH, ["a"]) == 1


# --- captions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launch", "processor", "words"),
    [
        ({"shared": True}, "one", "seconds are not to be compared"),
        ({"shared": False}, "several", "2 kinds of processor: seconds are not to be compared"),
        (None, "one", "to themselves is not recorded"),
        ({"shared": False}, "one", None),
    ],
)
def test_the_caption_says_whether_seconds_can_be_compared(tmp_path, launch, processor, words):
    def provenance(values):
        values["provenance"] = {
            "finished": "2026-01-01T00:00:00+00:00",
            "command": [],
            "hardware": {"processor": processor + str(values["counts"].adapter if processor == "several" else "")},
            **({} if launch is None else {"launch": {"launcher": "local", **launch}}),
        }

    keep = ("lora", "vera")
    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name in keep, provenance)
    caption = sketched(tmp_path)["minilm_glue_pareto_seconds"].caption
    assert words is None or words in caption
    assert ("compare" in caption) == (words is not None)


def test_a_caption_names_rule_split_and_seeds(results):
    caption = sketched(results)["minilm_glue_pareto_parameters"].caption
    for words in ("Selection rule last", "Scored on dev (validation)", "n = 1 to 3 seeds", "standard deviation"):
        assert words in caption


# --- command ----------------------------------------------------------------------------------------------------------


def test_nothing_imports_matplotlib_or_torch_before_something_is_drawn():
    code = "import sys, uora_bench.report.figures; print(sorted({'matplotlib', 'torch', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.fixture
def small(tmp_path):
    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name in ("lora", "vera"))
    return tmp_path


def test_the_command_writes_three_files_a_figure_and_says_so(small, capsys):
    assert figures.command("minilm_glue", False, small) == 0
    written = sorted(p.name for p in (small / "figures").iterdir())
    assert written == sorted(f"{name}.{kind}" for name in sketched(small) for kind in ("svg", "png", "csv"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in written)
    assert (small / "figures" / "minilm_glue_curves.csv").read_text("utf-8") == sketched(small)[
        "minilm_glue_curves"
    ].data


def test_check_sees_changed_missing_and_left_over_files(small, capsys):
    figures.command(None, False, small)
    assert figures.command(None, True, small) == 0
    folder = small / "figures"
    (folder / "old.svg").write_text("")
    with pytest.raises(UserError, match=r"old\.svg.* remove it"):
        figures.command(None, True, small)
    assert figures.command("minilm_glue", True, small) == 0  # of one experiment, others may be there
    (folder / "old.svg").unlink()
    picture = (folder / "minilm_glue_curves.png").read_bytes()
    (folder / "minilm_glue_curves.png").unlink()
    with pytest.raises(UserError, match="make figures"):
        figures.command(None, True, small)
    (folder / "minilm_glue_curves.png").write_bytes(picture)
    with (folder / "minilm_glue_curves.csv").open("a") as file:
        file.write("x")
    with pytest.raises(UserError, match=r"minilm_glue_curves\.csv"):
        figures.command(None, True, small)


def test_without_matplotlib_one_line_names_the_extra_and_check_still_works(small, monkeypatch):
    figures.command(None, False, small)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert figures.command(None, True, small) == 0
    with pytest.raises(UserError, match="figures") as caught:
        figures.command(None, False, small)
    assert "\n" not in str(caught.value)
    assert ".[figures]" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experimnt=minilm_glue"], "did you mean 'experiment'"),
        (["--chek"], "did you mean 'check'"),
        (["experiment=minilm_glu"], "did you mean 'minilm_glue'"),
        (["experiment=vera_table2"], "no finished record"),
        (["experiment=minilm_glue", "experiment=vera_table2"], "figures of one experiment or of all"),
    ],
)
def test_mistakes_are_one_line(small, words, message, capsys):
    assert main(["figures", *words, f"results.dir={small}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (small / "figures").exists()


def test_another_rule_goes_into_a_folder_of_its_own(small):
    figures.command(None, False, small, "best_dev")
    assert {p.name for p in (small / "figures").iterdir()} == {"best_dev"}
    assert figures.command(None, True, small, "best_dev") == 0

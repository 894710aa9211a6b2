"""Figures: their CSV is what the records hold, the pictures do not change, and methods can be told apart."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
import zlib
from xml.etree import ElementTree

import pytest

from tests.support.made_up_grids import EPOCHS, QUANTILES, TARGETS, built, made_up, sketched, snapshot
from uora_bench.records.record import EpochScores
from uora_bench.report import figures, write
from uora_bench.report.figures import canvas, facts
from uora_bench.report.figures.slots import Slot


def three_seeds(cell):
    return cell.task.name in ("glue/mrpc", "glue/rte")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """MiniLM's experiment on two of its four tasks, three seeds."""
    folder = tmp_path_factory.mktemp("results")
    made_up(folder, "minilm_glue", three_seeds)
    return folder


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
    assert canvas.render(spec, ["png"])["png"].startswith(b"\x89PNG")


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
    assert figures.drawn_figures(built(tmp_path)[0], tmp_path) == []


def test_without_a_finished_record_nothing_is_drawn(tmp_path):
    assert figures.drawn_figures(built(tmp_path)[0], tmp_path) == []


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
    assert {"ours", "published"} <= texts(canvas.render(spec)["svg"])


def test_without_published_numbers_there_are_no_such_bars(beside):
    assert not any(n.endswith("published") for n in sketched(beside, "vera_table2", None))


# --- pictures ---------------------------------------------------------------------------------------------------------

FORMATS = ("svg", "pdf", "png")


@pytest.fixture(scope="module")
def drawn(results):
    return {name: canvas.render(spec, FORMATS) for name, spec in sketched(results).items()}


def positions(svg, path):
    """The middles of the markers of a panel's points, as they stand in the SVG, in the order of drawing."""
    ns = "{http://www.w3.org/2000/svg}"
    axes = next(e for e in ElementTree.fromstring(svg).iter(f"{ns}g") if e.get("id") == path)
    lines = [g for g in axes.findall(f"{ns}g") if (g.get("id") or "").startswith("line2d")]
    marks = [use for group in lines for use in group.iter(f"{ns}use") if "stroke-width: 0.9" in use.get("style", "")]
    return [(float(use.get("x")), float(use.get("y"))) for use in marks]


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_whatever_matplotlibrc_says(results, drawn):
    import matplotlib

    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "svg.hashsalt": None, "pdf.fonttype": 3}):
        again = {name: canvas.render(spec, FORMATS) for name, spec in sketched(results).items()}
        assert matplotlib.rcParams["font.size"] == 20  # what the caller set is back
    assert again == drawn


def test_text_is_text_in_svg_and_pdf_and_nothing_has_a_date(drawn):
    for found in drawn.values():
        assert b"dc:date" not in found["svg"]
        assert "MRPC" in {text.split(":")[0] for text in texts(found["svg"])}
        assert b"/FontFile2" in found["pdf"]  # TrueType: what is written can be searched and edited
        assert b"CreationDate" not in found["pdf"]
        assert found["png"].startswith(b"\x89PNG")
    names = texts(drawn["minilm_glue_pareto_parameters"]["svg"])
    assert {"4  UORA (τ 1e-3)", "10  LoRA", "Pareto front"} <= names
    assert {"4", "10"} <= names  # beside their points


def test_a_finished_grid_adds_at_most_100_kB_to_the_repository(results, drawn):
    compressed = sum(len(zlib.compress(found["svg"])) for found in drawn.values())
    compressed += sum(len(zlib.compress(spec.data.encode())) for spec in sketched(results).values())
    assert compressed < 100_000


def test_every_point_stands_where_its_numbers_are(results, drawn):
    found = rows(sketched(results)["minilm_glue_pareto_parameters"].data)
    own = [row for row in found if row["panel"] == "MRPC"]
    at = positions(drawn["minilm_glue_pareto_parameters"]["svg"], "axes_1")
    assert len(at) == len(own)
    for (x, y), row in zip(at, own, strict=True):
        for (other_x, other_y), other in zip(at, own, strict=True):
            assert (x == other_x) == (row["cost"] == other["cost"])
            if float(row["score"]) > float(other["score"]) + 0.2:  # a tenth of a point is as much as the file holds
                assert y < other_y


def test_many_rows_have_a_panel_each_and_few_share_one(results, drawn, tmp_path):
    many = texts(drawn["minilm_glue_curves"]["svg"])
    assert {"UORA (τ 1e-3)", "MRPC", "epoch"} <= many
    assert drawn["minilm_glue_curves"]["svg"].count(b'id="axes_') == 13 * 2
    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name in ("lora", "vera"))
    few = canvas.render(sketched(tmp_path)["minilm_glue_curves"])["svg"]
    assert few.count(b'id="axes_') == 1


def test_a_dark_screen_has_colours_of_its_own(drawn):
    for found in drawn.values():
        svg = found["svg"].decode()
        rules = svg[svg.index("<style>") : svg.index("</style>")]
        assert rules.startswith("<style>@media (prefers-color-scheme: dark)")
        body = svg[svg.index("</style>") :]
        for light in set(re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", body)):
            assert f'[style*="{light}"]' in rules, light


def test_no_adapter_at_all_has_a_place_on_the_logarithmic_axis(drawn):
    assert {"0", "10k", "1M"} <= texts(drawn["minilm_glue_pareto_parameters"]["svg"])


def test_names_are_short_and_a_legend_fits_its_figure():
    long = f"uora method.rank=256 trainer.lr_adapter=0.03 plug-in {'0a1b' * 16}"
    assert facts.short_name(long) == "uora rank=256 lr_adapter=0.03 plug-in 0a1b0…"
    assert facts.short_name(f"mine {'0a1b' * 16}") == "mine 0a1b0a1…"
    labels = [facts.short_name(long)] * 24
    assert canvas.legend_columns(canvas.WIDTH, labels) == 2
    assert canvas.legend_columns(4.4, labels) == 1
    assert canvas.legend_columns(canvas.WIDTH, ["a"]) == 1


# --- captions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launch", "processor", "words"),
    [
        ({"shared": True}, "one", "seconds are not comparable"),
        ({"shared": False}, "several", "2 kinds of processor: seconds are not comparable"),
        (None, "one", "to themselves is not recorded"),
        ({"shared": False}, "threads", "with 1 and 32 threads: seconds are not comparable"),
        ({"shared": False}, "one", None),
    ],
)
def test_the_caption_says_whether_seconds_can_be_compared(tmp_path, launch, processor, words):
    def provenance(values):
        values["provenance"] = {
            "finished": "2026-01-01T00:00:00+00:00",
            "command": [],
            "hardware": {
                "processor": processor + str(values["counts"].adapter if processor == "several" else ""),
                "threads": 32 if processor == "threads" and values["counts"].adapter > 10_000 else 1,
            },
            **({} if launch is None else {"launch": {"launcher": "local", **launch}}),
        }

    keep = ("lora", "vera")
    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name in keep, provenance)
    caption = sketched(tmp_path)["minilm_glue_pareto_seconds"].caption
    assert words is None or words in caption
    assert ("compar" in caption) == (words is not None)


def test_a_caption_names_rule_split_and_seeds(results):
    caption = sketched(results)["minilm_glue_pareto_parameters"].caption
    for words in ("Selection rule last", "Scored on dev (validation)", "n = 1 to 3 seeds", "standard deviation"):
        assert words in caption

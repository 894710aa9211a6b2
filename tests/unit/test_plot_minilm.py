"""scripts/plot_minilm.py: the numbers beside a figure are those of the records, and the bytes do not change."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

import plot_minilm

COMMITTED = ROOT / "results" / "records" / "minilm_glue"
LORA, UORA, OLD_UORA = "13158bb5e0b27d6d", "f4bfa9edbef1b39b", "0e336041b51c36a2"
LAYERS = [
    f"bert.encoder.layer.{i}.attention.self.{m}.{m[0]}" for i in (0, 1, 10, 2, 3, 4, 5) for m in ("query", "value")
]
EPOCHS = 6


def spread(number):
    return {k: 1 + (i - 4) * number / 1000 for i, k in enumerate(
        ("mean", "min", "q05", "q25", "q50", "q75", "q95", "max", "std"))}  # fmt: skip


def edit(name, folder, new_id, change):
    """A committed record, changed, under another id."""
    data = json.loads((COMMITTED / f"{name}.json").read_text("utf-8"))
    data["cell_id"] = new_id
    change(data)
    (folder / f"{new_id}.json").write_text(json.dumps(data), "utf-8")


def alpha(data):
    data["cell"]["method"] = {"name": "alpha_lora", "version": 1, "options": {"rank": 4, "mode": "held_out"}}
    for number, epoch in enumerate(data["epochs"], 1):
        epoch["method"] = {"alpha": {layer: spread(number + i) for i, layer in enumerate(LAYERS)}}


def refreshed(data):
    for number, epoch in enumerate(data["epochs"], 1):
        per_layer = {k: n * number // EPOCHS for k, n in data["method"]["refreshes_per_layer"].items()}
        epoch["method"] = {"refreshes": sum(per_layer.values()), "refreshes_per_layer": per_layer, "redraws": 0}


def failed(data):
    data.update(status="failed", reason="the loss is not finite")


def old(data):
    """A record made before epochs had snapshots, on a part of the training set."""
    data["cell"]["task"]["splits"]["train"] = "train[:99]"
    for epoch in data["epochs"]:
        epoch.pop("method", None)


@pytest.fixture
def folder(tmp_path):
    """An α-LoRA record, a UORA record with snapshots, one without, and two with nothing to draw."""
    records = tmp_path / "records"
    records.mkdir()
    edit(LORA, records, "alpha0", alpha)
    edit(UORA, records, "uora0", refreshed)
    edit(OLD_UORA, records, "uora1", old)
    edit(LORA, records, "lora0", lambda data: None)
    edit(UORA, records, "failed0", failed)
    return records


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def held(folder, cell_id):
    return json.loads((folder / f"{cell_id}.json").read_text("utf-8"))


def draw(folder, out, *more):
    assert plot_minilm.main([str(folder), "--out", str(out), *more]) == 0
    return {p.name: p for p in out.iterdir()}


def test_both_figures_and_their_tables_are_written(folder, tmp_path, capsys):
    files = draw(folder, tmp_path / "out")
    assert sorted(files) == [f"minilm_{n}.{s}" for n in ("alpha", "refreshes") for s in ("csv", "svg")]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / n) for n in (
        "minilm_alpha.svg", "minilm_alpha.csv", "minilm_refreshes.svg", "minilm_refreshes.csv")]  # fmt: skip


def test_the_table_of_alpha_holds_the_quantiles_of_every_layer_and_epoch(folder, tmp_path):
    rows = table(draw(folder, tmp_path / "out")["minilm_alpha.csv"])
    assert {r["cell_id"] for r in rows} == {"alpha0"}
    got = {(int(r["epoch"]), r["target"]): {q: float(r[q]) for q in plot_minilm.QUANTILES} for r in rows}
    epochs = held(folder, "alpha0")["epochs"]
    wanted = {
        (e["epoch"], name): {q: stats[q] for q in plot_minilm.QUANTILES}
        for e in epochs
        for name, stats in e["method"]["alpha"].items()
    }
    assert got == wanted
    assert len(rows) == len(wanted) == EPOCHS * len(LAYERS)
    first = [r["target"] for r in rows if r["epoch"] == "1"]  # as drawn: q in the order of blocks, then v
    assert [re.search(r"layer\.(\d+)\..*\.(.)$", t).groups() for t in first] == [
        (str(i), kind) for kind in "qv" for i in (0, 1, 2, 3, 4, 5, 10)
    ]


def test_the_table_of_refreshes_holds_the_counts_by_epoch_and_by_layer(folder, tmp_path):
    rows = table(draw(folder, tmp_path / "out")["minilm_refreshes.csv"])
    assert {r["cell_id"] for r in rows} == {"uora0", "uora1"}
    for cell in ("uora0", "uora1"):
        data = held(folder, cell)
        mine = [r for r in rows if r["cell_id"] == cell]
        layers = {r["target"]: int(r["refreshes"]) for r in mine if r["panel"] == "per_layer"}
        assert layers == data["method"]["refreshes_per_layer"]
        total = {int(r["epoch"]): int(r["refreshes"]) for r in mine if r["panel"] == "cumulative"}
        if cell == "uora0":
            assert total == {e["epoch"]: e["method"]["refreshes"] for e in data["epochs"]}
        else:  # nothing is made up for the epochs that were not recorded
            assert total == {EPOCHS: data["method"]["refreshes"]}
        assert {r["read_from"] for r in mine if r["panel"] == "cumulative"} == {
            "epochs" if cell == "uora0" else "method"
        }
        assert {(r["method"], r["backbone"], r["task"], r["train_split"], r["seed"]) for r in mine} == {
            ("uora", "minilm", data["cell"]["task"]["name"], "train" if cell == "uora0" else "train[:99]", "0")
        }


def test_the_same_records_give_the_same_bytes_whatever_matplotlibrc_says(folder, tmp_path):
    import matplotlib

    first = {n: p.read_bytes() for n, p in draw(folder, tmp_path / "one").items()}
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "svg.hashsalt": None}):
        second = {n: p.read_bytes() for n, p in draw(folder, tmp_path / "two").items()}
        assert matplotlib.rcParams["font.size"] == 20  # what the caller set is back
    assert first == second


def test_a_figure_is_svg_with_text_and_without_a_date(folder, tmp_path):
    files = draw(folder, tmp_path / "out")
    for name, words in (
        ("alpha", ["alpha_lora (held_out, rank 4) · minilm · glue/mrpc · seed 0", "α (no unit)", "10"]),
        ("refreshes", ["uora (rank 256, τ = 1e-05) · minilm · glue/mrpc · seed 0", "refreshes so far (count)",
                       "uora (rank 32, τ = 1e-05) · minilm · glue/rte (train[:99]) · seed 0",
                       "epoch (only the end was recorded)"]),
    ):  # fmt: skip
        text = files[f"minilm_{name}.svg"].read_text("utf-8")
        shown = {"".join(e.itertext()).strip() for e in ElementTree.fromstring(text).iter() if e.tag.endswith("text")}
        assert set(words) <= shown
        assert "dc:date" not in text
        for rule in ("best_dev", "heldout_dev"):
            assert rule not in text


def test_one_epoch_one_layer_and_no_refresh_at_all_can_be_drawn(folder, tmp_path):
    def one(data):
        alpha(data)
        data["epochs"] = data["epochs"][:1]
        data["epochs"][0]["method"]["alpha"] = {LAYERS[0]: spread(1)}

    def shared(data):  # scope=mean: the layers of a pair decide together; and nothing happened
        data["method"] = {"refreshes": 0, "refreshes_per_layer": {"shared": 0}, "redraws": 0}

    edit(LORA, folder, "alpha0", one)
    edit(UORA, folder, "uora0", shared)
    files = draw(folder, tmp_path / "out")
    assert len(table(files["minilm_alpha.csv"])) == 1
    assert "shared" in {r["target"] for r in table(files["minilm_refreshes.csv"])}


@pytest.mark.parametrize(("arguments", "rest"), [([], {"uora0", "uora1"}), (["--figure", "alpha"], set())])
def test_without_records_of_a_method_one_line_and_no_file(folder, tmp_path, capsys, arguments, rest):
    (folder / "alpha0.json").unlink()
    assert plot_minilm.main([str(folder), "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "minilm_alpha" in error
    assert ("--figure refreshes" in error) == (not arguments)
    assert not (tmp_path / "out").exists()


def test_what_is_there_can_be_drawn_alone(folder, tmp_path):
    (folder / "alpha0.json").unlink()
    files = draw(folder, tmp_path / "out", "--figure", "refreshes")
    assert sorted(files) == ["minilm_refreshes.csv", "minilm_refreshes.svg"]


@pytest.mark.parametrize("kind", ["absent", "empty", "broken"])
def test_as_a_command_it_ends_with_exit_2_and_one_line(kind, tmp_path):
    records = tmp_path / "records"
    if kind != "absent":
        records.mkdir()
    if kind == "broken":
        shutil.copy(COMMITTED / f"{LORA}.json", records)
        (records / "broken.json").write_text("{", "utf-8")
    script = str(ROOT / "scripts" / "plot_minilm.py")
    command = [sys.executable, script, str(records), "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()

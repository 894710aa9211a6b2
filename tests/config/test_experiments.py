"""The presets of configs/experiment/: each expands to cells that can be, those of our own to the cells of the committed
records, and docs/experiments.md keeps up with them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.support.presets import NAMES, keys, of
from uora_bench.config import compose
from uora_bench.config.ids import key_of
from uora_bench.execution.dry_run import describe
from uora_bench.grid import expand as grids
from uora_bench.grid import preset, request
from uora_bench.grid.preset import Experiment
from uora_bench.grid.request import GridRequest
from uora_bench.methods import create_method
from uora_bench.report import collect
from uora_bench.tasks import create_task
from uora_bench.util.schema import build

RECORDED = (
    "minilm_holdout",
    "tiny_e2e",
    "tiny_alpaca",
    "tiny_cifar10",
    "tiny_flowers5",
    "tiny_nli",
    "tiny_unadapted",
)


# --- all of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_expands_to_cells_that_can_all_be(name: str) -> None:
    found = of(name)
    assert [item.reason for item in found.items if item.cell is None] == []
    assert found.experiment.title
    assert len({item.key for item in found.items}) == len(found.items)
    for item in found.items:
        assert item.settings is not None
        assert item.settings.experiment_name == name
        assert item.cell is not None
        create_method(item.cell.method, item.cell.seed)
        create_task(item.cell.task)
        # a published table stands on a recipe in every row; a search is what a recipe comes from
        assert item.cell.recipe.name != "none" or name == "quickstart" or found.experiment.search, item.overrides


# Hydra takes its time: one preset per way to say something
@pytest.mark.parametrize("name", ["minilm_glue", "lora_table2", "vera_table4", "tied_lora", "tiny_unadapted"])
def test_the_words_of_a_cell_are_a_whole_command(name: str) -> None:
    item = of(name).items[-1]
    assert item.cell is not None
    assert compose.compose(list(item.overrides)).cell.key == item.cell.key  # Hydra's own composing


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_the_same_cell_twice_are_meant(name: str) -> None:
    # LoRA's restricted setup on MNLI, SST-2 and CoLA is its main one, for five seeds
    assert of(name).duplicates == (15 if name == "lora_table2" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_describes_its_first_and_last_cell(name: str) -> None:
    # a 13B model's random matrices take seconds, and its layout is the 7B one's
    items = [item for item in of(name).items if item.cell is not None and "13b" not in item.cell.backbone.name]
    for item in (items[0], items[-1]):
        assert item.cell is not None
        text = describe(compose.compose(list(item.overrides)))
        assert text.startswith(item.cell.label)
        adapter = re.search(r"^parameters: adapter ([\d,]+) ·", text, flags=re.MULTILINE)
        assert adapter is not None
        assert (adapter[1] == "0") == (item.cell.method.name == "head_only")


# --- records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_a_preset_of_our_own_is_the_grid_of_the_committed_records(name: str, root: Path) -> None:
    files = sorted((root / "results" / "records" / name).glob("*.json"))
    records = [key_of(json.loads(path.read_text("utf-8"))["cell"]) for path in files]
    assert len(set(records)) == len(records) > 1
    assert keys(name) == set(records)


@pytest.mark.parametrize("name", ["minilm_glue", "minilm_uora_budget"])
def test_the_records_of_a_grid_that_still_grows_are_cells_of_it(name: str, root: Path) -> None:
    found = collect.collect(request.read_request([f"experiment={name}"]), root / "results")
    assert any(run.status == "done" for run in found.runs)
    assert found.orphans == ()
    assert all(run.status in ("done", "missing") for run in found.runs)


# --- the page -----------------------------------------------------------------------------------------------------


@cache
def page(root: Path) -> str:
    return (root / "docs" / "experiments.md").read_text("utf-8")


def test_the_page_lists_every_preset_with_its_size(root: Path) -> None:
    listed = {m[1]: (int(m[2]), int(m[3])) for m in
              re.finditer(r"^\| `(\w+)` \|.*\| (\d+) \| (\d+) \|[^|]*\|$", page(root), flags=re.MULTILINE)}  # fmt: skip
    sizes = {n: (len({i.row["seed"] for i in of(n).items}), len(of(n).items)) for n in NAMES}
    assert listed == sizes


def test_the_example_of_the_page_expands_to_what_it_says(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"<!-- example: preset -->\n```yaml\n(.*?)```", page(root), flags=re.DOTALL)
    example = build(Experiment, yaml.safe_load(block), "the example")
    monkeypatch.setattr(preset, "load_experiment", {example.name: example}.__getitem__)
    found = grids.expand_request(GridRequest(example.name, "print"))
    assert f"makes {len(found.items)} cells" in page(root)
    assert [item.overrides for item in found.items if item.after] != []
    assert all(item.cell is not None for item in found.items)
    explained = set(re.findall(r"^\| `(\w+)` \| ", page(root).split("## The keys")[1], flags=re.MULTILINE))
    assert explained == set(Experiment.__dataclass_fields__)

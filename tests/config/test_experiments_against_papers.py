"""The presets of configs/experiment/ against the tables that they rerun: rows, tasks, seeds, parameter counts, starts.

The published rows are read from ``results/paper``; every row of a table is either one of ours (`ROWS`)
or named as not covered (`NOT_HERE`), and nothing else is in a preset but what `ADDED` lists and its note names.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.paths import PAPERS, PUBLISHED
from tests.support.presets import NAMES, cell_of, key, keys, note, of
from tests.support.published_rows import (
    BACKBONES,
    BASE,
    GPT2_LARGE,
    HELD_OUT,
    LARGE,
    MEDIUM,
    RELEASED,
    ROWS,
    SEEDS,
    printed_rows,
    task_of,
)
from uora_bench.config import compose
from uora_bench.config.cell import Cell
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.expand import expand
from uora_bench.methods import create_method
from uora_bench.methods.base import backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.targets import find_targets
from uora_bench.tasks import create_task

SETUPS = "Adapter Pfeiffer (Adpt-P), restricted setup", "Adapter Houlsby (Adpt-H), restricted setup"
PFEIFFER, HOULSBY, LIN = "Adapter Pfeiffer (Adpt-P)", "Adapter Houlsby (Adpt-H)", "Adapter Lin (Adpt-L)"
DROP = "AdapterDrop (Adpt-D)"
# rows without a method or a backbone here -> how the preset's note names them
NOT_HERE: dict[str, dict[str, str]] = {
    "lora_table2": {DROP: "AdapterDrop", SETUPS[0]: "Pfeiffer", SETUPS[1]: "Houlsby", "DeBERTa-XXL": "DeBERTa-XXL"},
    "lora_table3": {LIN: "Lin", HOULSBY: "Houlsby", "FT-Top2": "FT-Top2", "PreLayer": "PreLayer"},
    "vera_table2": {DROP: "AdapterDrop", PFEIFFER: "Pfeiffer", HOULSBY: "Houlsby"},
    "vera_table3": {LIN: "Lin", HOULSBY: "Houlsby", "DyLoRA": "DyLoRA", "AdaLoRA": "AdaLoRA"},
}
# rows of a preset that its table lacks -> what its note says of them
ADDED: dict[str, dict[str, str]] = {
    "vera_table2": {"method=lora backbone=roberta_base task=glue/mnli": "are not in the table"},
    "alpha_lora_glue": {
        f"{words} task=glue/{task}": said
        for task in ("mnli", "sst2", "qnli", "qqp", "rte")
        for words, said in (
            (RELEASED, "Paper: three seeds"),
            (f"{RELEASED} method.mode=fixed method.holdout=0", "Paper: three seeds"),
            (HELD_OUT, "Not in the paper"),
            (f"{HELD_OUT} method.mode=fixed", "Not in the paper"),
        )
    },
}
# Printed counts that are not what the row trains -> what it does train. LoRA on GPT-2: docs/methods/lora.md; whole
# models are printed by nominal size (with a head or a pooler, or rounded up); LoRA-FA: the note of its recipe.
COUNTS_DIFFER = {
    ("LoRA r=4", MEDIUM, "0.35M"): 393_216,
    ("LoRA (re-run by VeRA authors)", MEDIUM, "0.35M"): 393_216,
    ("LoRA r=4", GPT2_LARGE, "0.77M"): 737_280,
    ("LoRA (re-run by VeRA authors)", GPT2_LARGE, "0.77M"): 737_280,
    ("Full fine-tuning", MEDIUM, "354.92M"): 354_823_168,
    ("Full fine-tuning", BASE, "125.0M"): 124_055_040,
    ("Full fine-tuning", BASE, "125M"): 124_055_040,
    ("Full fine-tuning", LARGE, "355.0M"): 354_310_144,
    ("LoRA-FA", LARGE, "3.7M"): 3_538_944,
}


def table(name: str) -> list[dict[str, str]]:
    """The rows of the published table of a preset, without means over tasks."""
    published = preset.load_experiment(name).published
    assert published is not None
    rows = [row for path in sorted(PUBLISHED.glob("*.csv")) for row in printed_rows(path)]
    wanted = (published.paper, published.table)
    return [r for r in rows if (r["paper"], r["table"]) == wanted and r["task"] != "Avg"]


def seeds(words: str, name: str) -> set[str]:
    return {key(f"{words} seed={seed}") for seed in range(SEEDS[name][0])}


def wanted(name: str) -> set[str]:
    """The keys of the cells of every published row that is one of ours."""
    found: set[str] = set()
    for r in table(name):
        words = ROWS[name].get((r["method"], r["backbone"]))
        if words is not None:
            found |= seeds(f"{words} backbone={BACKBONES[r['backbone']]} task={task_of(r['task'])}", name)
    return found


# --- rows, seeds, counts, starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_a_preset_has_the_rows_of_its_table_and_no_other(name: str) -> None:
    expected, added = wanted(name), set()
    for words, said in ADDED.get(name, {}).items():
        added |= seeds(words, name)
        assert said in note(name)
    assert expected <= keys(name)
    assert keys(name) == expected | added
    assert expected - added or name == "alpha_lora_glue"


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_table_is_ours_or_named_as_not_covered(name: str) -> None:
    rows = {(r["method"], r["backbone"]) for r in table(name)}
    assert rows >= set(ROWS[name])
    left, missing = rows - set(ROWS[name]), NOT_HERE.get(name, {})
    for method, backbone in left:
        assert {method, backbone} & set(missing), (method, backbone)
    assert set(missing) <= {word for row in left for word in row}
    for said in missing.values():
        assert said in note(name).split("Not covered:")[1]


@pytest.mark.parametrize("name", SEEDS)
def test_every_row_has_the_presets_seeds(name: str) -> None:
    by_row: dict[str, set[int]] = {}
    for item in of(name).items:
        assert item.cell is not None
        row = " ".join(word for word in item.overrides if not word.startswith("seed="))
        by_row.setdefault(row, set()).add(item.cell.seed)
    assert {frozenset(found) for found in by_row.values()} == {frozenset(range(SEEDS[name][0]))}


@pytest.mark.parametrize(("name", "said"), [(n, source) for n, (_, source) in SEEDS.items() if isinstance(source, str)])
def test_a_number_of_seeds_that_is_not_printed_is_in_the_note(name: str, said: str) -> None:
    assert said in note(name)


@pytest.mark.parametrize("name", [n for n, (_, source) in SEEDS.items() if not isinstance(source, str)])
def test_seeds_are_as_many_as_the_paper_ran(name: str) -> None:
    number, source = SEEDS[name]
    rows = printed_rows(PAPERS / "hyperparameters.csv")
    printed = {r["value"] for r in rows if (r["paper"], r["backbone"], r["task"], r["param"]) == (*source, "seeds")}
    assert {int(re.match(r"\d+", value)[0]) for value in printed} == {number}  # type: ignore[index]


MODELS: dict[str, Any] = {}


def count(cell: Cell) -> int:
    """Parameters that the method trains, head apart, by its closed form on the published architecture."""
    method = create_method(cell.method, cell.seed)
    if cell.backbone.name not in MODELS:
        head = create_task(cell.task).head
        MODELS[cell.backbone.name] = backbones.skeleton(cell.backbone, head)
    model = MODELS[cell.backbone.name]
    sizes = {name: p.numel() for name, p in backbone_parameters(model).items()}
    targets = find_targets(model, cell.backbone, method.config.adapts)
    return int(method.count([t.shape for t in targets], sizes))


def as_printed(number: int, printed: str) -> str:
    """``number`` with the unit and the decimals of ``printed`` (0.3M, 294.9K, 4194304)."""
    figure, unit = re.fullmatch(r"([\d.]+)([KM]?)", printed).groups()  # type: ignore[union-attr]
    return f"{number / {'': 1, 'K': 1e3, 'M': 1e6}[unit]:.{len(figure.partition('.')[2])}f}{unit}"


@pytest.mark.parametrize("name", ROWS)
def test_rows_train_as_many_parameters_as_the_table_prints(name: str) -> None:
    printed = {(r["method"], r["backbone"]): (r["trainable_params"], r["task"]) for r in table(name)}
    for row, words in ROWS[name].items():
        text, task = printed[row]
        text = text.removesuffix(" + classifier")
        if text == "-":
            assert row[0] in ("Head only", "no fine-tuning")
            continue
        found = count(cell_of(f"{words} backbone={BACKBONES[row[1]]} task={task_of(task)}"))
        known = COUNTS_DIFFER.get((*row, text))
        assert found == known or (known is None and as_printed(found, text) == text), (row, text, found)
        assert known is None or as_printed(known, text) != text, f"{row} agrees, and needs no exception"


@pytest.mark.parametrize(
    ("name", "started"), [("lora_table2", {"roberta_base", "roberta_large"}), ("vera_table2", {"roberta_base"})]
)
def test_the_lora_rows_that_the_paper_starts_from_mnli_do_and_no_others(name: str, started: set[str]) -> None:
    by_key = {item.key: item for item in of(name).items}
    found: set[tuple[str, str, int]] = set()
    for item in of(name).items:
        if item.after is None:
            continue
        cell, first = item.cell, by_key[item.after].cell
        assert cell is not None
        assert first is not None
        assert (cell.method.name, cell.recipe.name) == ("lora", f"lora/{cell.backbone.name}")
        assert first.task.name == "glue/mnli"
        assert (first.method, first.backbone, first.seed) == (cell.method, cell.backbone, cell.seed)
        assert by_key[item.after].after is None
        found.add((cell.backbone.name, cell.task.name, cell.seed))
    tasks = ("glue/mrpc", "glue/rte", "glue/stsb")
    assert found == {(backbone, task, seed) for backbone in started for task in tasks for seed in range(5)}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("lora_table2", "vera_table2")])
def test_no_other_preset_starts_a_cell_from_another(name: str) -> None:
    assert [item.overrides for item in of(name).items if item.after] == []


def test_a_start_that_was_left_out_on_the_command_line_is_named() -> None:
    words = ["experiment=lora_table2", "method=lora", "backbone=roberta_base", "seed=0"]
    with pytest.raises(UserError, match=r"the row it starts from is not in the grid: .*task=glue/mnli"):
        expand([*words, "task=glue/rte"])
    first, second = expand([*words, "task=glue/mnli,glue/rte"]).items
    assert second.after == first.key


# --- UORA and Tied-LoRA, whose tables nobody could read -------------------------------------------------------------


METHODS = ("uora", "vera", "lora")


def adapter(name: str, method: str, backbone: str) -> set[int]:
    cells = [item.cell for item in of(name).items if item.cell is not None]
    return {count(c) for c in cells if (c.method.name, c.backbone.name, c.seed) == (method, backbone, 0)}


@pytest.mark.parametrize("name", ["uora_glue", "uora_e2e", "uora_instruct", "uora_vision"])
def test_uoras_presets_pair_it_with_vera_and_lora_on_veras_cells(name: str) -> None:
    rerun = {"glue": "vera_table2", "e2e": "vera_table3", "instruct": "vera_table4", "vision": "vera_table5"}
    theirs = [item.cell for item in of(rerun[name.partition("_")[2]]).items if item.cell is not None]
    cells = [item.cell for item in of(name).items if item.cell is not None]
    by_method = {m: {(c.backbone.name, c.task.name, c.seed) for c in cells if c.method.name == m} for m in METHODS}
    assert len({frozenset(triples) for triples in by_method.values()}) == 1
    assert len(cells) == sum(map(len, by_method.values()))
    vera = {c.key for c in theirs if c.method.name == "vera"}
    assert {c.key for c in cells if c.method.name == "vera"} == vera
    assert "found in no readable source" in note(name)


@pytest.mark.parametrize(
    ("name", "task", "backbone"),
    [("uora_glue", "RoBERTa (GLUE)", "roberta_base"), ("uora_glue", "RoBERTa (GLUE)", "roberta_large"),
     ("uora_e2e", "GPT-2 (E2E)", "gpt2_medium"), ("uora_e2e", "GPT-2 (E2E)", "gpt2_large")],
)  # fmt: skip
def test_uora_trains_about_as_many_times_fewer_parameters_than_lora_as_claimed(
    name: str, task: str, backbone: str
) -> None:
    (claim,) = [r for r in table(name) if r["backbone"] == task]
    assert claim["metric"] == "times fewer trainable parameters than LoRA"
    (uora,), (lora,) = adapter(name, "uora", backbone), adapter(name, "lora", backbone)
    assert lora / uora == pytest.approx(float(claim["value"]), rel=0.02)
    assert f"{claim['value']} times fewer than LoRA" in note(name)


def test_tied_lora_has_the_papers_ranks_and_counts() -> None:
    items = [item for item in of("tied_lora").items if item.cell is not None]
    settings = printed_rows(PAPERS / "hyperparameters.csv")
    rows = {r["param"]: r["value"] for r in settings if r["paper"] == "Tied-LoRA"}
    ranks = [int(r) for r in rows["ranks tried"].split(", ")]
    grids = {(item.cell.method.variant, item.cell.method.rank) for item in items if item.cell}
    variants = ("lora", "vera", *(f"tl{n}" for n in range(1, 7)))
    assert grids == {(variant, rank) for variant in variants for rank in (2, 8, 32, 128)} | {("lora", 64)}
    assert {rank for _, rank in grids} <= set(ranks)
    words = "method=tied_lora backbone=llama2_7b task=qa/squad method.rank=8"
    counts = {v: count(cell_of(f"{words} method.variant={v}")) for v in ("lora", "tl5", "tl6")}
    share = counts["tl6"] / counts["lora"]
    assert (share, f"{share:.1%}") == (pytest.approx(1 / 32 + 3 / 32 + 1 / 16384), "12.5%")
    printed = {r["method"]: r for r in table("tied_lora") if r["task"] == "parameter count"}
    assert counts["lora"] == float(printed["LoRA r=8"]["value"])
    assert as_printed(counts["lora"], "4.2M") == printed["LoRA r=8"]["trainable_params"]
    assert counts["tl5"] == float(printed["Tied-LoRA TL5 r=8"]["value"])
    assert str(counts["tl6"]) == printed["Tied-LoRA TL6 r=8"]["trainable_params"]
    for task in {r["task"].split()[0] for r in table("tied_lora")} - {"parameter"}:
        assert task in note("tied_lora")


def test_the_toolkits_defaults_are_a_recipe_of_their_own() -> None:
    cell = cell_of("method=tied_lora task=qa/squad backbone=llama2_7b recipe=tied_lora/llama2_7b_toolkit")
    assert "not the paper" in cell.recipe.note
    trainer = cell.trainer
    assert (trainer.lr_adapter, trainer.weight_decay_adapter, trainer.betas) == (1e-4, 0.01, (0.9, 0.98))
    assert (trainer.lr_scheduler, trainer.warmup_steps, trainer.batch_size) == ("cosine", 50, 128)
    assert (trainer.max_steps, trainer.patience_every, trainer.patience, trainer.max_grad_norm) == (20000, 200, 10, 1.0)
    assert cell.method.gain == pytest.approx((2 / (32 + 4096)) ** 0.5, rel=1e-3)  # Xavier, normal
    assert (cell.method.rank, cell.method.start, cell.method.dropout) == (32, "B", 0.0)
    assert (cell.task.options.max_length, cell.task.options.loss_on_prompt) == (2048, False)


def test_sources_of_a_published_row_are_the_recipes() -> None:
    sources = compose.compose(list(of("vera_table2").items[0].overrides)).sources
    assert sources["trainer.lr_adapter"] == "table8"
    assert compose.COMMAND_LINE not in {v for k, v in sources.items() if k.startswith(("trainer.", "method."))}

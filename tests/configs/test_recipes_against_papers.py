"""The recipes hold the settings that the LoRA and VeRA papers print for RoBERTa on GLUE, row by row.

The printed values are read from the collected table of the papers (``papers/hyperparameters.csv``); rows that describe
released scripts instead of a paper's table are left out. Needs neither torch nor the package.
"""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import yaml

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipe"
ALL_RECIPES = sorted(p.relative_to(RECIPES).with_suffix("").as_posix() for p in RECIPES.rglob("*.yaml"))

# recipe -> (paper, method, backbone) in the table, arXiv id, number of settings that the paper prints for it
PRINTED = {
    "lora/roberta_base": (("LoRA", "LoRA", "RoBERTa-base"), "2106.09685", 72),
    "lora/roberta_large": (("LoRA", "LoRA", "RoBERTa-large"), "2106.09685", 72),
    "lora/roberta_large_restricted": (("LoRA", "LoRA, restricted setup", "RoBERTa-large"), "2106.09685", 56),
    "vera/roberta_base": (("VeRA", "VeRA", "RoBERTa-base"), "2310.11454", 54),
    "vera/roberta_large": (("VeRA", "VeRA", "RoBERTa-large"), "2310.11454", 54),
}
TASKS = {"MNLI": "mnli", "SST-2": "sst2", "MRPC": "mrpc", "CoLA": "cola", "QNLI": "qnli", "QQP": "qqp", "RTE": "rte"}
TASKS["STS-B"] = "stsb"
KEYS = {
    "rank": ["method.rank"],
    "lora_alpha": ["method.alpha"],
    "d_init": ["method.d_initial"],
    "max_seq_len": ["task.max_length"],
    "epochs": ["trainer.epochs"],
    "batch": ["trainer.batch_size"],
    "learning_rate": ["trainer.lr_adapter", "trainer.lr_head"],  # LoRA prints one rate for both
    "lr_adapter": ["trainer.lr_adapter"],
    "lr_head": ["trainer.lr_head"],
    "warmup_ratio": ["trainer.warmup_ratio"],
    "lr_schedule": ["trainer.schedule"],
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def printed(shared: Path, paper: str, method: str, backbone: str) -> dict[tuple[str, str], float | str]:
    """(task, recipe key) -> printed value; rows for all of GLUE go to every task, batch is per GPU times GPUs."""
    with (shared / "papers" / "hyperparameters.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    rows = [r for r in table if (r["paper"], r["method"], r["backbone"]) == (paper, method, backbone)]
    everywhere = {r["param"]: r["value"] for r in rows if r["task"].startswith("GLUE (all")}
    values: dict[tuple[str, str], float | str] = {}
    for task in {r["task"] for r in rows} & set(TASKS):
        row = everywhere | {r["param"]: r["value"] for r in rows if r["task"] == task}
        per_gpu, gpus = row.get("batch_size_per_gpu", row.get("batch_size")), row.get("num_gpus", "1")
        row["batch"] = str(int(per_gpu) * int(gpus))
        for param in set(KEYS) & set(row):
            for key in KEYS[param]:
                values[f"glue/{TASKS[task]}", key] = row[param] if key == "trainer.schedule" else float(row[param])
    return values


def mismatches(recipe: dict[str, Any], values: dict[tuple[str, str], float | str], arxiv: str) -> list[str]:
    """What the recipe does not say as printed, or attributes to something other than the paper."""
    found = []
    for (task, key), value in sorted(values.items()):
        entry = (recipe["common"] | recipe["per_task"].get(task, {})).get(key, {})
        if entry.get("value") != value:
            found.append(f"{task} {key}: printed {value}, recipe {entry.get('value')!r}")
        elif arxiv not in recipe["sources"].get(entry["source"], ""):
            found.append(f"{task} {key}: source '{entry['source']}' is not arXiv {arxiv}")
    return found


@pytest.mark.parametrize("name", PRINTED)
def test_recipe_holds_every_printed_setting(name: str, shared: Path) -> None:
    rows, arxiv, expected = PRINTED[name]
    values = printed(shared, *rows)
    assert len(values) == expected
    assert mismatches(read(name), values, arxiv) == []


@pytest.mark.parametrize("name", PRINTED)
def test_comparison_notices_every_single_deviation(name: str, shared: Path) -> None:
    rows, arxiv, _ = PRINTED[name]
    values, recipe = printed(shared, *rows), read(name)
    for place, value in values.items():
        wrong = values | {place: "cosine" if isinstance(value, str) else value * 2}
        assert len(mismatches(recipe, wrong, arxiv)) == 1, place
    relabelled = copy.deepcopy(recipe)
    relabelled["per_task"]["glue/rte"]["trainer.epochs"]["source"] = "own"
    assert len(mismatches(relabelled, values, arxiv)) == 1


@pytest.mark.parametrize("name", ALL_RECIPES)
def test_every_value_has_a_declared_source(name: str) -> None:
    recipe = read(name)
    assert recipe["name"] == name
    assert recipe["status"] in ("published", "inferred", "own")
    entries = [e for block in (recipe["common"], *recipe["per_task"].values()) for e in block.values()]
    assert [e for e in entries if set(e) != {"value", "source"}] == []
    texts = [e["value"] for e in entries if isinstance(e["value"], str)]
    assert [t for t in texts if t[:1].isdigit()] == []  # YAML reads 4e-3 as text, 4.0e-3 as a number
    assert {e["source"] for e in entries} <= set(recipe["sources"])

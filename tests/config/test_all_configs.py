"""All of configs/, walked: everything composes, converts strictly and counts, and every file can be chosen.

Composing with Hydra takes a third of a second, and there are a thousand pairs: the walk puts the files together itself,
and one test holds that against Hydra.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.support.architectures import HEADS
from tests.support.architectures import skeleton as plain_skeleton
from uora_bench.config import compose as composing
from uora_bench.config import groups as group_files
from uora_bench.config import registry
from uora_bench.config.cell import BackboneConfig, Cell
from uora_bench.config.compose import Composed, leaves, recipe_values
from uora_bench.config.preflight import check_target_modules, preflight
from uora_bench.contract.models import backbone_config, make_method
from uora_bench.errors import ImpossiblePair, UserError
from uora_bench.execution.dry_run import describe
from uora_bench.methods import create_method
from uora_bench.methods.base import AdapterLayer, backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets
from uora_bench.tasks import create_task

CONFIGS = registry.configs_dir()
METHODS, TASKS, BACKBONES = (registry.choices(group) for group in ("method", "task", "backbone"))
BACKBONES.remove(registry.ANY_MODEL)  # described by a model of the user's own: tests/models/test_any_model.py
RECIPES = [name for name in registry.choices("recipe") if name != "none" and "/default_" not in name]
PATH = [f"task.path={Path(__file__).with_name('one_row.csv')}"]
WORDS = {"text/local": PATH, "text/generate": PATH}  # what a task needs to be asked for
NO_BIAS = ("llama", "smollm", "tiny_llama")  # families without a bias anywhere


def composed_by_hydra(groups: dict[str, str]) -> dict[str, Any]:
    return group_files._compose([f"{group}='{name}'" for group, name in groups.items()])


@functools.cache
def file(group: str, name: str) -> dict[str, Any]:
    """A file of configs/ that composes nothing itself."""
    text = (CONFIGS / group / f"{name}.yaml").read_text("utf-8")
    assert "${" not in text
    assert "defaults:" not in text
    return yaml.safe_load(text)


def kind_of(task: str) -> str:
    """The kind of backbone that a task wants: said in its file, or in one that it starts from."""
    (kind,) = kinds(CONFIGS / "task" / f"{task}.yaml")
    return kind


def kinds(path: Path) -> set[str]:
    """``kind`` of a file; where it says none, of those that it starts from."""
    own = yaml.safe_load(path.read_text("utf-8"))
    if "kind" in own:
        return {own["kind"]}
    parts = [str(d).removesuffix("@_here_") for d in own.get("defaults", ()) if str(d).endswith("@_here_")]
    files = [CONFIGS / f"{part.lstrip('/')}.yaml" for part in parts]
    return {kind for one in files for kind in kinds(one)}


KIND = {name: file("backbone", name)["kind"] for name in BACKBONES}
TASK_KIND = {name: kind_of(name) for name in TASKS}


def chosen(*words: str) -> tuple[Cell, Composed]:
    composed = composing.compose(list(words))
    preflight(composed.cell)
    return composed.cell, composed


def owners(recipe: str) -> tuple[str, str]:
    """Method and backbone of a recipe; a variant has a word more: ``lora/roberta_large_restricted``."""
    method, _, backbone = recipe.partition("/")
    return method, backbone if backbone in BACKBONES else backbone.rpartition("_")[0]


def tasks_of(recipe: str) -> list[str]:
    """The tasks that a recipe names, then one that it does not, of the kind of its backbone."""
    named = list(file("recipe", recipe)["per_task"])
    kind = KIND[owners(recipe)[1]]
    others = [t for t in TASKS if TASK_KIND[t] == kind and t not in named]
    return [*(t for t in named if t in TASKS), *others[:1]]


def values(recipe: str, task: str) -> dict[str, Any]:
    """What a recipe sets for a task, by the keys that the configuration has."""
    found = recipe_values(file("recipe", recipe), task)
    return {composing.own_key(key, recipe.split("/")[0], ""): entry["value"] for key, entry in found.items()}


# --- putting together ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [n if n % 5 == 0 else pytest.param(n, marks=pytest.mark.slow) for n in range(len(TASKS))]
)
def test_nodes_of_groups_that_were_composed_apart_are_those_of_one_composition(number: int) -> None:
    groups = {"method": METHODS[number % len(METHODS)], "task": TASKS[number], "tracker": "none"}
    if number % 2 == 0:
        groups["backbone"] = BACKBONES[number % len(BACKBONES)]
    assert group_files.compose_groups(groups) == composed_by_hydra(groups)


def test_no_file_of_a_group_looks_into_another_group() -> None:
    # what lets the nodes be kept: see uora_bench.config.groups
    for group in group_files.NODES:
        for path in (registry.configs_dir() / group).rglob("*.yaml"):
            text = path.read_text("utf-8")
            assert "${" not in text, path
            overrides = re.findall(r"^\s*- override (\S+):", text, flags=re.MULTILINE)
            assert set(overrides) <= ({"/backbone@_global_.backbone"} if group == "task" else set()), path


@pytest.mark.parametrize(
    ("task", "backbone"),
    [
        pytest.param(task, backbone, id=f"{task}-{backbone}")
        for task in TASKS
        for backbone in BACKBONES
        if KIND[backbone] == TASK_KIND[task]
    ],
)
def test_every_method_composes_and_converts_on_every_task_and_backbone_of_its_kind(task: str, backbone: str) -> None:
    for method in METHODS:
        words = [f"method={method}", f"task={task}", f"backbone={backbone}", *WORDS.get(task, [])]
        words += [] if counted(backbone) else ["backbone.path=mine"]
        if method == "head_only" and not file("backbone", backbone)["head"]:
            with pytest.raises(ImpossiblePair, match="no task head"):
                chosen(*words)
            continue
        cell, _ = chosen(*words)
        assert (cell.method.name, cell.task.name, cell.backbone.name) == (method, task, backbone)
        built = create_method(cell.method, cell.seed)
        check_target_modules(cell.backbone, built.config.adapts)
        family = create_task(cell.task)
        assert family.planned_head()[0].auto_class == HEADS[cell.backbone.kind].auto_class
        assert re.fullmatch("[0-9a-f]{16}", cell.cell_id("data"))


@pytest.mark.parametrize("task", TASKS)
def test_the_default_backbone_of_a_task_is_of_its_kind(task: str) -> None:
    name = group_files.compose_groups({"task": task})["backbone"]["name"]
    assert KIND[name] == TASK_KIND[task]
    assert name == "roberta_base" or not task.startswith("glue/")
    assert name.startswith("tiny_") == task.startswith("tiny/")
    assert group_files.compose_groups({"task": task})["task"]["kind"] == TASK_KIND[task]


def test_a_pair_of_two_kinds_is_refused() -> None:
    for kind, task in {kind: task for task, kind in TASK_KIND.items()}.items():
        for backbone in BACKBONES:
            if KIND[backbone] != kind:
                with pytest.raises(UserError, match="choose another backbone="):
                    chosen("method=lora", f"task={task}", f"backbone={backbone}", "recipe=none")


# --- recipes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_belongs_to_a_method_and_a_backbone(name: str) -> None:
    method, backbone = owners(name)
    assert method in METHODS
    assert backbone in BACKBONES
    if name != f"{method}/{backbone}":  # chosen by nobody but the user: the file says how
        assert f"recipe={name}" in (CONFIGS / "recipe" / f"{name}.yaml").read_text("utf-8")
    keys = {key for t in ("", *file("recipe", name)["per_task"]) for key in values(name, t)}
    groups = {key.split(".")[0] for key in keys - {"backbone.quantisation"}}  # a recipe never chooses other weights
    assert groups <= {"method", "task", "trainer"}


NAMED = sorted({task for name in RECIPES for task in file("recipe", name)["per_task"]})


@pytest.mark.parametrize("task", NAMED)
def test_every_task_that_a_recipe_names_exists(task: str) -> None:
    assert task in TASKS
    for recipe in RECIPES:
        if task in file("recipe", recipe)["per_task"]:
            assert TASK_KIND[task] == KIND[owners(recipe)[1]], recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_of_a_recipe_arrives_in_the_cell_of_each_of_its_tasks(name: str) -> None:
    method, backbone = owners(name)
    tasks = tasks_of(name)
    assert tasks
    for task in tasks:
        words = [f"method={method}", f"backbone={backbone}", f"task={task}", f"recipe={name}"]
        cell, composed = chosen(*words, *WORDS.get(task, []))
        assert cell.recipe.name == name
        found = leaves(composed.values)
        for key, value in values(name, task).items():
            assert found[key] == value, key
        assert composed.sources.keys() >= values(name, task).keys()
        create_method(cell.method, 0)
        create_task(cell.task)


# --- counts -------------------------------------------------------------------------------------------------------


MODELS: dict[str, Any] = {}


def model_of(backbone: str, head: HeadSpec) -> Any:
    """A backbone with a head on the meta device, made once: `restored` puts it back after a method was on it."""
    if head == HEADS[KIND[backbone]]:
        return plain_skeleton(backbone)
    key = f"{backbone} {head}"
    if key not in MODELS:
        MODELS[key] = backbones.skeleton(backbone_config(backbone), head)
    return MODELS[key]


def restored(model: Any) -> Any:
    """``model`` without the adapters and what came with them."""
    for path, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, AdapterLayer)]:
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.base)
    for name in [n for n, _ in model.named_children() if n in ("projection_pairs", "tied_factors")]:
        delattr(model, name)
    assert not [n for n, m in model.named_modules() if type(m).__module__.startswith("uora_bench")]
    return model


def counted(backbone: str) -> bool:
    """Whether the architecture is bundled or installed; a model of the user's own has neither."""
    own = file("backbone", backbone)
    return own["architecture"] is not None or own["package"] is not None


def test_a_backbone_without_an_architecture_asks_for_a_folder() -> None:
    for backbone in (b for b in BACKBONES if not counted(b)):
        with pytest.raises(UserError, match=re.escape("backbone.path=")):
            backbones.skeleton(backbone_config(backbone), HEADS[KIND[backbone]])


def quick(backbone: str) -> Any:
    """The bundled ones are of every kind, and the dry run of every recipe counts on its backbone."""
    return backbone if backbone.startswith("tiny_") else pytest.param(backbone, marks=pytest.mark.slow)


@pytest.mark.parametrize("backbone", [quick(b) for b in BACKBONES if counted(b)])
def test_every_method_counts_on_every_backbone(backbone: str) -> None:
    """The closed form of each method, with its defaults, is what the model trains: as a run checks at its start."""
    config, model = backbone_config(backbone), plain_skeleton(backbone)
    sizes = {name: p.numel() for name, p in backbone_parameters(model).items()}
    known = {m.kind: m for m in (t.shape for t in find_targets(model, config, tuple(config.target_modules.modules)))}
    assert known.keys() == config.target_modules.modules.keys()
    counts: dict[str, int] = {}
    for name in METHODS:
        fused = name == "peft" and backbone.removeprefix("tiny_").startswith("gpt2")
        method = make_method(name, **({"target_modules": ["qkv"]} if fused else {}))
        place = copy.deepcopy(model) if name == "peft" else model
        targets = find_targets(place, config, method.config.adapts)
        expected = method.count([t.shape for t in targets], sizes)
        if name == "bitfit" and backbone.startswith(NO_BIAS):
            with pytest.raises(UserError, match="has none"):
                method.inject(place, targets, torch.Generator())
            continue
        method.inject(place, targets, torch.Generator().manual_seed(0))
        trained = sum(p.numel() for p in place.parameters() if p.requires_grad)
        assert trained == sum(p.numel() for p in method.parameters())
        counts[name] = trained
        assert expected in (trained, None), name
        restored(model)
    assert counts["head_only"] == 0
    assert counts["full"] == sum(sizes.values())
    assert counts["uora"] < counts["lora"] < counts["full"]
    assert counts["lora_fa"] < counts["lora"] < counts["alpha_lora"]
    assert counts.keys() | {"bitfit"} == set(METHODS)
    assert ("bitfit" in counts) != backbone.startswith(NO_BIAS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_dry_run_of_every_recipe_counts(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where no model is known yet
    method, backbone = owners(name)
    task = tasks_of(name)[0]
    words = [f"method={method}", f"backbone={backbone}", f"task={task}", f"recipe={name}"]
    cell, composed = chosen(*words, *WORDS.get(task, []))
    model = model_of(backbone, create_task(cell.task).planned_head()[0])
    place = copy.deepcopy(model) if method == "peft" else model
    monkeypatch.setattr(backbones, "skeleton", lambda *_: place)
    try:
        text = describe(composed)
    finally:
        restored(model)
    assert text.startswith(cell.label)
    if method != "peft":
        assert describe(composed) == text  # of the model that is known now
    adapter, head, total = (int(n.replace(",", "")) for n in re.findall(r"(?:adapter|head|total) ([\d,]+)", text)[-3:])
    assert (adapter > 0) == (method != "head_only")
    assert (head > 0) == (KIND[backbone] != "causal_lm")
    assert adapter + head <= total
    for key, label in composed.sources.items():
        assert re.search(rf"^  {re.escape(key)} .*\[{re.escape(label)}\]$", text, flags=re.MULTILINE), key


# --- files --------------------------------------------------------------------------------------------------------


def test_every_file_can_be_chosen_or_is_part_of_one_that_can() -> None:
    files = {p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*") if p.is_file()}
    groups = (*registry.GROUPS, "experiment", "launcher", "theory")  # of grids, and of uora_bench.theory
    choices = {f"{group}/{name}.yaml" for group in groups for name in registry.choices(group)}
    assert choices <= files
    parts = {f for f in files - choices if Path(f).name.startswith("_")}
    assert files - choices - parts == {"config.yaml"}
    text = "\n".join((CONFIGS / c).read_text("utf-8") for c in choices)
    assert [p for p in parts if f"/{p.removesuffix('.yaml')}@_here_" not in text] == []


@pytest.mark.parametrize(
    ("group", "name"),
    [(g, n) for g in ("method", "task", "backbone", "recipe", "tracker") for n in registry.choices(g)],
)
def test_a_file_has_the_name_that_chooses_it(group: str, name: str) -> None:
    found = group_files.compose_groups({"task": name})["task"]["name"] if group == "task" else file(group, name)["name"]
    assert found == name


def test_the_page_on_backbones_names_every_one_with_its_recipes(root: Path) -> None:
    text = (root / "docs" / "backbones.md").read_text("utf-8")
    models = text.split("## What the head of an encoder reads")[0]
    rows = {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", models, flags=re.MULTILINE)}
    real = [b for b in BACKBONES if not b.startswith("tiny_") and counted(b)]
    assert rows.keys() >= set(real)
    assert rows.keys() <= set(BACKBONES)
    for backbone in real:
        own, row = file("backbone", backbone), rows[backbone]
        millions = plain_skeleton(backbone).num_parameters() / 1e6
        assert f"| {millions:,.1f}M |" in row, (backbone, millions)
        assert (own["id"] or f"`make {own['converted_by']}`") in row
        assert f"| {', '.join(own['target_modules']['default'])} |" in row
        status = {n: file("recipe", n)["status"] for n in RECIPES if owners(n)[1] == backbone}
        listed = dict(re.findall(r"([a-z_]+) \((published|inferred|own)\)", row))
        assert listed == {n.split("/")[0]: s for n, s in status.items() if n.endswith(f"/{backbone}")}, backbone
        assert [n for n in status if not n.endswith(f"/{backbone}") and f"`{n}`" not in text] == []


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_says_all_that_a_user_may_set(name: str) -> None:
    said = {f.name for f in dataclasses.fields(BackboneConfig)} - {
        "sha256",
        "fresh",
        "weights_seen",
        "converted_by",
        "pooling",  # of encoders with a pooler
    }  # what a user may not set
    assert set(file("backbone", name)) - {"sha256", "converted_by", "pooling"} == said

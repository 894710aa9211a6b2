"""The command line to a cell: order of the layers, one line for every kind of typo, and what the cell's id covers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import hydra
import pytest

from uora_bench.config import registry
from uora_bench.config.cell import Cell, Settings
from uora_bench.config.compose import COMMAND_LINE, compose
from uora_bench.config.preflight import preflight
from uora_bench.errors import UserError

METHODS = registry.choices("method")
PRINT = "data-of-the-test"


@functools.cache
def cell_of(*words: str) -> Cell:
    return compose(list(words)).cell


def settings_of(*words: str) -> Settings:
    return compose(list(words)).settings


def mistake(*words: str) -> str:
    """The one line that ``words`` are refused with."""

    def convert() -> None:
        composed = compose(list(words))
        preflight(composed.cell)
        Settings.from_config(composed.values)

    with pytest.raises(UserError) as caught:
        convert()
    assert "\n" not in str(caught.value).strip()
    return str(caught.value)


# --- layers -------------------------------------------------------------------------------------------------------


def test_default_then_recipe_then_its_task_then_the_command_line() -> None:
    trainer = {
        "default": compose(["method=vera", "task=glue/rte", "recipe=none"]),
        "common": compose(["method=vera", "task=glue/wnli"]),  # not in the recipe's table
        "per_task": compose(["method=vera", "task=glue/rte"]),
        "line": compose(["method=vera", "task=glue/rte", "trainer.epochs=7"]),
    }
    epochs = {k: v.values["trainer"]["epochs"] for k, v in trainer.items()}
    assert epochs == {"default": 3, "common": 25, "per_task": 160, "line": 7}
    rates = {k: v.values["trainer"]["lr_adapter"] for k, v in trainer.items()}
    assert rates == {"default": 1e-3, "common": 1e-2, "per_task": 4e-3, "line": 4e-3}
    sources = {k: v.sources.get("trainer.epochs") for k, v in trainer.items()}
    assert sources == {"default": None, "common": "own", "per_task": "table8", "line": COMMAND_LINE}
    assert trainer["per_task"].values["method"]["rank"] == 1024
    assert trainer["per_task"].values["task"]["max_length"] == 512


def test_the_legend_explains_every_label_in_use_and_no_other() -> None:
    composed = compose(["method=lora", "task=glue/mrpc"])
    assert set(composed.legend) == set(composed.sources.values())
    assert "2106.09685" in composed.legend["table9"]


def test_a_recipe_is_chosen_by_method_and_backbone_and_can_be_turned_off() -> None:
    assert compose(["method=lora", "task=glue/rte"]).values["recipe"]["name"] == "lora/roberta_base"
    words = ["method=lora", "task=glue/rte", "backbone=roberta_large"]
    assert compose(words).values["recipe"]["name"] == "lora/roberta_large"
    chosen = compose([*words, "recipe=lora/roberta_large_restricted"])
    assert chosen.values["trainer"]["batch_size"] == 4
    none = compose([*words, "recipe=none"])
    assert none.sources == {}
    assert none.values["method"]["rank"] == 8


def test_the_order_of_the_words_does_not_matter_and_the_last_of_a_key_wins() -> None:
    words = ["trainer.epochs=7", "task=glue/rte", "method=vera"]
    assert compose(words) == compose(words[::-1])
    assert compose(["seed=1", "seed=2"]).values["seed"] == 2


def test_a_long_command_line_composes_the_defaults_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = hydra.compose, []
    monkeypatch.setattr(hydra, "compose", lambda *a, **k: calls.append(a) or whole(*a, **k))
    compose(["method=lora", *(f"trainer.{k}=1" for k in ("epochs", "max_steps", "batch_size", "lr_head"))])
    assert len(calls) <= 2  # the defaults, for their keys, and the asked for


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/a b/c", "/a b/[x], y", "/a/(b)", "rel/x=y", "C:\\x y", "/ü/日本", "2024", "1e5", "/a/b c's"]
)
def test_a_path_is_taken_as_it_stands(path: str) -> None:
    assert settings_of(f"data.root={path}").data_root == path


def test_a_split_with_brackets_and_a_list_need_no_quotes() -> None:
    cell = cell_of("task.splits.train=train[:80%]", "method.target_modules=[q,k]")
    assert cell.task.splits.train == "train[:80%]"
    assert cell.method.target_modules == ("q", "k")


@pytest.mark.parametrize("cell_id", ["17175e3302008168", "1234567890123456", "0000000000000012", "abcdef0123456789"])
def test_a_cell_id_that_looks_like_a_number_stays_text(cell_id: str) -> None:
    assert settings_of(f"init_from={cell_id}").init_from == cell_id
    assert settings_of(f"experiment_name={cell_id}").experiment_name == cell_id


def test_a_number_is_converted_to_the_type_of_its_default_only() -> None:
    cell = cell_of("trainer.lr_head=1", "trainer.max_grad_norm=2", "trainer.max_steps=5")
    assert (cell.trainer.lr_head, cell.trainer.max_grad_norm, cell.trainer.max_steps) == (1.0, 2.0, 5)


def test_the_data_folder_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UORA_DATA_DIR", "/some where")
    assert settings_of().data_root == "/some where"
    assert settings_of("data.root=/other").data_root == "/other"


# --- mistakes: one line with the nearest valid name ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("sed=1", ["unknown key 'sed'", "'seed'"]),
        ("methd=lora", ["'methd'", "'method'"]),
        ("trainer.epohs=1", ["'trainer.epohs'", "'trainer.epochs'"]),
        ("epoch=1", ["'epoch'", "'trainer.epochs'"]),
        ("method.rnak=4", ["'method.rnak'", "'method.rank'"]),
        ("trainer.rank=4", ["'trainer.rank'", "'method.rank'"]),
        ("data.rot=/x", ["'data.rot'", "'data.root'"]),
        ("hydra.run.dir=x", ["'hydra.run.dir'", "runs.dir="]),
        ("trainer.tasks=1", ["unknown key 'trainer.tasks'", "'trainer.betas'"]),  # never the group task
        ("method=lroa", ["unknown method 'lroa'", "'lora'"]),
        ("task=glue/mprc", ["unknown task", "'glue/mrpc'"]),
        ("task=glue/_family", ["unknown task"]),
        ("backbone=roberta-base", ["unknown backbone", "'roberta_base'"]),
        ("tracker=wand", ["unknown tracker", "'wandb'"]),
        ("recipe=lora/roberta_bas", ["unknown recipe", "'lora/roberta_base'"]),
        (
            "trainer.lr_scheduler=linar",
            ["trainer.lr_scheduler='linar'", "linear, cosine, constant", "did you mean 'linear'?"],
        ),
        ("trainer.precision=bfloat", ["did you mean 'bfloat16'?"]),
        ("tracker.mode=onlin", ["did you mean 'online'?"]),
        ("+methd=lora", ["'+methd=lora'", "drop the '+'", "'method'"]),
        ("+method=lora", ["drop the '+'"]),
        ("++x=1", ["'++x=1'", "drop"]),
        ("~method", ["'~method'"]),
        ("~trainer.epochs=3", ["drop the '~'"]),
        ("--dry_run=true", ["--dry_run", "'dry_run'"]),
        ("seed=1,2", ["one cell", "uora-bench sweep seed=1,2"]),
        ("method=lora,vera", ["one cell", "uora-bench sweep method=lora,vera"]),
        ("seed", ["'seed' needs a value", "seed=…"]),
        ("trainer.epoch", ["key=value", "'trainer.epochs'"]),
        ("=3", ["unknown key ''"]),
        ("method=", ["unknown method ''"]),
        ("seed=one", ["seed='one'", "whole number"]),
        ("seed=1.5", ["seed=1.5", "whole number"]),
        ("method.target_modules=[[1],query]", ["method.target_modules[0]=[1] must be text"]),
        ("seed=null", ["seed", "whole number"]),
        ("seed=-1", ["seed=-1"]),
        ("trainer.epochs=two", ["trainer.epochs='two'", "whole number"]),
        ("trainer.epochs=0", ["trainer.epochs=0", "at least 1"]),
        ("trainer.max_steps=2.5", ["trainer.max_steps=2.5", "whole number"]),
        ("trainer.betas=[0.9]", ["trainer.betas"]),
        ("trainer.betas=0.9", ["trainer.betas", "list"]),
        ("trainer.lr_head=fast", ["trainer.lr_head='fast'", "number"]),
        ("trainer.lr_head=-1", ["trainer.lr_head=-1", "at least 0"]),
        ("trainer.lr_head=nan", ["trainer.lr_head"]),
        ("trainer.lr_adapter=inf", ["trainer.lr_adapter"]),
        ("force=1", ["force=1", "true or false"]),
        ("force=yes", ["force='yes'", "true or false"]),
        ("force=null", ["force"]),
        ("data={a:1}", ["data"]),
        ("data=/x", ["data"]),
        ("data.root=[x]", ["data.root"]),
        ("results.dir=null", ["results.dir"]),
        ("experiment_name=null", ["experiment_name"]),
        ("experiment_name=a/b", ["experiment_name='a/b'"]),
        ("experiment_name=..", ["experiment_name"]),
        ("task.source.hub.id=x", ["'task.source.hub.id'", "null"]),
    ],
)
def test_a_mistake_is_one_line_that_points_to_the_right_thing(word: str, parts: list[str]) -> None:
    message = mistake(word)
    assert all(part in message for part in parts), message


def test_a_key_of_another_method_is_named_as_such() -> None:
    message = mistake("method=head_only", "method.rank=4")
    assert message == "method=head_only has no key 'method.rank'; leave the key out, or choose another method"


def test_a_recipe_made_for_another_method_is_refused_with_both_ways_out() -> None:
    message = mistake("method=vera", "task=glue/rte", "recipe=lora/roberta_base")
    assert "method=lora" in message
    assert "recipe=none" in message


@pytest.mark.parametrize("backbone", ["vit_base", "gpt2_medium", "llama2_7b"])
def test_a_text_task_on_a_backbone_of_another_kind_is_refused(backbone: str) -> None:
    message = mistake("task=glue/rte", f"backbone={backbone}")
    assert all(part in message for part in ("glue/rte", backbone, "encoder")), message


# --- the id -------------------------------------------------------------------------------------------------------

BASE = ("method=uora", "task=glue/rte", "recipe=none")


@pytest.mark.parametrize(
    "words",
    [
        ("data.root=/x",), ("results.dir=/x",), ("runs.dir=/x",), ("tracker=none",), ("tracker.project=x",),
        ("experiment_name=x",), ("force=true",), ("trainer.micro_batch_size=2",), ("trainer.eval_batch_size=2",),
        ("trainer.gradient_checkpointing=true",), ("trainer.checkpoint_every=5",), ("trainer.log_every=5",),
        ("expect_cell_id=x",), ("predictions.keep=false",), ("predictions.max_mb=1",),
        ("task.source.hub.revision=abc",), ("seed=0",),
    ],
)  # fmt: skip
def test_where_and_how_a_cell_runs_is_not_in_the_id(words: tuple[str, ...]) -> None:
    assert cell_of(*BASE, *words).cell_id(PRINT) == cell_of(*BASE).cell_id(PRINT)


@pytest.mark.parametrize(
    "word",
    [
        "seed=1", "method=vera", "task=glue/mrpc", "backbone=roberta_large", "trainer.epochs=4", "trainer.max_steps=4",
        "trainer.batch_size=16", "trainer.lr_adapter=0.5", "trainer.lr_head=0.5", "trainer.lr_scheduler=constant",
        "trainer.precision=float32", "trainer.padding=max_length", "trainer.length_bucket=0", "task.max_length=64",
        "trainer.weight_decay_adapter=0.5", "trainer.weight_decay_head=0.5", "trainer.warmup_ratio=0.5",
        "trainer.max_grad_norm=1", "trainer.eps=1e-6", "trainer.betas=[0.9,0.99]", "task.splits.train=train[:80%]",
        "backbone.dtype=bfloat16", "backbone.revision=abc",
    ],
)  # fmt: skip
def test_what_defines_the_experiment_is_in_the_id(word: str) -> None:
    assert cell_of(*BASE, word).cell_id(PRINT) != cell_of(*BASE).cell_id(PRINT)


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else f"{value}x"


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_every_method_is_in_the_id(method: str) -> None:
    cell = cell_of(f"method={method}", "task=glue/rte", "recipe=none")
    ids = {}
    for option in fields(cell.method):
        if option.name not in ("name", "version"):
            other = copy(cell.method)
            object.__setattr__(other, option.name, changed(getattr(cell.method, option.name)))  # no check: only the id
            ids[option.name] = replace(cell, method=other).cell_id(PRINT)
    # but for the one that says how the same map is computed
    assert ids.pop("forward", cell.cell_id(PRINT)) == cell.cell_id(PRINT)
    assert len({cell.cell_id(PRINT), *ids.values()}) == len(ids) + 1


def test_versions_data_and_the_start_are_in_the_id() -> None:
    cell = cell_of(*BASE)
    changes: list[Callable[[Cell], Cell]] = [
        lambda c: replace(c, method=replace(c.method, version=2)),
        lambda c: replace(c, task=replace(c.task, version=2)),
        lambda c: replace(c, init_from="0" * 64),
    ]
    ids = {cell.cell_id(PRINT), cell.cell_id(PRINT + "."), *(change(cell).cell_id(PRINT) for change in changes)}
    assert len(ids) == 5


def test_the_name_of_a_recipe_is_not_in_the_id_when_its_values_are_equal() -> None:
    recipe = compose(["method=head_only", "task=glue/rte"])
    assert recipe.values["recipe"]["name"] == "head_only/roberta_base"
    words = [f"{key}={value(recipe.values, key)}" for key in recipe.sources]
    by_hand = cell_of("method=head_only", "task=glue/rte", "recipe=none", *words)
    assert by_hand.recipe.name == "none"
    assert by_hand.cell_id(PRINT) == Cell.from_config(recipe.values).cell_id(PRINT)


def value(config: dict[str, Any], key: str) -> str:
    for part in key.split("."):
        config = config[part]
    return "null" if config is None else str(config)


def test_the_id_does_not_depend_on_the_order_of_keys() -> None:
    def backwards(node: Any) -> Any:
        return {k: backwards(node[k]) for k in reversed(node)} if isinstance(node, dict) else node

    values = compose(list(BASE)).values
    turned = backwards(values)
    assert list(turned) == list(values)[::-1]
    assert Cell.from_config(turned).cell_id(PRINT) == Cell.from_config(values).cell_id(PRINT)


def test_the_id_is_a_name_that_files_and_trackers_accept() -> None:
    cell_id = cell_of(*BASE).cell_id(PRINT)
    assert len(cell_id) == 16
    assert set(cell_id) <= set("0123456789abcdef")
    assert Path(cell_id).name == cell_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["method=lora"], ["method=lora", "method.target_modules=[q,v]"]),  # the default by its name
        (["task.metric.scale=1"], []),  # how a score is printed
        (["trainer.max_steps=5", "trainer.epochs=2"], ["trainer.max_steps=5", "trainer.epochs=7"]),  # epochs unused
    ],
)
def test_the_id_is_of_what_an_experiment_is_and_not_of_how_it_is_written(one, other):
    assert cell_of(*one).cell_id("data") == cell_of(*other).cell_id("data")


def test_the_id_names_the_targets_that_are_used():
    ids = {
        cell_of("method=lora", f"method.target_modules={kinds}").cell_id("data")
        for kinds in ("[q]", "[v]", "[q,v]", "[q,k]")
    }
    assert len(ids) == 4


@pytest.mark.parametrize("word", ["method.name=lora", "method.version=9", "task.version=2", "recipe.status=published"])
def test_labels_of_a_record_cannot_be_set_by_hand(word):
    with pytest.raises(UserError, match="can only be set there"):
        compose([word])


def test_a_package_in_a_group_is_refused():
    with pytest.raises(UserError, match="package"):
        compose(["method@foo=lora"])


def test_an_extra_split_cannot_take_the_place_of_a_real_one():
    with pytest.raises(UserError, match=r"task\.splits\.train"):
        cell_of("task.splits.extra={train:validation}")

"""The table of synonyms: every one is a key that exists, leaves no trace, and what is spelt otherwise is answered."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from uora_bench.config import registry, synonyms
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose, leaves
from uora_bench.config.synonyms import canonical
from uora_bench.errors import UserError, nearest
from uora_bench.grid import expand, preset
from uora_bench.grid import request as requests

METHODS = registry.choices("method")


@cache
def known_keys() -> set[str]:
    """Every key that some method's configuration has."""
    composed = [compose([f"method={method}", "recipe=none"]).values for method in METHODS]
    return {*registry.GROUPS, "peft.r", "peft.lora_alpha", "peft.lora_dropout"}.union(
        *(leaves(values) for values in composed)
    )


def targets() -> list[str]:
    of_method = [key for table in synonyms.OF_METHOD.values() for key in table.values() if key is not None]
    return sorted({*synonyms.SYNONYMS, *of_method, *(key for key, _ in synonyms.FLAGS.values())})


@pytest.mark.parametrize("key", targets())
def test_a_synonym_is_a_key_that_exists(key: str) -> None:
    assert key in known_keys()


def test_no_synonym_and_no_answer_takes_the_place_of_a_key() -> None:
    taken = {*synonyms.KEYS, *synonyms.FLAGS, *synonyms.OF_METHOD, *synonyms.ANSWERS} & known_keys()
    assert taken == set()
    assert not set(synonyms.METHODS) & set(METHODS)
    assert not set(synonyms.ANSWERS) & {*synonyms.KEYS, *synonyms.FLAGS, *synonyms.OF_METHOD}
    assert not {key for key in synonyms.NOTES if key not in synonyms.SYNONYMS}


def test_the_default_method_is_the_configurations() -> None:
    defaults = yaml.safe_load((ROOT / "configs" / "config.yaml").read_text("utf-8"))["defaults"]
    assert {"method": synonyms.DEFAULT_METHOD} in defaults


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("lr=1e-3", "trainer.lr_adapter=1e-3"),
        ("trainer.learning_rate=1e-3", "trainer.lr_adapter=1e-3"),
        (
            "method=lora r=4 lora_alpha=8 lora_dropout=0.1",
            "method=lora method.rank=4 method.alpha=8 method.dropout=0.1",
        ),
        ("method=alpha_lora lora_alpha=8", "method=alpha_lora method.alpha_r=8"),
        ("method=peft r=4 lora_alpha=8", "method=peft peft.r=4 peft.lora_alpha=8"),
        ("experiment=lora_table2 lora_alpha=8", "experiment=lora_table2 method.alpha=8"),
        ("method=lora,lora_fa rank=4,8", "method=lora,lora_fa method.rank=4,8"),
        ("targets=[q,v] method.targets=[q]", "method.target_modules=[q,v] method.target_modules=[q]"),
        ("per_device_train_batch_size=8 num_train_epochs=2", "trainer.batch_size=8 trainer.epochs=2"),
        ("lr_scheduler_type=constant_with_warmup", "trainer.lr_scheduler=constant"),
        ("schedule=cosine trainer.schedule=linear", "trainer.lr_scheduler=cosine trainer.lr_scheduler=linear"),
        ("bf16=true", "trainer.precision=bfloat16"),
        ("trainer.precision=bf16,fp16", "trainer.precision=bfloat16,float16"),
        ("method.kernel=composed trainer.passes=library", "method.forward=merged_weight trainer.cpu_ops=library"),
        ("trainer.length_window=0 initialise_from=x", "trainer.length_bucket=0 init_from=x"),
        ("model=minilm dataset=glue/rte output_dir=x", "backbone=minilm task=glue/rte runs.dir=x"),
        ("save_steps=5 logging_steps=2", "trainer.checkpoint_every=5 trainer.log_every=2"),
        ("seed=1 method.alpha=2 word +lr=1", "seed=1 method.alpha=2 word +lr=1"),
    ],
)
def test_words_become_the_keys_that_they_are(words: str, wanted: str) -> None:
    assert canonical(words.split()) == wanted.split()
    assert canonical(wanted.split()) == wanted.split()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("method=dora", "method=peft peft.type=lora peft.use_dora=true"),
        ("method=lora,qlora", "unknown method 'qlora': write method=lora backbone.quantisation=nf4"),
        ("method=ia3", "method=peft peft.type=ia3"),
        ("device=cuda", "CUDA_VISIBLE_DEVICES"),
        ("gradient_accumulation_steps=4", "trainer.micro_batch_size"),
        ("trainer.gradient_accumulation_steps=4", "trainer.micro_batch_size"),
        ("early_stopping=true", "trainer.patience=10"),
        ("load_best_model_at_end=true", "selection rules"),
        ("load_in_4bit=true", "backbone.quantisation=nf4"),
        ("fsdp=full_shard", "trainer.sharding=full"),
        ("num_workers=4", "in this process"),
        ("hydra.run.dir=x", "runs.dir="),
        ("config_name=x", "configs/"),
        ("bf16=false", "trainer.precision=float32"),
        ("lora_alpha=8", "method=uora has no such factor"),
        ("method=lora,alpha_lora lora_alpha=8", "method.alpha or method.alpha_r"),
        ("method=*lora lora_alpha=8", "method.alpha or method.alpha_r"),
    ],
)
def test_what_is_spelt_otherwise_is_answered(words: str, part: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(words.split()) if "," not in words and "*" not in words else canonical(words.split())
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["dora", "pissa", "qlora", "adalora", "full_ft", "linear_probe"])
def test_what_an_answer_tells_to_write_can_be_written(word: str) -> None:
    values = compose([*synonyms.METHODS[word].split(), "task=glue/rte", "recipe=none"]).values
    assert values["method"]["name"] in METHODS


def test_a_synonym_leaves_no_trace_in_the_cell() -> None:
    plain = compose(
        ["method=lora", "task=glue/rte", "trainer.lr_adapter=0.5", "method.rank=4", "method.target_modules=[q,k]"]
    )
    other = compose(["method=lora", "task=glue/rte", "learning_rate=0.5", "r=4", "target_modules=[query,key]"])
    assert plain == other
    assert Cell.from_config(plain.values).key == Cell.from_config(other.values).key


def test_a_recipes_yaml_may_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from uora_bench.config import compose as module

    given = {"learning_rate": {"value": 0.5, "source": "own"}, "bf16": {"value": True, "source": "own"},
             "method.kernel": {"value": "plain", "source": "own"}}  # fmt: skip
    monkeypatch.setattr(module, "recipe_values", lambda recipe, task: given)
    values = compose(["method=lora", "task=glue/rte"]).values
    assert (values["trainer"]["lr_adapter"], values["trainer"]["precision"]) == (0.5, "bfloat16")
    assert values["method"]["forward"] == "factored"


def test_a_grid_and_a_preset_may_use_them(tmp_path: Path) -> None:
    wanted = requests.read_request(["method=lora", "task=tiny/nli", "lr=0.1,0.2", "r=4"])
    assert wanted.axes["trainer.lr_adapter"] == ["0.1", "0.2"]
    assert len(expand.expand_request(wanted).items) == 2
    content: dict[str, Any] = {"name": "mine", "title": "", "note": "", "axes": {"method": ["lora"], "lr": [0.1, 0.2]},
                               "rules": [{"when": {"lr": 0.1}, "set": {"r": 2}}]}  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    loaded = preset.load_experiment(str(tmp_path / "mine.yaml"))
    assert loaded.axes == {"method": ["lora"], "trainer.lr_adapter": [0.1, 0.2]}
    assert (loaded.rules[0].when, loaded.rules[0].set) == ({"trainer.lr_adapter": 0.1}, {"method.rank": 2})


@pytest.mark.parametrize(
    ("given", "modules", "wanted"),
    [
        (["query", "value"], {"q": "self.query", "v": "self.value"}, ["q", "v"]),
        (["q", "key"], {"q": "self.query", "k": "self.key"}, ["q", "k"]),
        (["dense"], {"o": "output.dense", "up": "intermediate.dense", "q": "self.query"}, ["o", "up"]),
        (["self.query"], {"q": "attention.self.query"}, ["q"]),
        (["uery"], {"q": "attention.self.query"}, ["uery"]),
        ("all-linear", {"q": "self.query", "o": "output.dense"}, ["q", "o"]),
        (["q", "q"], {"q": "self.query"}, ["q", "q"]),  # refused later: each once
        (None, {"q": "self.query"}, None),
    ],
)
def test_names_of_modules_become_target_modules(given: Any, modules: dict[str, str], wanted: Any) -> None:
    assert synonyms.module_kinds(given, {kind: {"path": path} for kind, path in modules.items()}) == wanted


def test_a_fused_projection_is_its_whole() -> None:
    values = compose(["method=lora", "task=tiny/restaurants", "target_modules=[c_attn]", "recipe=none"]).values
    assert values["method"]["target_modules"] == ["qkv"]


def test_a_dotted_key_is_never_answered_by_a_group() -> None:
    names = ["task", "method", "seed", "method.rank", "task.name", "trainer.epochs"]
    assert nearest("trainer.task", names) != "; did you mean 'task'?"
    assert nearest("tsak", names) == "; did you mean 'task'?"
    assert nearest("trainer.seed", names) == "; did you mean 'seed'?"
    assert nearest("rte", ["glue/rte", "glue/mrpc"]) == "; did you mean 'glue/rte'?"


def test_the_page_has_the_table() -> None:
    text = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, flags=re.MULTILINE))
    for key, words in synonyms.SYNONYMS.items():
        note = f" ({synonyms.NOTES[key]})" if key in synonyms.NOTES else ""
        assert rows[key] == ", ".join(f"`{word}`" for word in words) + note
    assert all(f"`{word}`" in text for word in (*synonyms.OF_METHOD, *(f"{flag}=true" for flag in synonyms.FLAGS)))

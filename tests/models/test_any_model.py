"""``backbone=hf``: a folder of any architecture is described, counted and trained as its ``config.json`` says."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.support.own_models import ALL, DECODERS, ENCODERS, PICTURES, edit_json, own_model
from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.config.compose import Composed, compose, leaves
from uora_bench.config.preflight import preflight
from uora_bench.data import offline
from uora_bench.data.sources import Source
from uora_bench.errors import ImpossiblePair, UserError
from uora_bench.execution.dry_run import describe
from uora_bench.methods import create_method
from uora_bench.models import any_model, backbones
from uora_bench.models.targets import find_targets
from uora_bench.tasks import create_task
from uora_bench.training.inject import inject

TASKS = {**dict.fromkeys(ENCODERS, "tiny/nli"), **dict.fromkeys(DECODERS, "tiny/instruct"),
         **dict.fromkeys(PICTURES, "tiny/digits")}  # fmt: skip
QKV = ("q", "k", "v")
# (default target modules, head) of each: what a user reads in the record
EXPECTED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bert": (("q", "v"), ("classifier", "bert.pooler")),
    "roberta": (("q", "v"), ("classifier",)),
    "deberta": (("qkv",), ("classifier", "pooler")),
    "deberta-v2": (("q", "v"), ("classifier", "pooler")),
    "modernbert": (("q", "v"), ("classifier",)),  # the dense layer before it is in the weights
    "electra": (("q", "v"), ("classifier",)),
    "distilbert": (("q", "v"), ("classifier", "pre_classifier")),
    "albert": (("q", "v"), ("classifier", "albert.pooler")),
    **dict.fromkeys(DECODERS, (("q", "v"), ())),
    "gpt_neox": (("qkv",), ()),
    "bloom": (("qkv",), ()),
    **dict.fromkeys(PICTURES, (("q", "v"), ("classifier",))),
    "beit": (("q", "v"), ("classifier", "beit.pooler")),
}


@pytest.fixture(autouse=True)
def _nothing_is_known(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is looked at anew: what earlier calls kept is elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a model by its type, made once."""
    root = tmp_path_factory.mktemp("models")
    return cache(lambda name: own_model(root / f"my_{name}", name))


def composed_of(folder: Path, task: str, *words: str) -> Composed:
    return compose(["backbone=hf", f"backbone.path={folder}", f"task={task}", *words])


@cache
def some_rows(task: str) -> Any:
    family = create_task(compose([f"task={task}", "recipe=none"]).cell.task)
    return family.splits(Source(None))["train"].select(range(8))


def loaded(cell: Cell) -> tuple[Any, Any, dict[str, Any]]:
    """The model, its task and a batch of real rows."""
    task = create_task(cell.task)
    found = backbones.load_backbone(cell.backbone, task.head, cell.seed)
    encoded = task.encode(some_rows(cell.task.name), found.processor, True)
    return found.model, task, task.collate(encoded, range(len(encoded)), "dynamic")


def logits(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    with torch.inference_mode():
        inputs = {k: v for k, v in batch.items() if k not in ("labels", "weight")}
        return model.eval()(**inputs).logits.double()


def check(cell: Cell, composed: Composed) -> None:
    """Counted as it trains; a step changes adapter and head alone; merging is exact."""
    method, (model, task, batch) = create_method(cell.method, cell.seed), loaded(cell)
    head, counts = inject(cell, model, method)
    line = f"parameters: adapter {counts.adapter:,} · head {counts.head:,} · total {counts.total:,}"
    assert line in describe(composed)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trained = {id(p) for p in (*method.parameters(), *head.values())}
    names = {n for n, p in model.named_parameters() if id(p) in trained}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    method.bind(optimizer, 2)
    for step in (1, 2):  # LoRA's A moves with the second step
        method.before_forward(step, True)
        loss, weight = task.loss(model.train(), batch)
        (loss / weight).backward()
        optimizer.step()
        method.after_step(step)
        optimizer.zero_grad()
    changed = {k for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert changed == names
    apart = logits(model, batch)
    method.merge()
    merged = logits(model, batch)
    method.unmerge()
    assert logits(model, batch).equal(apart)
    torch.testing.assert_close(merged, apart, rtol=1e-3, atol=1e-4 * float(apart.abs().max()))


@pytest.mark.parametrize("method", ["lora", "uora"])
@pytest.mark.parametrize("name", TASKS)
def test_a_model_of_any_architecture_trains_where_it_says(name: str, method: str, folders: Any) -> None:
    composed = composed_of(folders(name), TASKS[name], f"method={method}", "method.rank=4")
    cell = composed.cell
    preflight(cell)
    assert (cell.backbone.target_modules.default, cell.backbone.head) == EXPECTED[name]
    assert cell.backbone.public_name == f"local/my_{name}"
    assert cell.recipe.name == f"{method}/default_{cell.task.kind}"
    check(cell, composed)


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "opt", "bloom", "gpt_neox", "mpt"])
def test_a_decoder_classifies_text(name: str, folders: Any) -> None:
    composed = composed_of(folders(name), "tiny/nli", "method=lora", "task.max_length=256")
    assert composed.cell.backbone.kind == "encoder"
    assert composed.cell.backbone.head == ("score",)
    assert composed.cell.recipe.name == "lora/default_encoder"
    check(composed.cell, composed)


# --- kinds --------------------------------------------------------------------------------------------------------


FUSED = ["gpt2", "modernbert", "phi3", "mpt", "gpt_bigcode"]


@pytest.mark.parametrize("name", FUSED)
def test_parts_of_a_fused_projection_are_what_they_are_called(name: str, folders: Any) -> None:
    """Without v attention gives nothing; without q the keys do not matter; and the parts are the whole."""
    cell = composed_of(folders(name), TASKS[name], "method=lora").cell
    model, _, batch = loaded(cell)
    targets = {t.shape.kind: t for t in find_targets(model, cell.backbone, [*QKV, "o"]) if t.shape.layer == 0}
    fused = model.get_submodule(targets["q"].path)
    assert sorted((targets[k].start, targets[k].stop) for k in QKV)[0][0] == 0
    assert [targets[k].stop for k in "qk"] == [targets[k].start for k in "kv"]
    assert targets["v"].stop == fused.weight.shape[type(fused).__name__ == "Conv1D"]
    seen: list[torch.Tensor] = []
    model.get_submodule(targets["o"].path).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))

    def without(*kinds: str, scaled: str = "") -> torch.Tensor:
        weight = fused.weight.T if type(fused).__name__ == "Conv1D" else fused.weight
        kept = weight.data.clone(), None if fused.bias is None else fused.bias.data.clone()
        for kind in kinds:
            rows = slice(targets[kind].start, targets[kind].stop)
            weight.data[rows] = 0.0
            if fused.bias is not None:
                fused.bias.data[rows] = 0.0
        if scaled:
            weight.data[targets[scaled].start : targets[scaled].stop] *= 3.0
        logits(model, batch)
        weight.data.copy_(kept[0])
        if kept[1] is not None:
            fused.bias.data.copy_(kept[1])
        return seen[-1]

    assert not without("v").any()
    plain = without("q")
    torch.testing.assert_close(without("q", scaled="k"), plain)
    assert not torch.allclose(without(), plain)
    assert not torch.allclose(without("q", scaled="v"), plain)


def test_rows_laid_out_head_by_head_are_one_kind(folders: Any) -> None:
    for name in ("gpt_neox", "bloom", "deberta"):
        backbone = composed_of(folders(name), TASKS[name], "method=lora").cell.backbone
        assert "qkv" in backbone.target_modules.modules
        assert not {"q", "k", "v"} & backbone.target_modules.modules.keys()
    with pytest.raises(UserError, match="has no 'q'"):
        preflight(composed_of(folders("bloom"), "tiny/instruct", "method=lora", "method.target_modules=[q]").cell)


def test_blocks_that_are_numbered_within_stages_are_counted_through(folders: Any) -> None:
    cell = composed_of(folders("swin"), "tiny/digits", "method=lora").cell
    targets = find_targets(loaded(cell)[0], cell.backbone, None)
    assert [(t.shape.layer, t.shape.kind, t.shape.in_features) for t in targets] == [
        (0, "q", 16), (0, "v", 16), (1, "q", 32), (1, "v", 32), (2, "q", 32), (2, "v", 32),
    ]  # fmt: skip


def test_the_models_own_names_choose_kinds(folders: Any) -> None:
    for name, given, kinds in (
        ("bert", "[query,key]", ("q", "k")),
        ("gpt2", "[c_attn]", ("qkv",)),
        ("llama", "[q_proj,down_proj]", ("q", "down")),
        ("vit", "all-linear", ("q", "k", "v", "o", "up", "down")),
    ):
        cell = composed_of(folders(name), TASKS[name], "method=lora", f"target_modules={given}").cell
        assert cell.method.adapts == kinds


def test_target_modules_of_your_own_replace_those_that_are_found(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "mine", "convnext")
    with pytest.raises(UserError, match=r"no attention projections.*pwconv1") as caught:
        composed_of(folder, "tiny/digits", "method=lora")
    assert "\n" not in str(caught.value)
    path = "convnext.encoder.stages.{stage}.layers.{layer}.pwconv"
    modules = f'{{up: {{path: "{path}1"}}, down: {{path: "{path}2"}}}}'
    words = ("method=lora", f"backbone.target_modules.modules={modules}")
    composed = composed_of(folder, "tiny/digits", *words)
    assert composed.cell.backbone.target_modules.default == ("up", "down")
    check(composed.cell, composed)
    one = composed_of(folder, "tiny/digits", *words, "backbone.target_modules.default=[down]").cell
    assert one.backbone.target_modules.default == ("down",)
    assert one.key != composed.cell.key


def test_pefts_table_is_asked_where_no_name_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.utils import constants

    table = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    monkeypatch.setitem(table, "convnext", ["pwconv2", "pwconv1"])
    composed = composed_of(own_model(tmp_path / "mine", "convnext"), "tiny/digits", "method=lora")
    assert composed.cell.backbone.target_modules.default == ("pwconv2", "pwconv1")
    check(composed.cell, composed)


# --- heads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "saved_as"), [("bert", "AutoModel"), ("beit", "AutoModel")])
def test_a_pooler_that_the_weights_have_stays_as_it_is(name: str, saved_as: str, tmp_path: Path) -> None:
    backbone = composed_of(own_model(tmp_path / "m", name, saved_as=saved_as), TASKS[name], "method=lora").cell.backbone
    assert (backbone.head, backbone.fresh) == (("classifier",), ())


def test_a_fresh_pooler_is_named_and_trained(folders: Any) -> None:
    composed = composed_of(folders("bert"), "tiny/nli", "method=head_only")
    assert composed.cell.backbone.fresh == ("bert.pooler",)
    assert "head: classifier, bert.pooler (bert.pooler: missing in the weights, so drawn anew" in describe(composed)
    assert composed.cell.canonical()["backbone"]["head"] == ["classifier", "bert.pooler"]
    model, _, _ = loaded(composed.cell)
    assert model.head_modules == ("classifier", "bert.pooler")


@pytest.mark.parametrize("name", ["bert", "modernbert", "gpt2", "vit", "dinov2"])
def test_the_seed_alone_decides_how_a_head_starts(name: str, folders: Any) -> None:
    starts = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        task = TASKS[name] if name != "gpt2" else "tiny/nli"
        cell = composed_of(folders(name), task, "method=lora", f"seed={seed}").cell
        model = backbones.load_backbone(cell.backbone, create_task(cell.task).head, cell.seed).model
        starts.append({k: v.clone() for k, v in model.state_dict().items()})
    heads = [k for k in starts[0] if k.startswith(tuple(f"{n}." for n in model.head_modules))]
    assert heads
    assert all(starts[0][k].equal(starts[1][k]) for k in starts[0])
    assert any(not starts[0][k].equal(starts[2][k]) for k in heads)
    assert all(starts[0][k].equal(starts[2][k]) for k in starts[0].keys() - set(heads))


def test_a_head_of_another_task_in_the_weights_is_drawn_anew(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m", "roberta", saved_as="AutoModelForSequenceClassification")  # two labels
    composed = composed_of(folder, "tiny/nli", "method=lora")
    assert composed.cell.backbone.head == ("classifier",)
    check(composed.cell, composed)


def test_without_weights_the_configuration_is_enough_to_count_and_says_so(tmp_path: Path) -> None:
    composed = composed_of(own_model(tmp_path / "m", "deberta-v2", weights=False), "tiny/nli", "method=lora")
    preflight(composed.cell)
    text = describe(composed)
    assert "head: classifier, pooler (pooler: no weights to look at, taken to be missing" in text
    with pytest.raises(UserError, match="cannot load"):
        backbones.load_backbone(composed.cell.backbone, create_task(composed.cell.task).head, 0)


def test_what_was_taken_to_be_missing_and_is_not_is_never_thrown_away(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m", "modernbert", weights=False)
    cell = composed_of(folder, "tiny/nli", "method=lora").cell
    assert cell.backbone.fresh == ("head",)
    own_model(folder, "modernbert")  # now the weights are there, and have it
    with pytest.raises(UserError, match="give the same command again"):
        backbones.load_backbone(cell.backbone, create_task(cell.task).head, 0)
    assert composed_of(folder, "tiny/nli", "method=lora").cell.backbone.fresh == ()


def test_a_decoder_without_a_padding_token_pads_with_its_end_of_text(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m", "gpt2")
    edit_json(folder / "tokenizer_config.json", pad_token=None)
    composed = composed_of(folder, "tiny/nli", "method=lora", "task.max_length=256")
    found = backbones.load_backbone(composed.cell.backbone, create_task(composed.cell.task).head, 0)
    assert found.processor.pad_token_id == found.processor.eos_token_id == found.model.config.pad_token_id
    check(composed.cell, composed)


def test_the_last_token_that_is_no_padding_decides(folders: Any) -> None:
    cell = composed_of(folders("llama"), "tiny/nli", "method=lora", "task.max_length=256").cell
    model, _, batch = loaded(cell)
    lengths = batch["attention_mask"].sum(dim=1)
    short = int(lengths.argmin())
    assert lengths[short] < batch["input_ids"].shape[1]
    alone = {k: batch[k][short : short + 1, : lengths[short]] for k in ("input_ids", "attention_mask")}
    torch.testing.assert_close(logits(model, alone)[0], logits(model, batch)[short])


def test_a_regression_has_one_output(folders: Any) -> None:
    words = ("method=lora", "task.labels=[]", "task.metric.name=glue/stsb", "task.metric.primary=pearson")
    for name in ("bert", "llama"):
        cell = composed_of(folders(name), "tiny/nli", *words).cell
        model = backbones.skeleton(cell.backbone, create_task(cell.task).head)
        assert model.get_submodule(cell.backbone.head[0]).out_features == 1


# --- recipes ------------------------------------------------------------------------------------------------------

RECIPES = [name for name in registry.choices("recipe") if "/default_" in name]
OF_KIND = {"encoder": "bert", "causal_lm": "llama", "vision": "vit"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_default_recipe_says_that_nobody_tuned_it_and_its_values_arrive(name: str, folders: Any) -> None:
    method, _, kind = name.partition("/default_")
    model = OF_KIND[kind]
    composed = composed_of(folders(model), TASKS[model], f"method={method}")
    preflight(composed.cell)
    recipe = yaml.safe_load(registry.path_of("recipe", name).read_text("utf-8"))
    assert (composed.cell.recipe.name, composed.cell.recipe.status) == (name, "own")
    assert "Untuned starting values" in composed.cell.recipe.note
    assert recipe["per_task"] == {}
    found = leaves(composed.values)
    assert {k: found[k] for k in recipe["common"]} == {k: v["value"] for k, v in recipe["common"].items()}


def test_every_method_but_pefts_has_a_default_recipe_for_every_kind_that_it_can_be_on() -> None:
    wanted = {(m, kind) for m in registry.choices("method") for kind in OF_KIND if m != "peft"}
    assert {tuple(name.split("/default_")) for name in RECIPES} == wanted - {("head_only", "causal_lm")}


# --- what is refused ----------------------------------------------------------------------------------------------


def refused(folder: Path, task: str, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        preflight(composed_of(folder, task, "method=lora", *words).cell)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_encoder_decoder_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert "encoder-decoder" in refused(own_model(tmp_path / "m", "t5"), "tiny/nli")


def test_a_model_that_changes_its_own_weights_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert "changes its weights" in refused(own_model(tmp_path / "m", "rwkv"), "tiny/instruct")


def test_a_task_of_another_kind_is_refused_as_for_any_backbone(folders: Any) -> None:
    for name, task in (("bert", "tiny/instruct"), ("llama", "tiny/digits"), ("vit", "tiny/nli")):
        with pytest.raises(ImpossiblePair, match=f"needs a backbone of kind .*local/my_{name} is of kind"):
            preflight(composed_of(folders(name), task, "method=lora").cell)


def test_a_model_that_is_not_named_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, part in (
        (["backbone=hf"], "backbone.path=<folder> or backbone.id=<id"),
        (["backbone=hf", f"backbone.path={tmp_path}/empty", "backbone.id=a/b"], "one of the two"),
        (["backbone=hf", f"backbone.path={tmp_path}/nowhere"], "is not a folder"),
        (["backbone=hf", f"backbone.path={tmp_path}/empty"], "set backbone.path=<folder>"),
        (["backbone=hf", "backbone.id=no-such/model"], "cannot load backbone=hf from 'no-such/model'"),
        ([f"backbone={tmp_path}/empty"], f"write backbone=hf backbone.path={tmp_path}/empty"),
        (["backbone=no-such/model"], "write backbone=hf backbone.id=no-such/model"),
    ):
        with pytest.raises(UserError) as caught:
            compose([*words, "task=tiny/nli"])
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)


def test_code_in_a_folder_is_never_run(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m", "bert")
    (folder / "code.py").write_text("raise SystemExit('ran')")
    edit_json(folder / "config.json", model_type="mine", auto_map={"AutoConfig": "code.Mine"})
    assert "code of its own, which is never run" in refused(folder, "tiny/nli")


# --- identity -----------------------------------------------------------------------------------------------------


def test_a_folder_is_named_after_itself_and_its_weights_are_in_the_label(folders: Any) -> None:
    from dataclasses import replace

    cell = composed_of(folders("bert"), "tiny/nli", "method=lora").cell
    assert cell.canonical()["backbone"]["name"] == "local/my_bert"
    assert (cell.canonical()["backbone"]["id"], cell.canonical()["backbone"]["revision"]) == (None, "local")
    assert " · local/my_bert · " in cell.label
    digest = backbones.weights_sha256(cell.backbone)
    assert f" · local/my_bert@{digest[:8]} · " in replace(cell, weights=digest).label


def test_an_id_is_looked_for_in_the_folder_of_prefetched_models(
    folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "_root", offline._ENVIRONMENT)  # composing names data.root for the whole process
    commit = "c" * 40
    snapshot = tmp_path / "hub" / "models--some--bert" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(folders("bert"))
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    words = ["backbone=hf", "backbone.id=some/bert", "task=tiny/nli", "method=lora", f"data.root={tmp_path}"]
    cell = compose(words).cell
    assert (cell.backbone.public_name, cell.backbone.fresh) == ("some/bert", ("bert.pooler",))
    assert {k: cell.canonical()["backbone"][k] for k in ("name", "id", "revision")} == {
        "name": "some/bert", "id": "some/bert", "revision": "main",
    }  # fmt: skip
    found = backbones.load_backbone(cell.backbone, create_task(cell.task).head, 0)
    assert found.origin["commit"] == commit
    assert found.origin["fresh"] == ["bert.pooler"]


def test_a_model_is_built_once_for_a_grid_and_anew_when_its_folder_changes(tmp_path: Path) -> None:
    folder = own_model(tmp_path / "m", "bert")
    any_model._look.cache_clear()
    for seed in range(3):
        composed_of(folder, "tiny/nli", "method=lora", f"seed={seed}")
    assert any_model._look.cache_info().misses == 1
    edit_json(folder / "config.json", intermediate_size=64)
    composed_of(folder, "tiny/nli", "method=lora")
    assert any_model._look.cache_info().misses == 2


def test_the_table_of_this_test_is_of_all_models() -> None:
    assert EXPECTED.keys() == TASKS.keys()
    assert ALL.keys() - TASKS.keys() == {"t5", "convnext", "rwkv"}

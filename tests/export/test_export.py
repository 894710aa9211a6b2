"""Exports on tiny models: PEFT's adapters and merged models give the logits of ours; what cannot be said is refused."""

from __future__ import annotations

import copy
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageClassification

from uora_bench.config.compose import compose
from uora_bench.contract.models import backbone_config, gpt2, inject, make_method, roberta
from uora_bench.errors import CellError, UserError
from uora_bench.export import checks, formats, peft_format, plain, source, target_folder
from uora_bench.export.loading import Loaded
from uora_bench.export.peft_format import BaseModel
from uora_bench.export.request import ExportRequest
from uora_bench.models import heads
from uora_bench.models.heads import head_parameters
from uora_bench.models.targets import find_targets

RANK = 3
SHARINGS = [(m, {"sharing": s}) for m in ("vera", "uora") for s in ("all", "shape", "layer")]
ADAPTERS = [("lora", {"alpha": 7.0}), ("lora_fa", {}), ("tied_lora", {}), *SHARINGS]
PLACES = [(roberta, ("q", "v")), (roberta, ("q", "up", "down")), (gpt2, ("q", "v")), (gpt2, ("k", "v", "o")),
          (gpt2, ("qkv", "up"))]  # fmt: skip
EXACT = 1e-10


class Tokenizer:
    def save_pretrained(self, folder: str) -> None:
        pass


@torch.no_grad()
def adapted(name: str, make: Any, kinds: Any, dtype: torch.dtype = torch.float64, **options: Any) -> Loaded:
    """A model with ``name`` on it, adapter and head away from their start, as if it had been trained."""
    model = make(dtype)
    bare = checks.logits(model, checks.probe(model))
    names, own = frozenset(model.state_dict()), {id(p) for p in model.parameters()}
    method = make_method(name, **options)
    inject(method, model, kinds)
    generator = torch.Generator().manual_seed(5)
    trained = [*method.parameters(), *head_parameters(model).values()]
    for tensor in trained:
        noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        tensor.copy_(tensor + 0.2 * noise.to(tensor.dtype))
    if trained:
        assert (checks.logits(model, checks.probe(model)) - bare).abs().max() > 1e-2, "the adapter must matter"
    shared = [id(p) in own for p in method.parameters()]
    head = SimpleNamespace(auto_class="AutoModelForCausalLM" if make is gpt2 else "AutoModelForSequenceClassification")
    cell: Any = SimpleNamespace(backbone=None)
    return Loaded(model.eval(), Tokenizer(), cell, method, head, {}, names, any(shared), not all(shared))  # type: ignore[arg-type]


def where(loaded: Loaded) -> BaseModel:
    return BaseModel("some/base", "abc", tuple(loaded.model.head_modules), loaded.head.auto_class, 0.1)


@torch.no_grad()
def untrained(make: Any, dtype: torch.dtype = torch.float64) -> Any:
    """The plain model as a user loads it: with a head that nobody trained."""
    model = make(dtype)
    for parameter in head_parameters(model).values():
        parameter.normal_()
    return model


def as_lora(loaded: Loaded, make: Any, folder: Path, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Export ``loaded`` as a LoRA adapter and check it in float64; returns its configuration."""
    model, inputs = loaded.model, checks.probe(loaded.model)
    checks.widen(model)
    expected = checks.logits(model, inputs)
    with peft_format.quiet():
        factors = peft_format.lora_factors(loaded.method)
        plain.strip(model, loaded.plain)
        peft_format.save_lora(model.to(dtype), factors, where(loaded), folder)
        assert formats.check_peft(untrained(make, dtype), folder, inputs, expected) < (
            EXACT if dtype is torch.float64 else checks.LIMIT
        )
    config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text())
    return config


def ranks(method: str, options: dict[str, Any], kinds: tuple[str, ...]) -> int:
    """The largest rank an adapted module needs: those of slices add up unless they share A."""
    slices = 1 if set(kinds) & {"qkv"} else len(set(kinds) & {"q", "k", "v"})
    return RANK if method in ("vera", "uora") and options["sharing"] != "layer" else RANK * max(slices, 1)


@pytest.mark.parametrize(("make", "kinds"), PLACES)
@pytest.mark.parametrize(("name", "options"), ADAPTERS)
def test_factors_are_a_lora_adapter_of_scale_one(
    name: str, options: dict[str, Any], make: Any, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    if name != "tied_lora":
        options = {**options, "target_modules": kinds}
    loaded = adapted(name, make, kinds, rank=RANK, **options)
    config = as_lora(loaded, make, tmp_path)
    assert config["lora_alpha"] == config["r"]
    assert config["alpha_pattern"] == config["rank_pattern"]
    assert (config["base_model_name_or_path"], config["revision"]) == ("some/base", "abc")
    assert config["lora_dropout"] == 0.1
    assert config["modules_to_save"] == (["classifier"] if make is roberta else None)
    assert config["fan_in_fan_out"] == (make is gpt2)
    if make is gpt2 and name != "tied_lora":
        assert config["r"] == ranks(name, options, kinds)


def test_matrices_that_a_refresh_has_rewritten_are_the_ones_that_leave(tmp_path: Path) -> None:
    loaded = adapted("uora", roberta, ("q", "v"), rank=RANK)
    method: Any = loaded.method
    (pair,), (refresher,) = method.pairs.values(), method.refreshers.values()
    pair.A[1].normal_(), pair.B[:, 1].normal_()
    refresher.events[0] += 1
    assert method.seed_tensors() == set()
    rewritten = pair.A.clone()
    as_lora(loaded, roberta, tmp_path)
    written = load_file(tmp_path / "adapter_model.safetensors")
    As = [tensor for name, tensor in written.items() if "lora_A" in name]
    assert len(As) == 4
    assert all(torch.equal(A, rewritten) for A in As)


@pytest.mark.parametrize(("make", "kinds"), [PLACES[0], PLACES[1], PLACES[4]])
@pytest.mark.parametrize("name", ["vera", "uora"])
def test_one_pair_on_whole_modules_is_pefts_vera(name: str, make: Any, kinds: tuple[str, ...], tmp_path: Path) -> None:
    loaded = adapted(name, make, kinds, rank=RANK)
    with torch.no_grad():
        for buffer in loaded.method.pairs["shared"].buffers():  # type: ignore[attr-defined]
            buffer[:2] *= -1.5  # no seed gives these matrices
    model, inputs = loaded.model, checks.probe(loaded.model)
    expected = checks.logits(model, inputs)
    with peft_format.quiet():
        tensors = peft_format.vera_tensors(loaded.method)
        plain.strip(model, loaded.plain)
        peft_format.save_vera(model, tensors, where(loaded), tmp_path)
        assert formats.check_peft(untrained(make), tmp_path, inputs, expected) < EXACT
    assert json.loads((tmp_path / "adapter_config.json").read_text())["save_projection"] is True


@pytest.mark.parametrize(
    ("name", "options", "make", "kinds", "part"),
    [
        ("uora", {"sharing": "layer"}, roberta, ("q", "v"), "4 (method.sharing)"),
        ("vera", {}, gpt2, ("q", "v"), "c_attn"),
        ("lora", {}, roberta, ("q", "v"), "method=lora is not of VeRA's form"),
    ],
)
def test_what_is_no_vera_of_pefts_is_refused(
    name: str, options: dict[str, Any], make: Any, kinds: tuple[str, ...], part: str
) -> None:
    with pytest.raises(UserError, match="as=vera") as caught:
        peft_format.vera_tensors(adapted(name, make, kinds, rank=RANK, **options).method)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_pair_is_enough_for_vera_however_it_came_to_be_one() -> None:
    method = make_method("vera", rank=RANK, sharing="shape")
    inject(method, roberta(), ("up",))
    assert set(peft_format.vera_tensors(method).vectors) == set(method.layers)


@pytest.mark.parametrize(
    ("name", "part"),
    [("full", "backbone's own weights"), ("bitfit", "backbone's own weights"), ("head_only", "no adapter")],
)
def test_methods_without_a_low_rank_adapter_are_refused_for_peft(name: str, part: str) -> None:
    loaded = adapted(name, roberta, ())
    with pytest.raises(UserError, match=part) as caught:
        peft_format.refuse(loaded.method, loaded.trains, loaded.adds)
    assert "format=merged" in str(caught.value)


def test_alpha_lora_is_refused_in_its_own_words() -> None:
    with pytest.raises(UserError, match=r"method=alpha_lora: α-LoRA rescales .*use format=merged"):
        peft_format.lora_factors(adapted("alpha_lora", roberta, ("q", "v")).method)


@pytest.mark.parametrize(("make", "kinds"), [PLACES[1], PLACES[2]])
@pytest.mark.parametrize("name", ["lora", "vera", "uora", "tied_lora", "alpha_lora", "full", "bitfit", "head_only"])
def test_a_merged_model_is_a_plain_one_with_the_same_logits(
    name: str, make: Any, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    kinds = kinds if name not in ("full", "bitfit", "head_only") else ()
    loaded = adapted(name, make, kinds)
    inputs = checks.probe(loaded.model)
    expected = checks.logits(loaded.model, inputs)
    formats.save_merged(loaded, torch.float64, tmp_path)
    reloaded = getattr(transformers, loaded.head.auto_class).from_pretrained(tmp_path)
    assert type(reloaded) is type(make())
    assert reloaded.dtype == torch.float64
    assert checks.compare(expected, checks.logits(reloaded, inputs), "it") < EXACT


@pytest.mark.parametrize("kind", ["lora", "ia3", "oft"])
def test_a_tuner_of_pefts_merges_into_a_plain_model_too(kind: str, tmp_path: Path) -> None:
    loaded = adapted("peft", roberta, ("q", "v"), type=kind, target_modules=("q", "v"))
    inputs = checks.probe(loaded.model)
    expected = checks.logits(loaded.model, inputs)
    with pytest.raises(UserError, match="does not write a PEFT adapter"):
        peft_format.refuse(loaded.method, loaded.trains, loaded.adds)
    formats.save_merged(loaded, torch.float64, tmp_path)
    reloaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert checks.compare(expected, checks.logits(reloaded, inputs), "it") < EXACT


def test_half_precision_is_widened_before_anything_is_compared(tmp_path: Path) -> None:
    def make(dtype: torch.dtype) -> Any:
        model = roberta(torch.bfloat16)
        heads.widen_head(model)
        return model if dtype is torch.bfloat16 else model.to(dtype)

    loaded = adapted("uora", make, ("q", "v"), torch.bfloat16, rank=RANK)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16, torch.float32}
    assert checks.stored_dtype(loaded.model) is torch.float32
    as_lora(loaded, make, tmp_path, torch.float32)


def test_an_image_model_is_probed_with_images_and_exported(tmp_path: Path) -> None:
    def make(dtype: torch.dtype = torch.float64) -> Any:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            "vit", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16,
            patch_size=8, initializer_range=0.3,
        )  # fmt: skip
        model: Any = AutoModelForImageClassification.from_config(config)
        model.head_modules = ("classifier",)
        return model.to(dtype).eval()

    model = make()
    method = make_method("lora", rank=RANK)
    names = frozenset(model.state_dict())
    targets = find_targets(model, backbone_config("vit_base"), None)
    method.inject(model, targets, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.normal_(std=0.3)
    head: Any = SimpleNamespace(auto_class="AutoModelForImageClassification")
    cell: Any = None
    loaded = Loaded(model, Tokenizer(), cell, method, head, {}, names, False, True)
    assert set(checks.probe(model)) == {"pixel_values"}
    assert as_lora(loaded, make, tmp_path)["task_type"] is None


PEFTS_OWN = (
    "lora", "adalora", "vera", "ia3", "loha", "lokr", "oft", "boft", "hra", "fourierft", "ln_tuning", "randlora",
)  # fmt: skip


@pytest.mark.parametrize("kind", PEFTS_OWN)
def test_a_method_that_is_pefts_writes_its_own_adapter(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"fourierft": {"n_frequency": 20}, "oft": {"oft_block_size": 4}, "boft": {"boft_block_size": 4}}
    loaded = adapted("peft", roberta, None, type=kind, fields=fields.get(kind, {}))
    monkeypatch.setattr(formats, "_fresh", lambda _: untrained(roberta))
    difference, _ = formats._peft(loaded, ExportRequest("peft"), where(loaded), tmp_path)
    assert difference < EXACT
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "some/base"


def test_layers_of_pefts_own_are_taken_off_too() -> None:
    model = roberta()
    names, inputs = frozenset(model.state_dict()), checks.probe(model)
    before = checks.logits(model, inputs)
    inject_adapter_in_model(LoraConfig(target_modules=["query"]), model)
    plain.strip(model, names)
    assert torch.equal(checks.logits(model, inputs), before)


def test_what_is_left_of_a_method_in_the_model_is_an_error() -> None:
    model = roberta()
    names = frozenset(model.state_dict())
    model.roberta.extra = torch.nn.Linear(2, 2)
    with pytest.raises(CellError, match=r"roberta\.extra"):
        plain.strip(model, names)


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_other_logits_fail_the_check(wrong: float) -> None:
    expected = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    assert checks.compare(expected, expected.clone(), "it") == 0
    with pytest.raises(CellError, match="it differs"):
        checks.compare(expected, expected * wrong, "it")


# --- places -----------------------------------------------------------------------------------------------------------


def card(folder: Path, text: str = "new") -> None:
    (folder / "README.md").write_text(f"---\ntags:\n- {target_folder.TAG}\n- x\n---\n{text}")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "peft"

    def interrupted() -> None:
        with target_folder.filled_target(target, False) as partial:
            card(partial)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with target_folder.filled_target(target, False) as partial:
        card(partial, "first")
        assert not target.exists()
    assert [p.name for p in target.parent.iterdir()] == ["peft"]
    with pytest.raises(UserError, match="force=true"):
        target_folder.check_target(target, False)
    with target_folder.filled_target(target, True) as partial:
        card(partial, "second")
    assert (target / "README.md").read_text().endswith("second")
    assert [p.name for p in target.parent.iterdir()] == ["peft"]


def test_force_never_removes_what_no_export_writes(tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    (target / ".git").mkdir(parents=True)
    card(target, "first")
    with pytest.raises(UserError, match=r"\.git"):
        target_folder.check_target(target, force=True)
    (target / ".git").rmdir()
    (target / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex"), target_folder.filled_target(target, True):
        pass
    assert (target / "thesis.tex").read_text() == "years of work"
    (target / "thesis.tex").unlink()
    target_folder.check_target(target, force=True)


def test_force_replaces_nothing_but_exports(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="not an export"):
        target_folder.check_target(tmp_path, True)


def test_what_killed_exports_left_is_removed_or_put_back(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    target = tmp_path / "peft"
    for kind in ("partial", "old"):
        folder = tmp_path / f".peft.{socket.gethostname()}.{dead.pid}.{kind}"
        folder.mkdir()
        card(folder, kind)
    alive = tmp_path / f".peft.{socket.gethostname()}.{os.getppid()}.partial"
    alive.mkdir()
    with pytest.raises(CellError), target_folder.filled_target(target, True):
        raise CellError("no")
    assert (target / "README.md").read_text().endswith("old")
    assert {p.name for p in tmp_path.iterdir()} == {"peft", alive.name}


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_cell_is_found_by_its_id(tmp_path: Path) -> None:
    one, two = "aa11" * 4, "bb22" * 4
    for experiment, cell_id in (("one", one), ("two", one), ("two", two)):
        (tmp_path / experiment / cell_id).mkdir(parents=True)
    runs = str(tmp_path)
    assert source.find_run(two, runs) == source.find_run(two[:6], runs) == tmp_path / "two" / two
    assert source.find_run(one, runs, "one") == tmp_path / "one" / one
    assert source.find_run(str(tmp_path / "one"), "nowhere") == tmp_path / "one"
    for words, part in (
        ((one, runs), "(one, two); take one with experiment="),
        (("bb23" * 4, runs), f"did you mean '{two}'?"),
        ((one, runs, "tow"), "did you mean 'two'?"),
        ((one, str(tmp_path / "none")), "runs.dir="),
    ):
        with pytest.raises(UserError) as caught:
            source.find_run(*words)
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "no run folder"),
        ("{", "cannot read"),
        ("[]", "cannot read"),
        ('{"cell_id": "a", "values": {}}', "method"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(content: str | None, part: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "cell.json").write_text(content)
    with pytest.raises(UserError, match=part) as caught:
        source.read_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_odd_values_in_the_configuration_of_an_older_run_are_one_line_or_harmless(tmp_path: Path) -> None:
    values = compose(["method=lora", "task=tiny/nli", "recipe=none"]).values
    data = {"cell_id": "0" * 16, "values": values, "native": {"weights": "last", "backbone_sha256": None}}
    draw, refused, tried = random.Random(0), 0, 0

    def places(node: Any, path: tuple[Any, ...] = ()) -> Any:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield (*path, key)
            if isinstance(value, (dict, list)):
                yield from places(value, (*path, key))

    for where in places(data):
        changed = copy.deepcopy(data)
        node: Any = changed
        for part in where[:-1]:
            node = node[part]
        node[where[-1]] = draw.choice([None, [], {}, "x", "\ud800", True, -1, 10**400, [[]], {"a": {}}, "os.path"])
        (tmp_path / "cell.json").write_text(json.dumps(changed))
        tried += 1
        try:
            found = source.read_source(tmp_path)
            found.weight_files("last")
        except UserError as error:
            refused += "has not finished" not in str(error)
            assert len(str(error).splitlines()) == 1, error  # noqa: PT017
    assert refused > tried // 2

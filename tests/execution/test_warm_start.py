"""A warm start takes an adapter only where its weights mean the update that they were trained as."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.execution.artifacts import warm_start_file
from uora_bench.execution.configuration import ADAPTER, HEAD, write_configuration


def folder_of(path, *words):
    path.mkdir()
    for name in (ADAPTER, HEAD):
        save_file({"x": torch.zeros(2)}, path / name)
    write_configuration(path, compose([*words, "task=tiny/nli", "recipe=none"]).values, "0" * 16, summed=True)
    return path


def begin(path, *words):
    composed = compose([*words, "task=tiny/nli", "recipe=none", f"init_from={path}"])
    return warm_start_file(composed.settings, composed.cell.method)


@pytest.mark.parametrize(
    ("trained", "asked", "part"),
    [
        ("method=lora method.alpha=16", "method=lora method.alpha=8", "method.alpha=16.0"),
        ("method=lora method.alpha=8", "method=lora_fa method.alpha=8", "same method"),
        ("method=lora method.rank=8", "method=lora method.rank=4", "method.rank=8"),
        ("method=alpha_lora method.alpha_r=16", "method=alpha_lora", "method.alpha_r=16.0"),
        ("method=peft peft.type=lora peft.use_rslora=true", "method=peft peft.type=lora", "peft.use_rslora=True"),
        ("method=peft peft.type=lora peft.lora_alpha=4", "method=peft peft.type=lora", "peft.lora_alpha=4"),
        ("method=peft peft.type=lora", "method=peft peft.type=vera", "peft."),
        ("method=tied_lora method.variant=tl1 method.u_initial=2", "method=tied_lora method.variant=tl1", "u_initial"),
    ],
)
def test_another_update_is_refused_in_one_line(trained, asked, part, tmp_path):
    path = folder_of(tmp_path / "run", *trained.split())
    with pytest.raises(UserError, match="init_from") as caught:
        begin(path, *asked.split())
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert begin(path, *trained.split()) == path / ADAPTER


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        ("method=lora method.dropout=0.1 method.forward=factored", "method=lora"),
        ("method=alpha_lora method.alpha_r=8", "method=alpha_lora method.alpha_lr=1"),  # null is the rank, 8
        ("method=uora method.tau=0.1", "method=uora method.k=3"),
        ("method=peft peft.type=lora peft.lora_dropout=0.1", "method=peft peft.type=lora peft.lora_alpha=8"),  # default
        ("method=tied_lora method.variant=tl6 method.u_initial=2", "method=tied_lora method.variant=tl6"),  # u trained
    ],
)
def test_what_only_says_how_weights_are_found_may_differ(trained, asked, tmp_path):
    path = folder_of(tmp_path / "run", *trained.split())
    assert begin(path, *asked.split()) == path / ADAPTER


def test_a_damaged_or_unexplained_adapter_is_refused(tmp_path):
    path = folder_of(tmp_path / "run", "method=lora")
    raw = (path / ADAPTER).read_bytes()
    (path / ADAPTER).write_bytes(raw[:-1] + b"\x01")
    with pytest.raises(UserError, match="damaged"):
        begin(path, "method=lora")
    (path / ADAPTER).write_bytes(raw)
    text = (path / "cell.json").read_text()
    (path / "cell.json").write_text(text.replace('"alpha": ', '"alpha": 1', 1))
    with pytest.raises(UserError, match="damaged"):
        begin(path, "method=lora")
    (path / "cell.json").unlink()
    with pytest.raises(UserError, match="has no cell"):
        begin(path, "method=lora")

"""`uora_bench.inject` on models of the user's own: counts, the start, training, saving, the Trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import uora_bench
from uora_bench.errors import UserError

METHODS = ["lora", "lora_fa", "alpha_lora", "vera", "uora", "tied_lora"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 8), "down": nn.Linear(8, 8)}) for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block["down"](torch.tanh(block["up"](x)))
        return self.head(x)


def trained(net: nn.Module, method: uora_bench.api.adapters.Method, steps: int = 3) -> None:
    head = [p for p in net.parameters() if p.requires_grad and not any(p is q for q in method.parameters())]
    optimizer = torch.optim.AdamW([*method.param_groups(0.05, 0.0), {"params": head, "lr": 0.05}])
    method.bind(optimizer, steps)
    x, y = torch.randn(16, 8, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3
    for step in range(1, steps + 1):
        method.before_forward(step, True)
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        method.after_step(step)
        optimizer.zero_grad()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_goes_on_a_plain_module_trains_merges_and_comes_back(name: str, tmp_path: Path) -> None:
    x = torch.randn(5, 8)
    net = Net()
    before = net(x)
    method = uora_bench.inject(net, name, rank=4, target_modules=["up", "down"], train=["head"], seed=3)
    assert method.starts_elsewhere or torch.equal(net(x), before)
    frozen = {n: p.clone() for n, p in net.named_parameters() if not p.requires_grad}
    trained(net, method)
    assert all(torch.equal(dict(net.named_parameters())[n], p) for n, p in frozen.items())
    after = net(x)
    assert not torch.equal(after, before)
    method.merge()
    torch.testing.assert_close(net(x), after, rtol=1e-4, atol=1e-5)
    method.unmerge()
    uora_bench.save_adapter(method, tmp_path / "mine")
    again = Net()
    again.head.load_state_dict(net.head.state_dict())
    loaded = uora_bench.load_adapter(again, tmp_path / "mine")
    assert loaded.config == method.config
    torch.testing.assert_close(again(x), after, rtol=1e-5, atol=1e-6)


def test_the_number_of_trained_parameters_is_the_closed_form() -> None:
    net = Net()
    method = uora_bench.inject(net, "lora", r=4, lora_alpha=8, target_modules=["up"])
    assert sum(p.numel() for p in method.parameters()) == 2 * 4 * (8 + 8)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 2 * 4 * (8 + 8)


def test_a_seed_decides_the_adapter_and_nothing_else_does() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)
        return next(
            iter(uora_bench.inject(Net(), "lora", rank=2, target_modules=["up"], seed=seed).parameters())
        ).clone()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=16, n_embd=8, n_layer=2, n_head=2))


def test_targets_are_endings_an_expression_all_linear_or_the_librarys_choice() -> None:
    def targets(wanted: object) -> list[str]:
        return sorted(uora_bench.inject(gpt2(), "lora", rank=2, target_modules=wanted).layers)  # type: ignore[arg-type]

    attention = ["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]
    assert targets(None) == attention
    assert targets(["c_attn"]) == attention
    assert targets(r".*h\.0\.attn\.c_attn") == attention[:1]
    assert len(targets("all-linear")) == 8  # four maps a block, and not the output layer, which is tied


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("loar", {}, "did you mean 'lora'"),
        ("peft", {}, "get_peft_model"),
        ("lora", {"rnak": 2}, "did you mean 'rank'"),
        ("lora", {"rank": -1}, "at least 1"),
        ("lora", {"target_modules": ["u"]}, "no linear map is called 'u'"),
        ("lora", {"target_modules": "nothing"}, "matches no linear map"),
        ("lora", {"target_modules": "("}, "no regular expression"),
        ("lora", {"train": ["haed"], "target_modules": ["up"]}, "did you mean 'head'"),
        ("lora", {}, "give endings of names"),
    ],
)
def test_mistakes_are_one_line(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        uora_bench.inject(Net(), name, **given)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", ["nothing there", "not json", "other schema", "other model"])
def test_an_adapter_that_does_not_fit_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    folder = uora_bench.save_adapter(uora_bench.inject(Net(), "lora", rank=2, target_modules=["up"]), tmp_path / "a")
    net: nn.Module = Net()
    if damage == "nothing there":
        folder = tmp_path / "b"
    elif damage == "not json":
        (folder / "adapter.json").write_text("{")
    elif damage == "other schema":
        (folder / "adapter.json").write_text(
            (folder / "adapter.json").read_text().replace('"schema": 1', '"schema": 9')
        )
    else:
        net = gpt2()
    with pytest.raises(UserError) as caught:
        uora_bench.load_adapter(net, folder)
    assert len(str(caught.value).splitlines()) == 1


def test_the_librarys_trainer_tells_the_method_of_every_step(tmp_path: Path) -> None:
    model = gpt2()
    told: list[int] = []
    method = uora_bench.inject(model, "uora", rank=2, target_modules=["c_attn"])
    after = method.after_step
    method.after_step = lambda step: (told.append(step), after(step))[1]  # type: ignore[method-assign]
    rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)} for _ in range(8)]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=3, per_device_train_batch_size=2, gradient_accumulation_steps=2, report_to=[],
        disable_tqdm=True, save_strategy="no", use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    Trainer(model, arguments, train_dataset=rows, callbacks=[uora_bench.trainer_callback(method)]).train()  # type: ignore[arg-type]
    assert told == [1, 2, 3]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.up = nn.MultiheadAttention(8, 2), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.inner(x, x, x)[0])


def shared() -> nn.Module:
    one = nn.Linear(8, 8)
    return nn.ModuleDict({"a": one, "b": one})


def adapted() -> nn.Module:
    net = Net()
    uora_bench.inject(net, "lora", target_modules=["up"])
    return net


@pytest.mark.parametrize(
    ("model", "targets", "said"),
    [
        (Net, ["up"], "must be an instance of torch.nn.Module, not type"),
        (adapted(), ["down"], "has an adapter already, on 'blocks.0.up', which a second one would freeze"),
        (nn.Sequential(nn.LazyLinear(4)), ["0"], "'0.weight' has no shape yet"),
        (shared(), ["a"], r"one module in 2 places \(a, b\)"),
        (Attention(), ["out_proj"], "'inner.out_proj' is never called"),
    ],
)
def test_models_on_which_an_adapter_would_not_work_are_refused(model: nn.Module, targets: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        uora_bench.inject(model, "lora", target_modules=targets)
    assert "\n" not in str(error.value)


def test_all_linear_leaves_out_what_attention_of_torch_never_calls() -> None:
    net = Attention()
    method = uora_bench.inject(net, "lora", target_modules="all-linear")
    assert list(method.layers) == ["up"]
    net(torch.randn(3, 1, 8)).sum().backward()


@pytest.mark.parametrize("name", ["full", "bitfit", "head_only"])
def test_a_method_without_targets_needs_none(name: str) -> None:
    net = Net()
    method = uora_bench.inject(net, name, train=["head"])
    wanted = {"full": 4 * 72 + 27, "bitfit": 4 * 8 + 3, "head_only": 0}[name]
    assert sum(p.numel() for p in method.parameters()) == wanted

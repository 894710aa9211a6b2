"""The passes for LLaMA's kind on a CPU against the library's own: losses, gradients, masks, and who is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.models.llama import modeling_llama as llama

from uora_bench.contract.models import backbone_config, make_method
from uora_bench.models.targets import find_targets
from uora_bench.tasks.causal import IGNORED, CausalLM
from uora_bench.training import chunked_loss, cpu_functions, cpu_llama, cpu_ops

WORDS = 97


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models count as large ones, and a few tokens as many."""
    monkeypatch.setattr(chunked_loss, "WORTH", 0)
    monkeypatch.setattr(cpu_functions, "CHUNK", 5)
    monkeypatch.setattr(cpu_functions, "PART", 24)  # two rows of a batch
    monkeypatch.setattr(cpu_functions, "QUERIES", 5)


def make(own: bool, tied: bool = True, method: str = "lora", **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=48, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        intermediate_size=80, max_position_embeddings=64, tie_word_embeddings=tied, **settings,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():  # away from the start, where norms are ones and scores nothing
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    adapter = make_method(method, **({"rank": 3} if method == "lora" else {}))
    if method == "lora":
        targets = find_targets(model, backbone_config("tiny_llama"), ("q", "k", "v", "up"))
        adapter.inject(model, targets, torch.Generator().manual_seed(0))
        for parameter in adapter.parameters():
            parameter.data.normal_(std=0.1)
    if own:
        cpu_ops.install(model)
    return model.train()


def batch(lengths: tuple[int, ...] = (12, 12, 7), prompt: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, WORDS, (len(lengths), 12), generator=generator)
    mask = (torch.arange(12) < torch.tensor(lengths)[:, None]).long()
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[:, :prompt] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "weight": (labels != IGNORED).sum(1).float()}


def passed(model: Any, inputs: dict[str, Tensor], smoothing: float = 0.1, low: bool = False) -> tuple[Tensor, Any]:
    """The token losses, and the gradients of their weighted sum by parameter."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        losses = CausalLM._token_losses(model, inputs, smoothing)
    (losses.float() * torch.linspace(0.5, 1.5, losses.shape[1])).sum().backward()
    return losses.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


CASES = {
    "full": batch((12, 12, 12), 0),
    "padded": batch(),
    "one target": batch((12, 4, 2), 11),
    "chunks": batch((12, 12, 12), 1),  # 33 targets in fives
    "none": batch((12, 12, 7), 12),
}
CASES["holes"] = {**CASES["padded"], "attention_mask": (torch.arange(36).view(3, 12) % 5 != 4).long()}
CASES["packed"] = {
    **{k: v for k, v in CASES["full"].items() if k != "attention_mask"},
    "position_ids": torch.tensor([[*range(5), *range(7)]]).expand(3, -1),
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_are_the_librarys_in_float32(name: str, tied: bool) -> None:
    own, library, inputs = make(True, tied), make(False, tied), CASES[name]
    kinds = {type(m).__name__ for m in own.modules()}
    assert {"FrozenLinear", "Norm", "Gated", "Attention"} <= kinds
    assert own.takes_targets
    losses, grads = passed(own, inputs)
    expected, wanted = passed(library, inputs)
    torch.testing.assert_close(losses, expected, rtol=2e-5, atol=2e-5)
    assert (losses[inputs["labels"][:, 1:] == IGNORED] == 0).all()
    assert grads.keys() == wanted.keys()
    assert (name == "none") == all(not g.any() for g in wanted.values())
    for key, grad in grads.items():
        torch.testing.assert_close(grad, wanted[key], rtol=1e-4, atol=2e-5 * max(1.0, wanted[key].abs().max().item()))


@pytest.mark.parametrize("name", ["padded", "holes", "packed"])
def test_in_bfloat16_they_are_as_near_to_float32_as_the_librarys(name: str) -> None:
    inputs = CASES[name]
    truth, exact = passed(make(False), inputs)
    found, own = passed(make(True), inputs, low=True)
    plain, library = passed(make(False), inputs, low=True)
    assert (found - truth).norm() <= 1.5 * (plain - truth).norm()
    size, error, other = (
        torch.cat([(a[k] - b[k] if b else a[k]).flatten() for k in exact]).norm()
        for a, b in ((exact, None), (own, exact), (library, exact))
    )
    assert error <= 1.5 * other
    assert error < 0.1 * size


def test_without_a_gradient_the_same_losses_come_and_logits_are_the_librarys() -> None:
    own, library, inputs = make(True).eval(), make(False).eval(), CASES["padded"]
    with torch.inference_mode():
        torch.testing.assert_close(*(CausalLM._token_losses(m, inputs, 0.0) for m in (own, library)))
        seen = inputs["attention_mask"].bool()
        logits = [
            m(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits for m in (own, library)
        ]
    torch.testing.assert_close(logits[0][seen], logits[1][seen], rtol=1e-4, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    plain, replayed = make(True), make(True)
    replayed.gradient_checkpointing_enable({"use_reentrant": False})
    for a, b in zip(
        passed(plain, CASES["padded"])[1].values(), passed(replayed, CASES["padded"])[1].values(), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_generation_is_the_librarys() -> None:
    own, library = make(True).eval(), make(False).eval()
    ids = CASES["full"]["input_ids"][:, :6]
    mask = torch.ones_like(ids)
    mask[1, :2] = 0  # padded on the left
    given = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(*(m.generate(**given) for m in (own, library)))


def test_what_is_trained_keeps_the_librarys_pass() -> None:
    model = make(True, method="full")
    assert {type(m) for m in model.modules()} & {cpu_llama.FrozenLinear, cpu_llama.Norm} == set()
    assert not hasattr(model, "takes_targets")
    grads = [passed(m, CASES["padded"])[1].values() for m in (model, make(False, method="full"))]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_small_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model = make(True)
    assert {type(m).__module__ for m in model.modules()} & {cpu_llama.__name__} == set()
    assert CausalLM._token_losses(model, CASES["padded"], 0.0).shape == (3, 11)
    assert not hasattr(model, "takes_targets")


def test_a_kept_weight_follows_the_weight_it_was_made_of() -> None:
    linear = nn.Linear(4, 3, bias=False).requires_grad_(False)
    linear.__class__ = cpu_llama.FrozenLinear
    x, first = torch.ones(1, 4), linear.weight.data

    def now() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return linear(x)

    before = now()
    assert linear.cast_weight(torch.bfloat16) is linear.cast_weight(torch.bfloat16)
    linear.weight.data = first + 1  # as merging does
    assert torch.equal(now(), F.linear(x.bfloat16(), (first + 1).bfloat16()))
    linear.weight.data = first
    assert torch.equal(now(), before)
    linear.weight.mul_(2)
    assert torch.equal(now(), F.linear(x.bfloat16(), first.bfloat16()))
    linear.weight.data = first
    with torch.inference_mode():  # kept by an evaluation, used by training
        now()
    with torch.autocast("cpu", torch.bfloat16):
        linear(x.requires_grad_()).sum().backward()
    assert torch.equal(x.grad, first.bfloat16().sum(0, keepdim=True).float())
    assert list(linear.state_dict()) == ["weight"]
    assert torch.equal(linear(x), F.linear(x, linear.weight))  # without autocast as it is


def test_the_last_token_of_every_row_takes_one_product() -> None:
    linear = nn.Linear(4, 3, bias=False).requires_grad_(False)
    linear.__class__ = cpu_llama.FrozenLinear
    x = torch.randn(5, 7, 4).bfloat16()
    called: list[str] = []

    class Listens(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    with Listens(), torch.autocast("cpu", torch.bfloat16):
        y = linear(x[:, -1:])
    assert called.count("mm") == 1
    assert "bmm" not in called  # which copies the weight for every row
    assert torch.equal(y, F.linear(x[:, -1:].contiguous(), linear.weight.bfloat16()))


def test_the_norm_and_its_gradient_against_float64() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, 16, requires_grad=True), torch.randn(16)
    y = cpu_functions.rms_norm(x, weight, 1e-5, torch.float32)
    exact = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-5) * weight.double()
    torch.testing.assert_close(y, exact.float())
    g = torch.randn_like(y)
    (got,), (want,) = torch.autograd.grad(y, x, g), torch.autograd.grad(exact, x, g.double())
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("given", ["no mask", "causal", "looks ahead"])
def test_attention_and_its_gradients_against_float64(given: str) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 7, h, 8, requires_grad=True) for h in (6, 2, 2))
    angles = torch.randn(1, 7, 4).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    seen = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    if given != "no mask":
        seen[1, :, :, 2] = False
        seen[1, :, 2, 2] = True
    if given == "looks ahead":
        seen[0, :, 1, 6] = True
    y = cpu_functions.rotary_attention(q, k, v, cos, sin, None if given == "no mask" else seen, 0.3)
    turned = llama.apply_rotary_pos_emb(q.double(), k.double(), cos.double(), sin.double(), unsqueeze_dim=2)
    wide_q, wide_k = (t.transpose(1, 2) for t in turned)
    keys, values = (t.repeat_interleave(3, dim=1) for t in (wide_k, v.double().transpose(1, 2)))
    scores = (0.3 * wide_q @ keys.transpose(-1, -2)).masked_fill(~seen, -math.inf)
    exact = (scores.softmax(-1) @ values).transpose(1, 2)
    torch.testing.assert_close(y, exact.float(), rtol=1e-5, atol=1e-5)
    g = torch.randn_like(y)
    got, want = torch.autograd.grad(y, (q, k, v), g), torch.autograd.grad(exact, (q, k, v), g.double())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 4, 5, 6, 13])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_chunked_loss_is_the_librarys(tokens: int, smoothing: float) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(tokens, 6, requires_grad=True), 3 * torch.randn(11, 6)
    targets = torch.randint(0, 11, (tokens,))
    losses = cpu_functions.token_losses(hidden, weight, targets, smoothing)
    exact = F.cross_entropy(hidden @ weight.T, targets, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(losses, exact, rtol=1e-5, atol=1e-5)
    g = torch.randn(tokens)
    (got,), (want,) = torch.autograd.grad(losses, hidden, g), torch.autograd.grad(exact, hidden, g)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)

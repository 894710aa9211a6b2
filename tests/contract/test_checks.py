"""The checks themselves: a method that is wrong fails the one that asks for it, with a line that says why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uora_bench.contract import harness, maths
from uora_bench.contract.cases import CHECKS, cases_of, failure
from uora_bench.methods.forward_paths import Term
from uora_bench.methods.lora import LoRA, LoRABranch


def test_every_check_has_a_name_of_its_own_and_is_asked_of_lora() -> None:
    names = {check.name for check in CHECKS}
    assert len(names) == len(CHECKS) > 35
    assert {case.check.name for case in cases_of("lora", slow=True)} == names


def draws_globally(self: LoRA, *given: Any, inject: Any = LoRA.inject) -> None:
    torch.rand(1)
    inject(self, *given)


# what is wrong -> the class, its attribute, what that is instead, the check that finds it, what it says
WRONG: dict[str, tuple[type, str, Any, str, str]] = {
    "counts too few": (LoRA, "count", lambda *_: 1, "the_closed_form_counts", "count says 1, and the model trains"),
    "draws from torch": (LoRA, "inject", draws_globally, "the_global_generators_alone", "torch's global generator"),
    "merges another map": (
        LoRABranch, "delta_weight", lambda self: 0.9 * (self.B @ self.A), "merged_logits", "the merged model's logits",
    ),
    "forgets what it trains": (
        LoRA, "adapter_state", lambda self: {n: b.A for n, b in self.branches.items()}, "the_adapter_file", "lacks",
    ),
    "trains what no gradient reaches": (
        LoRABranch, "term", lambda self, *at: Term(*at, self.A.detach(), self.B), "one_step", "no gradient reaches",
    ),
    "takes any adapter file": (LoRA, "load_adapter_state", lambda *_: None, "a_file_of_something", "is not refused"),
    "says what JSON has not": (LoRA, "report", lambda *_: {"x": float("nan")}, "the_record_can_hold", "ValueError: "),
    "starts as it says not to": (LoRA, "starts_elsewhere", "so", "the_start_is", "and it is the same"),
}  # fmt: skip


@pytest.fixture
def _fresh() -> Iterator[None]:
    """No model of another test's method is kept."""
    kept = (harness.looked_at, harness.plain_run)
    for function in kept:
        function.cache_clear()
    yield
    for function in kept:
        function.cache_clear()


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_method_fails_the_check_that_asks_for_it(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, value, name, said = WRONG[what]
    monkeypatch.setattr(owner, attribute, value)
    cases = [case for case in cases_of("lora") if name in case.check.name]
    assert any(said in failure(case) for case in cases), [failure(case) for case in cases]


class _ForgetsTheFactor(torch.autograd.Function):
    """y = 2 x with the backward of y = x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def test_a_wrong_backward_does_not_pass_for_a_gradient() -> None:
    x = nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64))
    assert maths.gradient_error(lambda: (2 * x).tanh().sum(), [x]) < 1e-6
    assert maths.gradient_error(lambda: _ForgetsTheFactor.apply(x).tanh().sum(), [x]) > 0.1

"""LoRA: ΔW = (α/r) B A (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uora_bench.config.options.low_rank import LoRAOptions
from uora_bench.methods import functional
from uora_bench.methods.base import Branch, Method, Target
from uora_bench.methods.forward_paths import Term


class LoRABranch(Branch):
    """A (r × in) and B (out × r), both trained; ΔW = scale · B A."""

    def __init__(self, A: Tensor, B: Tensor, scale: float) -> None:
        super().__init__()
        self.A, self.B, self.scale = nn.Parameter(A), nn.Parameter(B), scale

    def delta(self, x: Tensor) -> Tensor:
        """(α/r) B A x, (…, out)."""
        return functional.low_rank(x, self.A, self.B, self.scale)

    def delta_weight(self) -> Tensor:
        """(α/r) B A, (out × in)."""
        return self.scale * (self.B @ self.A)

    def term(self, start: int, stop: int) -> Term:
        """(α/r) B A on rows ``start`` to ``stop`` of the wrapped weight."""
        return Term(start, stop, self.A, self.B, scale=self.scale)

    def factors(self) -> tuple[Tensor, Tensor]:
        """A as it is, and B with α/r multiplied into it."""
        return self.A, self.scale * self.B


class LoRA(Method):
    """One trained pair per target. A starts uniform in ±1/√in (the official code's Kaiming with a = √5), B at zero."""

    name = "lora"
    Config = LoRAOptions
    config: LoRAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """A starts uniform in ±1/√in, drawn from ``generator`` on the CPU; B starts at zero."""
        r, scale = self.config.rank, self.config.alpha / self.config.rank

        def make(target: Target, dtype: torch.dtype, device: torch.device) -> LoRABranch:
            shape = target.shape
            A = torch.empty(r, shape.in_features, dtype=dtype)
            nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=generator)
            B = torch.zeros(shape.out_features, r, dtype=dtype, device=device)
            return LoRABranch(A.to(device), B, scale)

        self._wrap(model, targets, self.config.dropout, make)

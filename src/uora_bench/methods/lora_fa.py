"""LoRA-FA: ΔW = (α/r) B A with A frozen at its random start (Zhang et al. 2023, arXiv 2308.03303)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from uora_bench.config.options.low_rank import LoRAFAOptions
from uora_bench.methods.base import Target
from uora_bench.methods.lora import LoRA


class LoRAFA(LoRA):
    """LoRA's layers and start; only B is trained, so that the input of A need not be kept for the backward pass."""

    name = "lora_fa"
    Config = LoRAFAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """LoRA's draws; A is frozen afterwards."""
        super().inject(model, targets, generator)
        for branch in self.branches.values():
            branch.get_parameter("A").requires_grad_(False)

    def seed_tensors(self) -> set[str]:
        """Every A: frozen at what the seed drew."""
        return {name for name in self.adapter_state() if name.endswith(".A")}

"""Full fine-tuning: every parameter of the backbone is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uora_bench.config.options.baselines import FullOptions
from uora_bench.methods.base import Method, Target, backbone_parameters


class Full(Method):
    """No adapter: ΔW is what training makes of the weights themselves. The head is the trainer's, as always."""

    name = "full"
    Config = FullOptions
    config: FullOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Open every parameter of the backbone outside the head; nothing is drawn."""
        self._named = backbone_parameters(model)
        for parameter in self._named.values():
            parameter.requires_grad_(True)

    def parameters(self) -> list[nn.Parameter]:
        """Every parameter of the backbone outside the head, in its order."""
        return list(self._named.values())

    def adapter_state(self) -> dict[str, Tensor]:
        """All weights of the backbone: full fine-tuning ships a whole model."""
        return dict(self._named)

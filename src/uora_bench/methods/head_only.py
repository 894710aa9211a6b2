"""Only the task head is trained: the baseline every adapter has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from uora_bench.config.options.baselines import HeadOnlyOptions
from uora_bench.methods.base import Method, Target, freeze


class HeadOnly(Method):
    """Freezes the backbone and adds nothing."""

    name = "head_only"
    Config = HeadOnlyOptions
    config: HeadOnlyOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Freeze the backbone; the trainer opens the head."""
        freeze(model)

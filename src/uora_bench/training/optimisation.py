"""The optimizer: which parameters it steps, in which groups, with which learning rate at which step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TrainerConfig

if TYPE_CHECKING:
    import torch

    from uora_bench.methods.base import Method


def groups(trainer: TrainerConfig, method: Method, head: Mapping[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
    """Adapter groups from the method, then the head: decay on its matrices, and on biases and norms if asked for."""
    found = method.param_groups(trainer.lr_adapter, trainer.weight_decay_adapter)
    for decay, members in (
        (trainer.weight_decay_head, [p for p in head.values() if p.ndim > 1]),
        (trainer.weight_decay_head * trainer.decay_head_biases, [p for p in head.values() if p.ndim <= 1]),
    ):
        if members:
            found.append({"params": members, "lr": trainer.lr_head, "weight_decay": decay})
    return found


def adamw(groups: list[dict[str, Any]], config: TrainerConfig) -> torch.optim.AdamW:
    """AdamW on ``groups``, each group's parameters stepped in one fused call where torch has one for them."""
    import torch

    parameters = [p for group in groups for p in group["params"]]
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=fused)  # type: ignore[arg-type]


def learning_rate_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """The factor on every learning rate in optimizer step ``step`` (from 0).

    Linear warm-up, then linear or half a cosine down to 0, or constant.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    left = max(0.0, (total - step) / max(1, total - warmup))
    return left if schedule == "linear" else 0.5 * (1.0 - math.cos(math.pi * left))

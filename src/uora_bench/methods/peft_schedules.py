"""What some PEFT tuners need of a training loop beside gradients: a call per step, a term of the loss, a state.

AdaLoRA (arXiv 2303.10512) moves rank between targets; AdaMSS freezes subspaces; KaSA adds a term to the loss. PEFT
leaves these to the training script (``update_and_allocate`` after the optimizer's step, before ``zero_grad``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from uora_bench.config.options.peft import ADAPTER
from uora_bench.errors import UserError


class Schedule:
    """Nothing beside gradients: what most tuners need."""

    def bind(self, total_steps: int | None) -> None:
        """Called before training with the number of optimizer steps; a tuner that needs more raises `UserError`."""

    def regulariser(self) -> Tensor | None:
        """The tuner's term in the loss; None: none."""
        return None

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """Act after optimizer step ``step`` (from 1); returns scalars to log."""
        return {}

    def state(self) -> dict[str, Any]:
        """What the schedule has gathered: tensors and plain values."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""

    def ranks(self) -> dict[str, int]:
        """What is left of each target (rank, or subspaces), by module path; empty where it never changes."""
        return {}


class AdaLoraSchedule(Schedule):
    """AdaLoRA: singular triplets of all targets compete for a budget that falls from init_r to target_r per target."""

    def __init__(self, tuner: Any, given_total: bool) -> None:
        self.tuner, self.given_total = tuner, given_total
        self.config, self.allocator = tuner.peft_config[ADAPTER], tuner.rankallocator
        named = dict(tuner.model.named_parameters())
        # in PEFT's order, so that the sum rounds as PEFT's does
        factors = [n for n in named if f"lora_A.{ADAPTER}" in n or f"lora_B.{ADAPTER}" in n]
        self.factors = [(named[n], f"lora_A.{ADAPTER}" in n) for n in factors]
        self.paths = [n.removesuffix(f".lora_E.{ADAPTER}") for n in named if n.endswith(f".lora_E.{ADAPTER}")]

    def bind(self, total_steps: int | None) -> None:
        """Set ``total_step``, unless the user did.

        Raises:
            UserError: when no step is left for reducing the budget, or the reduction would not end within the run.
        """
        config = self.config
        if not self.given_total and total_steps is not None:
            config.total_step = total_steps
        total, tinit, tfinal = config.total_step, config.tinit, config.tfinal
        if tinit >= total - tfinal:
            raise UserError(
                f"AdaLoRA has no step to reduce its ranks in: peft.tinit={tinit} + peft.tfinal={tfinal} leave none of "
                f"{total} steps; lower them, or train longer"
            )
        if total_steps is not None and total - tfinal > total_steps:
            raise UserError(
                f"AdaLoRA would reduce its ranks until step {total - tfinal} (peft.total_step={total} - peft.tfinal="
                f"{tfinal}), but the run has {total_steps} steps; drop peft.total_step"
            )

    def regulariser(self) -> Tensor | None:
        """orth_reg_weight times the mean over all A and B of ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖ (Frobenius)."""
        if not self.config.orth_reg_weight:
            return None
        total: Any = 0
        for p, wide in self.factors:
            gram = p @ p.T if wide else p.T @ p
            total = total + torch.norm(gram - torch.eye(len(gram), dtype=p.dtype, device=p.device), p="fro")
        return self.config.orth_reg_weight * (total / len(self.factors))

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """PEFT's ``update_and_allocate``, skipped where a float16 gradient overflowed; logs the mean rank."""
        norms = torch.stack(torch._foreach_norm([p.grad for p, _ in self.factors if p.grad is not None]))
        if bool(
            torch.isfinite(norms).all()
        ):  # float16: a step that overflowed was skipped, and says nothing of importance
            self.tuner.update_and_allocate(step)
        return {"peft/rank": sum(self.ranks().values()) / len(self.paths)}

    def state(self) -> dict[str, Any]:
        """Copies of the importance scores, and the rank pattern of the last allocation."""
        gathered = {k: {n: t.clone() for n, t in getattr(self.allocator, k).items()} for k in _IMPORTANCE}
        pattern = self.config.rank_pattern
        return {**gathered, "rank_pattern": None if pattern is None else {n: list(r) for n, r in pattern.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back, on the device of the adapter."""
        device = self.factors[0][0].device
        for key in _IMPORTANCE:
            setattr(self.allocator, key, {n: t.to(device, copy=True) for n, t in state[key].items()})
        self.config.rank_pattern = state["rank_pattern"]

    def ranks(self) -> dict[str, int]:
        """The number of directions that are not masked, by module path."""
        pattern = self.config.rank_pattern
        if pattern is None:
            return dict.fromkeys(self.paths, self.config.init_r)
        return {path: sum(pattern[f"{path}.lora_E.{ADAPTER}"]) for path in self.paths}


class AdamssSchedule(Schedule):
    """AdaMSS with ``use_asa``: the least important subspaces are frozen, step by step, for good."""

    def __init__(self, tuner: Any) -> None:
        self.tuner, self.config = tuner, tuner.peft_config[ADAPTER]
        self.layers = {n: m for n, m in tuner.model.named_modules() if hasattr(m, "exp_avg_ipt_A")}

    def bind(self, total_steps: int | None) -> None:
        """Check that the freezing ends within the run.

        Raises:
            UserError: when it does not, or several processes train.
        """
        config = self.config
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise UserError(
                "AdaMSS with peft.use_asa freezes parameters while it trains, which several processes cannot"
            )
        if total_steps is not None and not config.init_warmup < config.final_warmup <= total_steps:
            raise UserError(
                f"AdaMSS freezes subspaces from step {config.init_warmup} (peft.init_warmup) to {config.final_warmup} "
                f"(peft.final_warmup), but the run has {total_steps} steps; set both within it"
            )

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """PEFT's ``update_and_allocate``; logs the number of subspaces that still train."""
        self.tuner.update_and_allocate(step)
        return {"peft/subspaces": float(sum(self.ranks().values()))}

    def state(self) -> dict[str, Any]:
        """By module path: copies of the importance scores, and which subspaces still train."""

        def copied(values: list[Tensor | None]) -> list[Tensor | None]:
            return [None if v is None else v.clone() for v in values]

        return {
            name: {
                **{key: copied(getattr(layer, key)[ADAPTER]) for key in _SUBSPACE_IMPORTANCE},
                "open": [p.requires_grad for p in (*layer.adamss_A[ADAPTER], *layer.adamss_B[ADAPTER])],
            }
            for name, layer in self.layers.items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back, and freeze the subspaces that it has as frozen."""
        for name, layer in self.layers.items():
            parameters = (*layer.adamss_A[ADAPTER], *layer.adamss_B[ADAPTER])
            for key in _SUBSPACE_IMPORTANCE:
                values = state[name][key]
                device = parameters[0].device
                getattr(layer, key)[ADAPTER] = [None if v is None else v.to(device, copy=True) for v in values]
            for parameter, is_open in zip(parameters, state[name]["open"], strict=True):
                parameter.requires_grad = is_open

    def ranks(self) -> dict[str, int]:
        """The number of subspaces that still train, by module path."""
        return {name: sum(p.requires_grad for p in layer.adamss_A[ADAPTER]) for name, layer in self.layers.items()}


class KasaSchedule(Schedule):
    """LoRA with ``kasa_config``: PEFT computes the paper's two terms and leaves adding them to the training script."""

    def __init__(self, tuner: Any) -> None:
        self.tuner = tuner

    def regulariser(self) -> Tensor | None:
        """KaSA's terms for the size of the singular values and for orthogonality, as PEFT computes them."""
        term = self.tuner._get_kasa_loss()
        return term if isinstance(term, Tensor) else None


_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_SUBSPACE_IMPORTANCE = ("exp_avg_ipt_A", "exp_avg_ipt_B", "exp_avg_unc_A", "exp_avg_unc_B")


def schedule_of(kind: str, tuner: Any, given_total: bool) -> Schedule:
    """The schedule that PEFT type ``kind`` asks its training script for."""
    config = tuner.peft_config[ADAPTER]
    if kind == "adalora":
        return AdaLoraSchedule(tuner, given_total)
    if kind == "adamss" and config.use_asa:
        return AdamssSchedule(tuner)
    if getattr(config, "kasa_config", None) is not None:
        return KasaSchedule(tuner)
    return Schedule()

"""α-LoRA: y = α ⊙ (W0 x + bias) + (α_r/r) B A x (El Firdoussi et al. 2025, arXiv 2510.21345).

α (out,) is trained on batches of its own, by its own optimizer, every so many steps: the trainer's auxiliary step.
Order, start and quirks are those of the released code (elfirdoussilab1/alpha-LoRA, commit ed3ec66).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uora_bench.config.options.low_rank import AlphaLoRAOptions
from uora_bench.errors import UserError
from uora_bench.methods import functional
from uora_bench.methods.base import Auxiliary, Branch, Method, Target
from uora_bench.methods.forward_paths import Term

_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


class AlphaBranch(Branch):
    """A (r × in) and B (out × r), trained; α (out,), trained or a constant."""

    alpha: Tensor

    def __init__(self, A: Tensor, B: Tensor, alpha: Tensor, scale: float, trained: bool) -> None:
        super().__init__()
        self.A, self.B, self.scale = nn.Parameter(A), nn.Parameter(B), scale
        if trained:
            self.alpha = nn.Parameter(alpha)
        else:
            self.register_buffer("alpha", alpha)

    def delta(self, x: Tensor) -> Tensor:
        """The low-rank part alone, (α_r/r) B A x, (…, out)."""
        return functional.low_rank(x, self.A, self.B, self.scale)

    def delta_weight(self) -> Tensor:
        """The low-rank part alone, (α_r/r) B A, (out × in)."""
        return self.scale * (self.B @ self.A)

    def term(self, start: int, stop: int) -> Term:
        """The update as `weight_linear` computes it: α scales the rows of W0, α_r/r scales B A."""
        return Term(start, stop, self.A, self.B, alpha=self.alpha, scale=self.scale)

    def adapt(self, x: Tensor, y: Tensor) -> Tensor:
        """α ⊙ (W0 x + bias) + (α_r/r) B A x, in the dtype of ``y``; ``y`` (…, out) includes the bias."""
        return (self.alpha * y + self.delta(x)).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """W = diag(α) W0 + (α_r/r) B A, and α ⊙ bias, each rounded once to its own dtype."""
        dtype = self.alpha.dtype
        merged = self.alpha[:, None] * weight.to(dtype) + self.delta_weight()
        scaled = None if bias is None else (self.alpha * bias.to(dtype)).to(bias.dtype)
        return merged.to(weight.dtype), scaled

    def factors(self) -> tuple[Tensor, Tensor]:
        """Refuse with `UserError`: the update also rescales W0 and the bias."""
        raise UserError("α-LoRA rescales the rows of W0 and its bias, which no low-rank adapter can hold")


class AlphaLoRA(Method):
    """LoRA plus a scale on each frozen output, trained unless ``mode=fixed``. By default α starts at 1."""

    name = "alpha_lora"
    Config = AlphaLoRAOptions
    config: AlphaLoRAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """A starts normal with standard deviation 1/√r, B at zero, α at ``alpha_initial`` (null: one draw)."""
        config = self.config
        r, alpha_r = config.rank, config.rank if config.alpha_r is None else config.alpha_r
        start = config.alpha_initial
        if start is None:  # the released code without its flag: one draw for all entries of all layers
            start = float(torch.randn((), generator=generator))

        def make(target: Target, dtype: torch.dtype, device: torch.device) -> AlphaBranch:
            shape = target.shape
            A = torch.empty(r, shape.in_features, dtype=dtype).normal_(0, 1 / math.sqrt(r), generator=generator)
            B = torch.zeros(shape.out_features, r, dtype=dtype, device=device)
            alpha = torch.full((shape.out_features,), start, dtype=dtype, device=device)
            return AlphaBranch(A.to(device), B, alpha, alpha_r / r, config.mode != "fixed")

        self._wrap(model, targets, config.dropout, make)

    def param_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """A and B; α belongs to `auxiliary`."""
        own = {id(p) for p in self._alphas()}
        return [{"params": [p for p in self.parameters() if id(p) not in own], "lr": lr, "weight_decay": weight_decay}]

    def auxiliary(self) -> Auxiliary | None:
        """Adam on α alone, on the held-out rows; None with ``mode=fixed``, where α is constant."""
        config = self.config
        if config.mode == "fixed":
            return None
        return Auxiliary(
            every=config.alpha_every,
            batch_size=config.alpha_batch_size,
            phase=config.said("phase"),
            shuffle=config.said("shuffle"),
            betas=(config.alpha_betas[0], config.alpha_betas[1]),
            param_groups=[{"params": self._alphas(), "lr": config.alpha_lr}],
        )

    def adapter_state(self) -> dict[str, Tensor]:
        """A, B and α of every target, a constant α too."""
        return {
            f"{name}.{key}": t for name, b in self.branches.items() for key, t in b.state_dict(keep_vars=True).items()
        }

    def snapshot(self) -> dict[str, Any]:
        """``{"alpha": {target: {mean, std, min, q05, …, q95, max}}}``: α's distribution in each branch."""
        return {"alpha": {name: _spread(b.get_parameter("alpha")) for name, b in self._trained_branches()}}

    def report(self) -> dict[str, Any]:
        """`snapshot` at the end of training."""
        return self.snapshot()

    def _trained_branches(self) -> list[tuple[str, Branch]]:
        return list(self.branches.items()) if self.config.mode != "fixed" else []

    def _alphas(self) -> list[nn.Parameter]:
        return [b.get_parameter("alpha") for _, b in self._trained_branches()]


@torch.no_grad()
def _spread(alpha: Tensor) -> dict[str, float]:
    values = alpha.double().cpu()
    quantiles = values.quantile(torch.tensor(list(_QUANTILES.values()), dtype=torch.float64)).tolist()
    return {
        "mean": values.mean().item(),
        "std": values.std(correction=0).item(),
        "min": values.min().item(),
        **dict(zip(_QUANTILES, quantiles, strict=True)),
        "max": values.max().item(),
    }

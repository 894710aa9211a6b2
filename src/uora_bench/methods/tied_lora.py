"""Tied-LoRA: ΔW = Λ_v B Λ_u A with A and B shared by all layers (Renduchintala et al. 2024, arXiv 2311.09578)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from uora_bench.config.options.tied import FACTORS, TiedLoRAOptions
from uora_bench.methods import functional
from uora_bench.methods.base import Branch, Method, Target, TargetShape
from uora_bench.methods.forward_paths import Term
from uora_bench.methods.projections import draw


class Factor(nn.Module):
    """One of A (r × in), B (out × r), u (r,), v (out,): trained or frozen, one object for all that share it."""

    value: Tensor

    def __init__(self, value: Tensor, trained: bool) -> None:
        super().__init__()
        if trained:
            self.value = nn.Parameter(value)
        else:
            self.register_buffer("value", value)


class TiedBranch(Branch):
    """ΔW = scale · Λ_v B[:out] Λ_u A[:, :in]; a frozen u or v is constant and part of ``scale``."""

    A: Factor
    B: Factor
    u: Factor | None
    v: Factor | None

    def __init__(self, factors: Mapping[str, Factor | None], owned: set[str], shape: TargetShape, scale: float) -> None:
        """``owned``: the factors this branch is the first to use.

        It registers those and only refers to the rest, so that the model has, moves and saves each one once.
        """
        super().__init__()
        self.in_features, self.out_features, self.scale = shape.in_features, shape.out_features, scale
        for name, factor in factors.items():
            if name in owned:
                setattr(self, name, factor)
            else:
                object.__setattr__(self, name, factor)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        A, B = self.A.value[:, : self.in_features], self.B.value[: self.out_features]
        return A, B, self.u.value if self.u is not None else None, self.v.value if self.v is not None else None

    def delta(self, x: Tensor) -> Tensor:
        """scale · Λ_v B Λ_u A x, (…, out)."""
        return functional.tied_pair(x, *self._parts(), self.scale)

    def term(self, start: int, stop: int) -> Term:
        """scale · Λ_v B Λ_u A on rows ``start`` to ``stop`` of the wrapped weight."""
        return Term(start, stop, *self._parts(), scale=self.scale)

    def factors(self) -> tuple[Tensor, Tensor]:
        """A as it is, and B with scale, u and v multiplied into it."""
        A, B, u, v = self._parts()
        B = B * self.scale
        B = B if u is None else B * u
        return A, B if v is None else v[:, None] * B

    def delta_weight(self) -> Tensor:
        """scale · Λ_v B Λ_u A, (out × in)."""
        A, B = self.factors()
        return B @ A


class TiedLoRA(Method):
    """A and B tied over layers (per projection type, or one pair for all), u and v per layer; no α/r scale."""

    name = "tied_lora"
    Config = TiedLoRAOptions
    config: TiedLoRAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Make every factor once and give it to all branches that share it; one trained factor starts at zero."""
        config = self.config
        widths = config.widths([t.shape for t in targets])
        self.factors: dict[str, Factor] = {}
        scale = 1.0
        for factor, value in (("u", config.u_initial), ("v", config.v_initial)):
            scale *= 1.0 if factor in config.trained else value

        def make(target: Target, dtype: torch.dtype, device: torch.device) -> TiedBranch:
            parts: dict[str, Factor | None] = {}
            owned: set[str] = set()
            for factor in FACTORS:
                key = config.factor_key(factor, target.shape.kind, target.shape.layer)
                name = f"{factor}.{key}"
                if factor in "uv" and factor not in config.trained:
                    parts[factor] = None
                    continue
                if name not in self.factors:
                    value = self._start(factor, config.factor_shape(factor, *widths[factor, key]), generator, dtype)
                    self.factors[name] = Factor(value.to(device), factor in config.trained)
                    owned.add(factor)
                parts[factor] = self.factors[name]
            return TiedBranch(parts, owned, target.shape, scale)

        self._wrap(model, targets, config.dropout, make)

    def _start(self, factor: str, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
        config = self.config
        if factor == config.start:
            return torch.zeros(shape, dtype=dtype)
        if factor in "uv":
            return torch.full(shape, config.u_initial if factor == "u" else config.v_initial, dtype=dtype)
        rows, columns = shape
        return draw(rows, columns, config.init, config.gain, generator, dtype)

    def parameters(self) -> list[nn.Parameter]:
        """The trained factors, each shared one once."""
        return [p for f in self.factors.values() for p in f.parameters()]

    def adapter_state(self) -> dict[str, Tensor]:
        """Every factor once, frozen ones too: a seed draws the same matrices only with the same library."""
        return {name: factor.value for name, factor in self.factors.items()}

    def seed_tensors(self) -> set[str]:
        """The frozen factors."""
        return {name for name in self.factors if name[0] not in self.config.trained}

"""VeRA: ΔW = Λ_b B Λ_d A with A and B random, frozen and shared (Kopiczko et al. 2024, arXiv 2310.11454)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uora_bench.config.options import MethodOptions
from uora_bench.config.options.vectors import VeRAOptions
from uora_bench.methods import functional
from uora_bench.methods.base import Branch, Method, Target
from uora_bench.methods.forward_paths import Term
from uora_bench.methods.projections import ProjectionPair, make_pairs, pair_key
from uora_bench.util.seeds import derive


class VectorBranch(Branch):
    """d (r,) and b (out,), both trained, on a shared frozen pair; ΔW = Λ_b B[:out] Λ_d A[:, :in]."""

    pair: ProjectionPair
    on_forward: Callable[[], None] | None

    def __init__(self, d: Tensor, b: Tensor, pair: ProjectionPair, in_features: int) -> None:
        super().__init__()
        self.d, self.b = nn.Parameter(d), nn.Parameter(b)
        self.in_features, self.out_features = in_features, b.numel()
        # A reference, not a sub-module: the pair is registered once on the model, so it is moved and saved once.
        object.__setattr__(self, "pair", pair)
        object.__setattr__(self, "on_forward", None)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The parts of the pair this branch uses: A (r × in), B (out × r)."""
        return self.pair.A[:, : self.in_features], self.pair.B[: self.out_features]

    def delta(self, x: Tensor) -> Tensor:
        """Λ_b B Λ_d A x, (…, out); in training ``on_forward`` is called after it (UORA with ``timing=authors``)."""
        A, B = self.matrices()
        out = functional.scaled_pair(x, A, B, self.d, self.b)
        if self.on_forward is not None and self.training:
            self.on_forward()
        return out

    def delta_weight(self) -> Tensor:
        """Λ_b B Λ_d A, (out × in)."""
        A, B = self.matrices()
        return self.b[:, None] * (B @ (self.d[:, None] * A))

    def term(self, start: int, stop: int) -> Term | None:
        """Λ_b B Λ_d A on rows ``start`` to ``stop``; None where the forward pass itself refreshes."""
        # a refresh in the forward pass would change A and B under the composed pass, which makes W a second time
        return Term(start, stop, *self.matrices(), self.d, self.b) if self.on_forward is None else None

    def factors(self) -> tuple[Tensor, Tensor]:
        """A as it is, and Λ_b B Λ_d."""
        A, B = self.matrices()
        return A, self.b[:, None] * B * self.d


class VeRA(Method):
    """Trains d (from ``d_initial``) and b (from ``b_initial``, by default 0) of every target; no α/r scale."""

    name = "vera"
    Config: ClassVar[type[MethodOptions]] = VeRAOptions
    config: VeRAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Draw the frozen pairs of ``sharing``, then d and b of every target at their constant starts."""
        config = self.config
        first: Any = model.get_submodule(targets[0].path)
        weight: Tensor = first.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.pairs = make_pairs(targets, config.rank, config.init, config.gain, config.sharing, self._pair_seed, dtype)
        self.pair_of: dict[str, str] = {t.name: pair_key(t, config.sharing) for t in targets}

        def make(target: Target, dtype: torch.dtype, device: torch.device) -> VectorBranch:
            d = torch.full((config.rank,), config.d_initial, dtype=dtype, device=device)
            b = torch.full((target.shape.out_features,), config.b_initial, dtype=dtype, device=device)
            return VectorBranch(d, b, self.pairs[self.pair_of[target.name]], target.shape.in_features)

        pairs = nn.ModuleList(self.pairs.values()).to(weight.device)
        self._wrap(model, targets, config.dropout, make)
        # one registration: .to(), state dicts and copies of the model see each pair exactly once. (A Sequential would
        # call every module that it holds.)
        holder = next(iter(self.layers.values())) if isinstance(model, nn.Sequential) else model
        holder.add_module("projection_pairs", pairs)

    def _pair_seed(self, key: str) -> int:
        """The seed of the pair of this name."""
        return derive(self._projection_seed, "projection", key)

    @property
    def _projection_seed(self) -> int:
        return self.config.projection_seed if self.config.projection_seed is not None else self.seed

    def adapter_state(self) -> dict[str, Tensor]:
        """d and b of every target, and the pairs: a seed draws the same matrices only with the same library."""
        pairs = {f"projection_pairs.{key}.{name}": b for key, p in self.pairs.items() for name, b in p.named_buffers()}
        return {**super().adapter_state(), **pairs}

    def seed_tensors(self) -> set[str]:
        """The pairs: frozen at what the seed drew."""
        return {name for name in self.adapter_state() if name.startswith("projection_pairs.")}

"""UORA's reinitialisation step: which indices of a shared pair are refreshed, and what is written there.

One `Refresher` serves the layers of one `ProjectionPair`. The rule of the authors' fork (docs/methods/uora.md), per
layer: for every i with |d_i| < τ, counter_i += 1; when counter_i mod k = 0, row i of A and column i of B become
α·old + (1 − α)·fresh. Interpolations towards one fresh matrix compose, so that the layers of one optimizer step are
applied in a single pass: after hits with weights α_1 … α_n the old value keeps Π α_j. ``rescale`` and
``fresh=per_event`` act once on that pass (one norm restored, one fresh pair drawn per optimizer step). With
``timing=authors`` each layer is a pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uora_bench.config.options.vectors import Init, UORAOptions
from uora_bench.methods.projections import ProjectionPair, draw, draw_pair
from uora_bench.util.seeds import derive


class Refresher:
    """Counts hits and rewrites one pair for the vectors of the layers that share it.

    ``counters`` is (rows × n): a row per layer (one row when the layers decide together), n = r for ``vector=d`` and
    the pair's out width for ``vector=b``. ``events`` (rows,) counts refreshed indices per row. Nothing here waits for
    the device unless ``fresh=per_event``: counts stay tensors, and on an accelerator the rewriting is applied
    unconditionally (it is the identity where nothing fires).
    """

    def __init__(
        self, config: UORAOptions, pair: ProjectionPair, vectors: Sequence[Tensor], init: Init, gain: float, seed: int
    ) -> None:
        self.config, self.pair, self.vectors, self.init, self.gain, self.seed = (
            config,
            pair,
            list(vectors),
            init,
            gain,
            seed,
        )
        rows = len(self.vectors) if config.scope == "layer" else 1
        self.width = pair.A.shape[0] if config.vector == "d" else pair.B.shape[0]
        device = pair.A.device
        self.counters = torch.zeros(rows, self.width, dtype=torch.int64, device=device)
        self.events = torch.zeros(rows, dtype=torch.int64, device=device)
        self.redrawn = 0  # whole redraws so far
        self.drawn = 0  # fresh pairs drawn so far with fresh=per_event
        self._fresh: tuple[Tensor, Tensor] | None = None

    # --- the step -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, step: int, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Refresh for all layers after optimizer step ``step`` (from 1); ``optimizer``: for ``reset_moments``."""
        config = self.config
        self._redraw(step)
        if config.threshold(step) == 0 or step % config.every or step < config.start_step:
            return
        fire, keep = self._fire(self._hits(self._magnitudes(), step), slice(None))
        if self._nothing(fire):
            return
        self._rewrite(keep.prod(dim=0))
        self._afterwards(fire, optimizer)

    @torch.no_grad()
    def forward_step(self, row: int, step: int) -> None:
        """Refresh as the authors place it: for layer ``row`` alone, in the first training forward pass of ``step``."""
        config = self.config
        if row == 0:
            self._redraw(step)
        if config.threshold(step) == 0 or step % config.every or step < config.start_step:
            return
        magnitude = self._pad(self.vectors[row].detach().abs())[None]
        fire, keep = self._fire(self._hits(magnitude, step), slice(row, row + 1))
        if not self._nothing(fire):
            self._rewrite(keep[0])

    # --- which indices --------------------------------------------------------------------------------------------

    def _magnitudes(self) -> Tensor:
        """|v| as (layers × n); entries a narrower layer does not have are NaN, which compares false everywhere."""
        return torch.stack([self._pad(v.detach()) for v in self.vectors]).abs()

    def _pad(self, vector: Tensor) -> Tensor:
        missing = self.width - vector.numel()
        return torch.nn.functional.pad(vector, (0, missing), value=float("nan")) if missing else vector

    def _hits(self, magnitude: Tensor, step: int) -> Tensor:
        """The boolean (rows × n) mask of indices under the criterion."""
        config, tau = self.config, self.config.threshold(step)
        if config.scope == "mean":
            magnitude = magnitude.nanmean(dim=0, keepdim=True)
        if config.criterion == "threshold":
            hits = magnitude < tau
        elif config.criterion == "relative":
            hits = magnitude < tau * magnitude.nanmean(dim=1, keepdim=True)
        elif config.criterion == "quantile":
            hits = magnitude <= magnitude.nanquantile(tau, dim=1, keepdim=True)
        else:
            count = min(int(tau), self.width)
            hits = torch.zeros_like(magnitude, dtype=torch.bool)
            if count:
                order = magnitude.nan_to_num(nan=float("inf")).argsort(dim=1, stable=True)
                hits.scatter_(1, order[:, :count], True)
                hits &= ~magnitude.isnan()
        if config.scope == "vote":
            owners = (~magnitude.isnan()).sum(dim=0)
            hits = (2 * hits.sum(dim=0) > owners)[None]
        return hits

    def _fire(self, hits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Count ``hits``; return the mask of those that act now and the weight each leaves to the old values."""
        config, dtype = self.config, self.pair.A.dtype
        if self.counters.device != hits.device:  # the model was moved after the injection
            self.counters, self.events = self.counters.to(hits.device), self.events.to(hits.device)
        counters = self.counters[rows]
        counters += hits
        fire = hits & (counters % config.k == 0)
        if config.alpha_decay:
            alpha = config.alpha - config.alpha_decay * counters.to(dtype)
            alpha = alpha.clamp_min(min(config.alpha_floor, config.alpha))
        else:
            alpha = torch.full(fire.shape, config.alpha, dtype=dtype, device=fire.device)
        keep = torch.where(fire, alpha, torch.ones((), dtype=dtype, device=fire.device))
        if config.counter_reset:
            counters.masked_fill_(fire, 0)
        self.events[rows] += fire.sum(dim=1)
        return fire, keep

    def _nothing(self, fire: Tensor) -> bool:
        # Asking an accelerator would wait for it, every step; fresh=per_event has to ask, a new draw depends on it.
        if fire.device.type == "cpu" or self.config.fresh == "per_event":
            return not bool(fire.any())
        return False

    # --- what is written ------------------------------------------------------------------------------------------

    def _rewrite(self, keep: Tensor) -> None:
        """old·keep + fresh·(1 − keep) on rows of A and columns of B (or rows of B), as new tensors.

        New tensors, because in the authors' placement the backward pass of earlier layers still needs the old ones.
        """
        fresh_A, fresh_B = self.fresh()
        if self.config.vector == "d":
            self.pair.A = self._mix(self.pair.A, fresh_A, keep[:, None], 1)
            self.pair.B = self._mix(self.pair.B, fresh_B, keep[None, :], 0)
        else:
            self.pair.B = self._mix(self.pair.B, fresh_B, keep[:, None], 1)

    def _mix(self, old: Tensor, fresh: Tensor, keep: Tensor, norm_over: int) -> Tensor:
        new = old * keep + fresh * (1 - keep)
        if self.config.rescale:
            ratio = old.norm(dim=norm_over, keepdim=True) / new.norm(dim=norm_over, keepdim=True).clamp_min(1e-12)
            new = torch.where(keep == 1, new, new * ratio)
        return new

    def fresh(self) -> tuple[Tensor, Tensor]:
        """(A, B) that refreshed entries move towards, shaped like the pair, drawn on the CPU from own generators."""
        if self._fresh is None or self.config.fresh == "per_event":
            base = self.config.fresh_seed if self.config.fresh_seed is not None else 10 * self.config.k
            if self.config.fresh == "per_event":
                base = derive(base, "fresh", self.seed, self.drawn)
                self.drawn += 1
            self._fresh = self._draw(base) if self.config.drawn_as == "ours" else self._draw_apart(base)
        return self._fresh

    def _draw_apart(self, seed: int) -> tuple[Tensor, Tensor]:
        """Orthogonal by QR, each from a generator of its own with this seed, as in the authors' code."""
        A, B = self.pair.A, self.pair.B
        generators = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        fresh_A = draw(A.shape[0], A.shape[1], "orthogonal_qr", self.gain, generators[0], A.dtype)
        fresh_B = draw(B.shape[0], B.shape[1], "orthogonal_qr", self.gain, generators[1], B.dtype)
        return fresh_A.to(A.device), fresh_B.to(A.device)

    def _draw(self, seed: int) -> tuple[Tensor, Tensor]:
        """A pair as the initial one is drawn."""
        A, B = self.pair.A, self.pair.B
        pair = draw_pair(A.shape[0], A.shape[1], B.shape[0], self.init, self.gain, seed, A.dtype)
        return pair[0].to(A.device), pair[1].to(A.device)

    def _redraw(self, step: int) -> None:
        if not self.config.periodic or step < 1 or step % self.config.periodic:
            return
        self.redrawn += 1
        A, B = self._draw(derive(self.seed, "periodic", self.redrawn))
        if "a" in self.config.periodic_parts:
            self.pair.A = A
        if "b" in self.config.periodic_parts:
            self.pair.B = B

    def _afterwards(self, fire: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
        config = self.config
        if config.reset_d is None and not config.reset_moments:
            return
        for row, vector in enumerate(self.vectors):
            mask = fire[row if len(fire) > 1 else 0, : vector.numel()]
            if config.reset_d is not None:
                vector.data.masked_fill_(mask, config.reset_d)
            if config.reset_moments and optimizer is not None:
                for value in optimizer.state.get(vector, {}).values():
                    if isinstance(value, Tensor) and value.shape == vector.shape:
                        value.masked_fill_(mask, 0.0)

    # --- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Copies of the hit counters and of the refreshes per row, and how many redraws and draws there were."""
        return {
            "counters": self.counters.clone(),
            "events": self.events.clone(),
            "redrawn": self.redrawn,
            "drawn": self.drawn,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Put a `state` back, in place."""
        self.counters.copy_(state["counters"])
        self.events.copy_(state["events"])
        self.redrawn, self.drawn = state["redrawn"], state["drawn"]

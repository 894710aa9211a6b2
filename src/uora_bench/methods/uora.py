"""UORA: VeRA's ΔW = Λ_b B Λ_d A with parts of A and B redrawn where d_i stays small (arXiv 2505.20154).

The algorithm is the authors' (their PEFT fork, branch feature_peft_uora, commit 63c158d); what the paper's own runs
used for rank, learning rates, α, τ and k is not known. `refresh` holds the rewriting, this file places it in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uora_bench.config.options import MethodOptions
from uora_bench.config.options.vectors import UORAOptions
from uora_bench.methods.base import Target
from uora_bench.methods.refresh import Refresher
from uora_bench.methods.vera import VeRA
from uora_bench.util.seeds import derive


class UORA(VeRA):
    """VeRA's layers, with orthogonal A and B unless ``init`` says else, and a `Refresher` for each shared pair."""

    name = "uora"
    Config: ClassVar[type[MethodOptions]] = UORAOptions
    config: UORAOptions

    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """VeRA's layers, and one `Refresher` per pair for the targets that share it."""
        config = self.config
        super().inject(model, targets, generator)
        self.members: dict[str, list[str]] = {key: [] for key in self.pairs}
        for name, key in self.pair_of.items():
            self.members[key].append(name)
        self.refreshers: dict[str, Refresher] = {}
        for key, names in self.members.items():
            vectors = [getattr(self.branches[n], config.vector) for n in names]
            seed = derive(self.seed, key)  # of what is drawn anew per event or per period, for each pair its own
            self.refreshers[key] = Refresher(config, self.pairs[key], vectors, config.init, config.gain, seed)
        self._optimizer: torch.optim.Optimizer | None = None
        self._step: int | None = None  # the optimizer step whose first forward pass is running, else None
        if config.timing == "authors":
            for key, names in self.members.items():
                for row, name in enumerate(names):
                    object.__setattr__(self.branches[name], "on_forward", self._forward_hook(key, row))

    def _forward_hook(self, key: str, row: int) -> Any:
        def hook() -> None:
            if self._step is not None:
                self.refreshers[key].forward_step(row, self._step)

        return hook

    def bind(self, optimizer: torch.optim.Optimizer, total_steps: int | None = None) -> None:
        """Keep the optimizer, whose moments ``reset_moments`` sets to zero."""
        self._optimizer = optimizer

    def _pair_seed(self, key: str) -> int:
        return super()._pair_seed(key) if self.config.drawn_as == "ours" else self._projection_seed

    def before_forward(self, step: int, first: bool) -> None:
        """Mark the first forward pass of a step: with ``timing=authors`` the refresh happens in it."""
        # the authors' counter of forward passes is looked at before it counts: at 0, so at each step's first pass
        self._step = step if first else None

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """Refresh (unless it happens in the forward pass); returns ``uora/refreshes``, all refreshed indices so far."""
        if self.config.timing == "optimizer_step":
            for refresher in self.refreshers.values():
                refresher.step(step, self._optimizer)
        events = [r.events.sum() for r in self.refreshers.values()]
        return {"uora/refreshes": torch.stack(events).sum()}

    def state(self) -> dict[str, Any]:
        """d, b and the pairs as they are, and the counters of every `Refresher`."""
        return {
            **super().state(),
            "refresh": {key: r.state() for key, r in self.refreshers.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back, the counters included."""
        super().load_state(state)
        for key, refresher in self.refreshers.items():
            refresher.load_state(state["refresh"][key])

    def seed_tensors(self) -> set[str]:
        """The pairs, as long as nothing has rewritten them: after a refresh they have to be shipped."""
        changed = {k for k, r in self.refreshers.items() if r.redrawn or int(r.events.sum())}
        return {n for n in super().seed_tensors() if n.split(".", 1)[1].rsplit(".", 1)[0] not in changed}

    def snapshot(self) -> dict[str, Any]:
        """As `report`, so far."""
        return self.report()

    def report(self) -> dict[str, Any]:
        """Refreshed indices per layer (per pair when layers decide together), whole redraws, and the total."""
        per_layer: dict[str, int] = {}
        for key, refresher in self.refreshers.items():
            names = self.members[key] if self.config.scope == "layer" else [key]
            per_layer.update(zip(names, refresher.events.tolist(), strict=True))
        redraws = sum(r.redrawn for r in self.refreshers.values())
        return {"refreshes": sum(per_layer.values()), "refreshes_per_layer": per_layer, "redraws": redraws}

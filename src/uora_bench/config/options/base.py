"""What every method's and every task family's options have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from uora_bench.errors import UserError
from uora_bench.util.schema import plain

Forward = Literal["factored", "fused", "merged_weight", "delta_weight", "auto"]


@dataclass(frozen=True)
class TargetShape:
    """What a closed-form count needs to know of a target: its widths, its kind (q, v, …) and its block number."""

    in_features: int
    out_features: int
    kind: str
    layer: int


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """A method's name, semantic version and own options: what `Cell.method` is, and what `Method.config` is.

    The properties say what the rest of the suite has to know of these options before there is a model.
    """

    name: str
    version: int

    @classmethod
    def normalised(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` with other names of a value replaced by its own, so that one experiment has one id."""
        return dict(values)

    def canonical(self) -> dict[str, Any]:
        """The options as the cell's id has them.

        An option younger than records leaves no trace where it says what was always done.
        """
        return dict(plain(self))

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int | None:
        """Trained parameters without the head, in closed form: from the target shapes and ``sizes`` alone.

        ``sizes`` has the number of entries of every parameter of the backbone, by name, without the head. None:
        there is no closed form, and only a model tells.
        """
        return None

    def added(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int | None:
        """By how many parameters, trained or frozen, the model grows; None as for `count`."""
        return self.count(shapes, sizes)

    @property
    def adapts(self) -> tuple[str, ...] | None:
        """The target modules (q, v, …) that this cell asks for; None: the backbone's default; (): none."""
        return getattr(self, "target_modules", ())

    @property
    def held_out(self) -> float:
        """The share of the training set that the method itself asks to hold out."""
        return 0.0

    @property
    def needs_holdout(self) -> bool:
        """Whether there is an auxiliary step, which has nothing to learn from unless rows are held out."""
        return False

    @property
    def holdout_stays(self) -> bool:
        """Whether rows held out for the auxiliary step stay in the training set too."""
        return False

    @property
    def acts_in_forward(self) -> bool:
        """Whether the method changes something inside a forward pass, so that how a batch is cut is part of it."""
        return False

    @property
    def trains_backbone(self) -> bool:
        """Whether it trains weight matrices of the backbone itself, which must then be floating-point numbers."""
        return False

    @property
    def needs_head(self) -> bool:
        """Whether it trains nothing on a backbone without a task head."""
        return False

    @property
    def extra_tokens(self) -> int:
        """How many positions the method takes of every input's length (virtual tokens)."""
        return 0

    @property
    def defines_update(self) -> dict[str, Any]:
        """The options, by key, that define the update together with the trained weights.

        With other values the same file of weights is another update. A sub-class leaves out those that only say how
        weights are found.
        """
        neutral = ("name", "version", "target_modules", "dropout", "forward", "holdout")
        return {f"method.{f.name}": getattr(self, f.name) for f in fields(self) if f.name not in neutral}

    def check_library(self) -> None:
        """Raise `UserError` for options that another library refuses; may import that library."""


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(MethodOptions):
    """Options of an adapter.

    ``rank``: r. ``target_modules``: what is adapted, None the backbone's default. ``dropout``: on the adapter's input.
    """

    rank: Annotated[int, Ge(1), Le(1 << 16)]  # several times the widest maps there are
    target_modules: tuple[str, ...] | None
    dropout: Annotated[float, Ge(0), Lt(1)]

    def __post_init__(self) -> None:
        refuse_no_modules(self.target_modules)


@dataclass(frozen=True, kw_only=True)
class LowRankOptions(AdapterOptions):
    """Options of an adapter whose update is B A times vectors.

    ``forward``: how the same map is computed (`uora_bench.methods.forward_paths`).
    """

    forward: Forward = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.forward in ("fused", "merged_weight", "delta_weight") and self.dropout > 0:
            raise UserError(
                f"method.forward={self.forward} has no dropout on the adapter's input; set method.dropout=0 or "
                "method.forward=auto"
            )


def refuse_no_modules(target_modules: tuple[str, ...] | None) -> None:
    """Raise `UserError` for an empty list of target modules."""
    if target_modules is not None and not target_modules:
        raise UserError("method.target_modules=[] adapts nothing: name some, or null for the backbone's default")


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The options of a task family, beside what every task has (`uora_bench.config.cell.TaskConfig`)."""

    @classmethod
    def normalised(cls, values: Mapping[str, Any], root: str | None) -> dict[str, Any]:
        """The ``values`` of a task's node, with what a user names elsewhere in its place; ``root``: ``data.root``."""
        return dict(values)

    @property
    def packs(self) -> bool:
        """Whether several examples share one sequence."""
        return bool(getattr(self, "packing", False))

    def loaded(self, splits: Mapping[str, str]) -> dict[str, str]:
        """Those of ``splits`` (role → name) that are loaded; others are made from them."""
        return dict(splits)

    def check_splits(self, splits: Mapping[str, str]) -> None:
        """Raise `UserError` for names of splits (by role) that do not go with these options."""

"""Options of Tied-LoRA; configs/method/tied_lora.yaml explains each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from uora_bench.config.options.base import LowRankOptions, TargetShape
from uora_bench.config.options.vectors import Init
from uora_bench.errors import UserError

FACTORS = ("A", "B", "u", "v")
# whether A and B are tied, and which of A, B, u, v are trained (docs/methods/tied_lora.md; TL1 to TL4: recalled)
VARIANTS: dict[str, tuple[bool, str]] = {
    "lora": (False, "AB"),
    "vera": (True, "uv"),
    "tl1": (True, "A"),
    "tl2": (True, "Auv"),
    "tl3": (True, "B"),
    "tl4": (True, "Buv"),
    "tl5": (True, "AB"),
    "tl6": (True, "ABuv"),
}
# other names of a variant; TL1 … TL6 as the paper writes them
_ALIASES = {"vBuA": "tl6", **{name.upper(): name for name in VARIANTS if name.startswith("tl")}}


@dataclass(frozen=True, kw_only=True)
class TiedLoRAOptions(LowRankOptions):
    """Which of A, B, u, v are shared, trained, and where they start."""

    variant: Literal["lora", "vera", "tl1", "tl2", "tl3", "tl4", "tl5", "tl6"]
    tie: bool | None
    train_A: bool | None
    train_B: bool | None
    train_u: bool | None
    train_v: bool | None
    layout: Literal["separate", "fused"]
    pairs: Literal["kind", "all"]
    init: Init
    gain: float
    u_initial: float
    v_initial: float
    zero: Literal["A", "B", "u", "v"] | None

    @classmethod
    def normalised(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {**values, "variant": _ALIASES.get(values.get("variant", ""), values.get("variant"))}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.trained:
            raise UserError("method.train_A, train_B, train_u and train_v are all false: nothing would be trained")
        if self.zero is not None and self.zero not in self.trained:
            raise UserError(
                f"method.zero={self.zero} starts a frozen factor at zero, so ΔW could never leave it; take one of "
                f"those trained: {', '.join(sorted(self.trained))}"
            )
        for name in ("u_initial", "v_initial"):
            if getattr(self, name) == 0:
                raise UserError(f"method.{name}=0 multiplies ΔW away: use method.zero={name[0]} to start there")
        if self.layout == "fused":
            if self.target_modules is None or not set(self.target_modules) <= {"q", "k", "v"}:
                raise UserError(
                    "method.layout=fused serves q, k and v of a block from one A: set method.target_modules=[q,k,v] (a "
                    "backbone that stores them as one map has the module qkv, for layout=separate)"
                )
            if self.pairs == "all":
                raise UserError("method.pairs=all is of layout=separate; with layout=fused each of q, k, v has its B")

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """The number of trained parameters, each shared factor counted once.

        TL6 with n types of d × d in L blocks: 2 n d r + n L (r + d); fused q, k, v: 4 d r + L (r + 3 d).
        """
        widths = self.widths(shapes)
        return sum(math.prod(self.factor_shape(f, *w)) for (f, _), w in widths.items() if f in self.trained)

    def widths(self, shapes: Sequence[TargetShape]) -> dict[tuple[str, str], tuple[int, int]]:
        """The largest (in, out) that each (factor, key) serves, in order of first use."""
        widths: dict[tuple[str, str], tuple[int, int]] = {}
        for shape in shapes:
            for factor in FACTORS:
                key = (factor, self.factor_key(factor, shape.kind, shape.layer))
                i, o = widths.get(key, (0, 0))
                widths[key] = (max(i, shape.in_features), max(o, shape.out_features))
        return widths

    @property
    def tied(self) -> bool:
        """Whether all layers share A and B."""
        return VARIANTS[self.variant][0] if self.tie is None else self.tie

    @property
    def trained(self) -> frozenset[str]:
        """Those of A, B, u, v that are trained: what the options say, else the variant."""
        said = {f: getattr(self, f"train_{f}") for f in FACTORS}
        return frozenset(f for f in FACTORS if (f in VARIANTS[self.variant][1] if said[f] is None else said[f]))

    @property
    def defines_update(self) -> dict[str, Any]:
        constant = {f: getattr(self, f"{f}_initial") for f in "uv" if f not in self.trained}  # not in the file
        named = {"rank": self.rank, "tie": self.tied, "layout": self.layout, "pairs": self.pairs}
        return {f"method.{k}": v for k, v in {**named, **{f"{f}_initial": v for f, v in constant.items()}}.items()}

    @property
    def start(self) -> str:
        """The factor that starts at zero, so that ΔW does and its gradient does not."""
        return self.zero or next(f for f in ("B", "v", "A", "u") if f in self.trained)

    def factor_key(self, factor: str, kind: str, layer: int) -> str:
        """The name of the ``factor`` that serves the target ``kind`` of block ``layer``: equal names are one tensor."""
        own, block = f"{kind}_{layer}", f"block_{layer}"
        fused = self.layout == "fused"
        if factor == "v":
            return own
        if factor == "u":
            return block if fused else own
        if not self.tied:
            return block if fused and factor == "A" else own
        if self.pairs == "all":
            return "shared"
        return "fused" if fused and factor == "A" else kind

    def factor_shape(self, factor: str, in_features: int, out_features: int) -> tuple[int, ...]:
        """The shape of a factor for the largest widths it serves."""
        r = self.rank
        return {"A": (r, in_features), "B": (out_features, r), "u": (r,), "v": (out_features,)}[factor]

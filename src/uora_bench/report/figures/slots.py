"""Where the adapted modules of a backbone stand on an x axis: by kind of module, in the order of their blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.figures.style import GREY


@dataclass(frozen=True, order=True)
class Slot:
    """Where one target stands. ``block`` is -1 for a name without a number, such as a pair shared by all layers."""

    kind: str
    block: int
    target: str

    @classmethod
    def from_name(cls, target: str) -> Slot:
        """From a target's name, `<module path>.<kind>`; a name without a block number stays whole."""
        path, _, kind = target.rpartition(".")
        number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
        return cls(kind, int(number[1]), target) if number else cls(target, -1, target)

    @property
    def label(self) -> str:
        """The block's number, or the target's name where it has none."""
        return str(self.block) if self.block >= 0 else self.target


def ordered(targets: Iterable[str]) -> list[Slot]:
    """The slots of ``targets``, each once."""
    return sorted({Slot.from_name(target) for target in targets})


def axis(ax: Any, slots: Sequence[Slot]) -> None:
    """Block numbers under the x axis (not all of them, where there are many), a line between kinds and their names."""
    every = 1 if len(slots) <= 26 else 2 if len(slots) <= 52 else 4
    shown = [i for i, slot in enumerate(slots) if slot.block < 0 or slot.block % every == 0]
    ax.set_xticks(shown, [slots[i].label for i in shown])
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False, axis="x")
    ax.set_xlim(-0.6, len(slots) - 0.4)
    starts = [i for i, slot in enumerate(slots) if i == 0 or slot.kind != slots[i - 1].kind]
    for start, stop in zip(starts, [*starts[1:], len(slots)], strict=True):
        if start:
            ax.axvline(start - 0.5, color=GREY, linewidth=0.7)
        if slots[start].block >= 0:
            middle = (start + stop - 1) / 2
            ax.text(
                middle, 1.0, slots[start].kind, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=7
            )

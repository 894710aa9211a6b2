"""Draws what methods did inside a run, from the records of MiniLM cells: α-LoRA's α and UORA's refreshes.

    python scripts/plot_minilm.py [results/records/minilm_glue] [--out results/figures] [--figure alpha|refreshes]

Writes `minilm_alpha.svg` and `minilm_refreshes.svg`, and beside each a `.csv` with exactly the plotted numbers and the
cell ids they come from. Every number is read from a record. The same records give the same bytes with one version of
matplotlib (extra `figures`). Exit 2, one line and no file when a figure has no record to draw.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from uora_bench import atomic  # noqa: E402
from uora_bench import record as records  # noqa: E402
from uora_bench.errors import UserError  # noqa: E402
from uora_bench.record import CellRecord  # noqa: E402

QUANTILES = ("q05", "q25", "q50", "q75", "q95")
CELL = ("cell_id", "method", "backbone", "task", "train_split", "seed", "variant")
ALPHA_COLUMNS = (*CELL, "epoch", "target", *QUANTILES)
REFRESH_COLUMNS = (*CELL, "panel", "epoch", "target", "refreshes", "read_from")
# Okabe and Ito's colours; the pairs used together differ in lightness too, and bars carry hatches
BLACK, GREY, BLUE, ORANGE = "#000000", "#8c8c8c", "#0072B2", "#E69F00"
KIND_STYLES = ((BLUE, ""), (ORANGE, "///"), ("#009E73", "..."), ("#CC79A7", "xxx"), ("#56B4E9", "\\\\\\"), (GREY, "++"))
STYLE = {
    "svg.hashsalt": "uora_bench",  # ids in the file do not change from one drawing to the next
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True, order=True)
class Slot:
    """Where a target stands on the x axis: targets of one kind side by side, in the order of their blocks."""

    kind: str
    block: int
    target: str

    @classmethod
    def of(cls, target: str) -> Slot:
        """From a target's name, `<module path>.<kind>`; a name without a block number (a shared pair) stays whole."""
        path, _, kind = target.rpartition(".")
        number = re.search(r"(?:^|\.)(\d+)(?:\.|$)", path)
        return cls(kind, int(number[1]), target) if number else cls(target, -1, target)

    @property
    def label(self) -> str:
        return str(self.block) if self.block >= 0 else self.target


@dataclass
class Panel:
    """One record's share of a figure: its title, and the rows of the CSV that it draws."""

    record: CellRecord
    variant: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def title(self) -> str:
        row = self.named()
        part = "" if row["train_split"] == "train" else f" ({row['train_split']})"
        variant = f"{row['method']} ({self.variant})"
        return f"{variant} · {row['backbone']} · {row['task']}{part} · seed {row['seed']}"

    def named(self) -> dict[str, Any]:
        """What says where a row comes from."""
        c = self.record.cell
        task = c["task"]
        names = (c["method"]["name"], c["backbone"]["name"], task["name"], task["splits"]["train"], c["seed"])
        return dict(zip(CELL, (self.record.cell_id, *names, self.variant), strict=True))

    def add(self, **values: Any) -> None:
        self.rows.append({**self.named(), **values})


def load(folder: Path) -> list[CellRecord]:
    """The finished records of ``folder``, in an order that does not depend on the file system.

    Raises:
        UserError: for a record that cannot be read.
    """
    found = [records.read(path) for path in sorted(folder.glob("*.json"))]
    done = [r for r in found if r.status == "done"]
    return sorted(done, key=lambda r: (r.cell["task"]["name"], _rank(r), r.cell["seed"], r.cell_id))


def _rank(record: CellRecord) -> int:
    return int(record.cell["method"]["options"].get("rank", 0))


def alpha_panels(found: list[CellRecord]) -> list[Panel]:
    """A panel per record whose epochs keep α's quantiles."""
    panels = []
    for record in found:
        panel = Panel(record, f"{record.cell['method']['options'].get('mode', 'α')}, rank {_rank(record)}")
        for epoch in record.epochs:
            per_target = epoch.method.get("alpha", {})
            for slot in sorted(map(Slot.of, per_target)):
                spread = per_target[slot.target]
                panel.add(epoch=epoch.epoch, target=slot.target, **{q: spread[q] for q in QUANTILES})
        if panel.rows:
            panels.append(panel)
    return panels


def refresh_panels(found: list[CellRecord]) -> list[Panel]:
    """A panel per UORA record: refreshes so far at the end of each epoch, and those of each layer over the run.

    Records made before epochs had snapshots hold the total of the whole run only: one point, at the last epoch.
    """
    panels = []
    for record in found:
        if "refreshes_per_layer" not in record.method:
            continue
        panel = Panel(record, f"rank {_rank(record)}, τ = {record.cell['method']['options']['tau']:g}")
        counted = [e for e in record.epochs if "refreshes" in e.method]
        for epoch in counted:
            panel.add(panel="cumulative", epoch=epoch.epoch, target="", refreshes=epoch.method["refreshes"],
                      read_from="epochs")  # fmt: skip
        last = record.epochs[-1].epoch
        if not counted:
            panel.add(panel="cumulative", epoch=last, target="", refreshes=record.method["refreshes"],
                      read_from="method")  # fmt: skip
        per_layer = record.method["refreshes_per_layer"]
        for slot in sorted(map(Slot.of, per_layer)):
            panel.add(panel="per_layer", epoch=last, target=slot.target, refreshes=per_layer[slot.target],
                      read_from="method")  # fmt: skip
        panels.append(panel)
    return panels


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_alpha(panels: list[Panel]) -> Any:
    """In a slot per target, a mark per epoch from left to right: 5–95 % thin, 25–75 % thick, the median a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 0.5 + 2.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharey=True)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        slots = sorted({Slot.of(row["target"]) for row in panel.rows})
        epochs = sorted({row["epoch"] for row in panel.rows})
        width = 0.8 / len(epochs)
        points = 440.0 * width / len(slots)  # room for one mark, in points
        ax.axhline(1.0, color=BLACK, linewidth=0.7, linestyle=(0, (4, 3)), zorder=0)
        for at, slot in enumerate(slots):
            rows = sorted((r for r in panel.rows if r["target"] == slot.target), key=lambda r: r["epoch"])
            x = [at + (epochs.index(r["epoch"]) - (len(epochs) - 1) / 2) * width for r in rows]
            of = {q: [r[q] for r in rows] for q in QUANTILES}
            ax.vlines(x, of["q05"], of["q95"], color=GREY, linewidth=min(1.0, 0.5 * points))
            ax.vlines(x, of["q25"], of["q75"], color=BLUE, linewidth=min(4.0, 0.8 * points))
            ax.plot(x, of["q50"], color=BLACK, linewidth=1.0, marker="o", markersize=min(3.0, 0.7 * points))
        _slots(ax, slots)
        ax.set_title(panel.title, loc="left")
        ax.set_ylabel("α (no unit)")
        first, last = epochs[0], epochs[-1]
        span = f"epochs {first} to {last} from left to right" if first != last else f"epoch {first}"
        ax.set_xlabel(f"block of the backbone, by kind of module; within a block {span}")
    _legend_alpha(axes[0])
    return figure


def _legend_alpha(ax: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=GREY, linewidth=1.0, label="5–95 % of α's entries"),
        Line2D([], [], color=BLUE, linewidth=4.0, label="25–75 %"),
        Line2D([], [], color=BLACK, linewidth=1.0, marker="o", markersize=3.0, label="median"),
        Line2D(
            [], [], color=BLACK, linewidth=0.7, linestyle=(0, (4, 3)), label="α = 1: the pretrained weight as it is"
        ),
    ]
    ax.figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)


def _slots(ax: Any, slots: list[Slot]) -> None:
    """Block numbers under the axis, the kind above its group, a line between groups."""
    ax.set_xticks(range(len(slots)), [s.label for s in slots])
    ax.set_xlim(-0.6, len(slots) - 0.4)
    starts = [i for i, s in enumerate(slots) if i == 0 or s.kind != slots[i - 1].kind]
    for start, stop in zip(starts, [*starts[1:], len(slots)], strict=True):
        if start:
            ax.axvline(start - 0.5, color=GREY, linewidth=0.7)
        if slots[start].block >= 0:
            middle = (start + stop - 1) / 2
            ax.text(middle, 0.99, slots[start].kind, transform=ax.get_xaxis_transform(), ha="center", va="top")


def draw_refreshes(panels: list[Panel]) -> Any:
    """A row per record: the sum of all layers by epoch, and each layer's number over the run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.0, 2.3 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(1, 2))
    for (left, right), panel in zip(axes, panels, strict=True):
        total = [r for r in panel.rows if r["panel"] == "cumulative"]
        only_total = total[0]["read_from"] == "method"
        style = {"linestyle": "none", "markerfacecolor": "white"} if only_total else {"linestyle": "-"}
        left.plot([r["epoch"] for r in total], [r["refreshes"] for r in total], color=BLUE, marker="o", **style)
        left.set_xlim(0.5, total[-1]["epoch"] + 0.5)
        left.set_title(panel.title, loc="left")
        left.set_xlabel("epoch" + (" (only the end was recorded)" if only_total else ""))
        left.set_ylabel("refreshes so far (count)")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))

        layers = {Slot.of(r["target"]): r["refreshes"] for r in panel.rows if r["panel"] == "per_layer"}
        slots = sorted(layers)
        kinds = sorted({s.kind for s in slots})
        for at, slot in enumerate(slots):
            colour, hatch = KIND_STYLES[kinds.index(slot.kind) % len(KIND_STYLES)]
            right.bar(at, layers[slot], width=0.7, color=colour, hatch=hatch, edgecolor=BLACK, linewidth=0.6)
        _slots(right, slots)
        right.set_xlabel("block of the backbone, by kind of module")
        right.set_ylabel("refreshes (count)")
        for ax, top in ((left, total[-1]["refreshes"]), (right, max(layers.values()))):
            ax.set_ylim(0, max(1, top) * 1.2)  # room for the kinds' names
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


# --- files ------------------------------------------------------------------------------------------------------------


def write(out: Path, name: str, figure: Any, panels: list[Panel], columns: tuple[str, ...]) -> list[Path]:
    """The SVG and the CSV, each there whole or not at all."""
    svg, table = out / f"{name}.svg", out / f"{name}.csv"
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for panel in panels for row in panel.rows)
    atomic.write(svg, lambda path: figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}))
    atomic.write_text(table, text.getvalue())
    return [svg, table]


FIGURES = {
    "alpha": (alpha_panels, draw_alpha, ALPHA_COLUMNS, "no record of alpha_lora with α's quantiles per epoch"),
    "refreshes": (refresh_panels, draw_refreshes, REFRESH_COLUMNS, "no record of uora"),
}


def run(folder: Path, out: Path, wanted: list[str]) -> list[Path]:
    """Draw ``wanted`` figures from the records in ``folder``; returns the files.

    Raises:
        UserError: when matplotlib, or what a figure draws, is missing; nothing was written.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("matplotlib is not installed; pip install -e '.[figures]'") from None
    found = load(folder)
    panels = {name: FIGURES[name][0](found) for name in wanted}
    for name in wanted:
        if not panels[name]:
            others = [n for n in FIGURES if n not in wanted or panels[n]]
            hint = f"; --figure {others[0]} draws the other" if len(wanted) > 1 and others else ""
            raise UserError(f"nothing to draw for minilm_{name}: {FIGURES[name][3]} in '{folder}'{hint}")
    files = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(STYLE)
        for name in wanted:
            _, draw, columns, _ = FIGURES[name]
            files += write(out, f"minilm_{name}", draw(panels[name]), panels[name], columns)
    return files


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("records", nargs="?", type=Path, default=ROOT / "results" / "records" / "minilm_glue")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "figures", help="folder of the figures")
    parser.add_argument("--figure", choices=sorted(FIGURES), help="draw this one only (default: both)")
    given = parser.parse_args(arguments)
    try:
        for path in run(given.records, given.out, [given.figure] if given.figure else list(FIGURES)):
            print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How often races err and how many runs they save, on simulated grids and on the committed records.

Writes results/bench/simulated_races.json. One thread, about a minute:

    python scripts/simulate_races.py [grids per setting, default 10000]

A grid has six rows on one task beside the reference; the paired difference of a row is its true difference plus luck
of one point (standard deviation), half of whose variance is the reference's. Normal luck is what the t-tests take for
granted. The other kinds are not: Student's law with three degrees of freedom; collapses (one run of ten loses ten
points on top) of all rows, or of all but the reference, which makes differences skewed; normal luck of which a score
shows whole items of 277 or 66. The fixed plan runs all seeds and tests once, at α over the number of rows. An error is
one false verdict or more in a grid: better or worse where the truth is 0 or the other sign, equivalent where the truth
is δ or more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from uora_bench.grid.expand import expand
from uora_bench.grid.race import FIRST, RaceSpec, look, race_of, spent
from uora_bench.records.record import read_records
from uora_bench.util import atomic

ALPHA, MARGIN, SEEDS = 0.05, 1.0, (3, 5, 10)
TRUTHS = {
    "no difference": (0.0,) * 6,
    "all at the margin": (1.0, -1.0, 1.0, -1.0, 1.0, -1.0),
    "mixed": (0.0, 0.0, 1.0, -2.0, 4.0, -8.0),
    "large": (-8.0, -8.0, -4.0, -4.0, 4.0, 4.0),
}
ITEMS = {"normal, 277 items": 277, "normal, 66 items": 66}
RESULTS = Path(__file__).resolve().parents[1] / "results"


def luck(generator: np.random.Generator, kind: str, size: tuple[int, ...]) -> np.ndarray:
    """Centred luck of one run, of standard deviation √½ (collapses: on top of that)."""
    if kind.startswith("normal"):
        return generator.normal(0, np.sqrt(0.5), size)
    if kind == "student 3":
        return generator.standard_t(3, size) * np.sqrt(0.5 / 3)
    drop = np.where(generator.random(size) < 0.1, 10.0, 0.0)
    return generator.normal(0, np.sqrt(0.5), size) - drop + 1.0


def simulate(
    generator: np.random.Generator, truth: tuple[float, ...], seeds: int, kind: str, grids: int
) -> dict[str, Any]:
    """Error and runs of races and of the fixed plan."""
    true, rows = np.array(truth), len(truth)
    own = luck(generator, kind.removesuffix(" but of the reference"), (grids, rows, seeds))
    reference = luck(generator, "normal" if kind.endswith("of the reference") else kind, (grids, 1, seeds))
    own = own + true[:, None]
    if kind in ITEMS:
        own, reference = (np.round(scores * ITEMS[kind] / 100) / ITEMS[kind] * 100 for scores in (own, reference))
    differences = own - reference
    verdict, took = np.full((grids, rows), np.nan), np.full((grids, rows), seeds)
    for n in range(FIRST, seeds + 1):
        found = look(differences[..., :n], spent(ALPHA, n, seeds) / rows, MARGIN)
        new = np.isnan(verdict) & ~np.isnan(found)
        verdict[new], took[new] = found[new], n
    fixed = look(differences, ALPHA / rows, MARGIN)
    runs, every = took.sum(1) + took.max(1), (rows + 1) * seeds  # the reference runs as long as any row
    return {
        "truth": list(truth), "seeds": seeds, "luck": kind,
        "race_error": share(wrong(verdict, true)), "fixed_error": share(wrong(fixed, true)),
        "race_decided": round(float(np.mean(~np.isnan(verdict))), 4),
        "fixed_decided": round(float(np.mean(~np.isnan(fixed))), 4),
        "runs_saved": round(float(1 - runs.mean() / every), 4),
    }  # fmt: skip


def wrong(verdict: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether a grid has a false verdict."""
    sign = (np.abs(verdict) == 1) & (verdict != np.sign(true))
    return np.any(sign | ((verdict == 0) & (np.abs(true) >= MARGIN)), axis=1)


def share(hits: np.ndarray) -> float:
    return round(float(hits.mean()), 4)


def replay() -> dict[str, Any]:
    """A race of the committed MiniLM grid against LoRA, from its records: what it would have left out."""
    grid, records = expand(["experiment=minilm_glue"]), read_records(RESULTS / "records" / "minilm_glue")
    race, _ = race_of(grid, RaceSpec({"method": "lora"}, ALPHA, MARGIN), records)
    verdicts: dict[str, int] = {}
    for lane in race.lanes:
        verdicts[lane.verdict] = verdicts.get(lane.verdict, 0) + 1
    ended = [lane for lane in race.lanes if lane.verdict in ("better", "worse", "equivalent")]
    left_out = sum(lane.planned - lane.seeds for lane in ended)
    return {"experiment": "minilm_glue", "reference": "lora", "comparisons": len(race.lanes), "verdicts": verdicts,
            "runs_left_out": left_out}  # fmt: skip


def main(grids: int) -> None:
    generator = np.random.default_rng(0)
    settings = [
        {"name": name, **simulate(generator, truth, seeds, kind, grids)}
        for kind in ("normal", "student 3", "collapses", "collapses but of the reference", *ITEMS)
        for name, truth in TRUTHS.items()
        for seeds in SEEDS
    ]
    data = {"grids": grids, "alpha": ALPHA, "margin": MARGIN, "settings": settings, "replay": replay()}
    atomic.write_text(RESULTS / "bench" / "simulated_races.json", json.dumps(data, indent=1) + "\n")
    for one in settings:
        print(one)
    print(data["replay"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)

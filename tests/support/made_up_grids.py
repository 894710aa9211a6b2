"""Made-up records of whole experiments, with curves, refreshes and α, for tests of what draws or shows them. Never
written into results/."""

from __future__ import annotations

from tests.support.records import finished_record
from uora_bench.grid import expand
from uora_bench.grid.request import GridRequest
from uora_bench.records.record import Counts, EpochScores, RuleScore, Timing
from uora_bench.report import collect, table
from uora_bench.report.figures import files

TARGETS = [f"layer.{i}.attention.{m}.{m[0]}" for m in ("query", "value") for i in (0, 10, 2)]
QUANTILES = ("q05", "q25", "q50", "q75", "q95")
SIZES = {"head_only": 0, "full": 22_713_216, "lora": 73_728, "vera": 7_680, "uora": 7_680, "alpha_lora": 78_336}
EPOCHS = 3


def snapshot(method, number, seed, tau):
    """What the method reports after epoch ``number``."""
    if method == "uora":
        each = 0 if tau == 0 else 1 if tau < 1e-4 else 40
        counts = {t: (i % 3 + seed) * number * each for i, t in enumerate(TARGETS)}
        return {"refreshes": sum(counts.values()), "refreshes_per_layer": counts, "redraws": 0}
    if method == "alpha_lora":
        spread = {t: {q: 1 + (k - 2) * number * (i + seed + 1) / 1000 for k, q in enumerate(QUANTILES)}
                  for i, t in enumerate(TARGETS)}  # fmt: skip
        return {"alpha": spread}
    return {}


def made_up(results, experiment, keep, change=lambda values: None):
    """Records of the cells of ``experiment`` for which ``keep`` holds, written below ``results``."""
    for number, planned in enumerate(expand.expand_request(GridRequest(experiment, "print")).items):
        cell = planned.cell
        if cell is None or not keep(cell):
            continue
        method, seed, primary = cell.method.name, cell.seed, cell.task.metric.primary
        tau = getattr(cell.method, "tau", None)
        base = 0.5 + (number * 37 % 101) / 300
        epochs = tuple(
            EpochScores(e, e * 10, 0.1, {"dev": {primary: base + 0.01 * e + 0.003 * seed}}, 10.0 * e,
                        snapshot(method, e, seed, tau))
            for e in range(1, EPOCHS + 1)
        )  # fmt: skip
        values = {
            "epochs": epochs,
            "scores": {rule: RuleScore(epochs[-1].scores, EPOCHS, "") for rule in ("last", "best_dev")},
            "counts": Counts(SIZES.get(method, 30_000), 5, 10**8),
            "seconds": Timing(5.0, 100.0 + number, 20.0, 200.0),
            "peak_memory_bytes": 10**9 + number,
            "peak_memory_kind": "resident",
            "method": epochs[-1].method,
        }
        change(values)
        record = finished_record(cell, f"{number:016x}", experiment, **values)  # an id is sixteen hexadecimal digits
        record.write(results / "records" / experiment)


def built(results, experiment="minilm_glue", library=None):
    """The table and the cells of ``experiment``."""
    collection = collect.collect(GridRequest(experiment, "print"), results)
    return table.build(collection, library), collection


def sketched(results, experiment="minilm_glue", library=None):
    """Its figures by name, not drawn yet."""
    return {spec.name: spec for spec in files.figure_specs(built(results, experiment, library)[0])}

"""The selection rules: which epoch's scores a run is given (`record.RuleScore` says what each rule means)."""

from __future__ import annotations

from collections.abc import Sequence

from uora_bench.config.cell import MetricSpec
from uora_bench.records.record import CellRecord, EpochScores, RuleScore


def select_scores(epochs: Sequence[EpochScores], metric: MetricSpec) -> dict[str, RuleScore]:
    """The scores of a run under every selection rule; empty where no epoch was scored on dev."""
    scored = [e for e in epochs if "dev" in e.scores]  # with trainer.evaluate=last the others have none
    if not scored:
        return {}

    def best(values: list[float]) -> int:
        # the first of equals: later epochs have to be better, not as good
        return values.index(max(values) if metric.higher_is_better else min(values))

    last = scored[-1]
    top = scored[best([e.scores["dev"][metric.primary] for e in scored])]
    rules = {
        "last": RuleScore(last.scores, last.epoch, "the last epoch; dev was not used to choose it"),
        "best_dev": RuleScore(top.scores, top.epoch, "dev chose the epoch, so its own score is optimistic"),
    }
    halves = [e.halves for e in scored if e.halves is not None]
    if len(halves) == len(scored):
        judged = [halves[best([h[side] for h in halves])][1 - side] for side in (0, 1)]
        rules["heldout_dev"] = RuleScore(
            {"dev": {metric.primary: sum(judged) / 2}},
            None,
            "epoch chosen on one fixed half of dev, scored on the other, both ways",
        )
    return rules


def last_score(record: CellRecord) -> str:
    """The primary metric after the last epoch, for people: ``dev accuracy 86.20, test accuracy 85.10 (last epoch)``."""
    metric, result = record.metric, record.scores.get("last")
    if result is None:
        return "not scored"
    values = {split: scores[metric.primary] for split, scores in result.scores.items() if metric.primary in scores}
    return ", ".join(f"{s} {metric.primary} {v * metric.scale:.2f}" for s, v in values.items()) + " (last epoch)"

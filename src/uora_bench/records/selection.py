"""The selection rules: which epoch's scores a run is given (`record.RuleScore` says what each rule means)."""

from __future__ import annotations

from collections.abc import Sequence

from uora_bench.config.cell import MetricSpec
from uora_bench.records.record import CellRecord, EpochScores, RuleScore


def kept_epochs(epochs: Sequence[EpochScores], metric: MetricSpec) -> list[tuple[int, str]]:
    """(number of an epoch, role of a split) of all that a selection rule scores, in order."""
    found = set()
    for rule, own in chosen_epochs(epochs, metric).items():
        for epoch in own:
            found |= {(epoch.epoch, role) for role in epoch.scores if role == "dev" or rule != "heldout_dev"}
    return sorted(found)


def chosen_epochs(epochs: Sequence[EpochScores], metric: MetricSpec) -> dict[str, tuple[EpochScores, ...]]:
    """The epochs that every selection rule chooses; empty where no epoch was scored on dev.

    Of ``heldout_dev``: the one chosen on half 0, which is scored on half 1, and the one chosen on half 1.
    """
    scored = [e for e in epochs if "dev" in e.scores]  # with trainer.evaluate=last the others have none
    if not scored:
        return {}

    def best(values: list[float]) -> EpochScores:
        # the first of equals: later epochs have to be better, not as good
        return scored[values.index(max(values) if metric.higher_is_better else min(values))]

    top = best([e.scores["dev"][metric.primary] for e in scored])
    rules: dict[str, tuple[EpochScores, ...]] = {"last": (scored[-1],), "best_dev": (top,)}
    halves = [e.halves for e in scored if e.halves is not None]
    if len(halves) == len(scored):
        rules["heldout_dev"] = tuple(best([h[side] for h in halves]) for side in (0, 1))
    return rules


def select_scores(epochs: Sequence[EpochScores], metric: MetricSpec) -> dict[str, RuleScore]:
    """The scores of a run under every selection rule; empty where no epoch was scored on dev."""
    chosen = chosen_epochs(epochs, metric)
    if not chosen:
        return {}
    (last,), (top,) = chosen["last"], chosen["best_dev"]
    rules = {
        "last": RuleScore(last.scores, last.epoch, "the last epoch; dev was not used to choose it"),
        "best_dev": RuleScore(top.scores, top.epoch, "dev chose the epoch, so its own score is optimistic"),
    }
    if "heldout_dev" in chosen:
        judged = [epoch.halves[1 - side] for side, epoch in enumerate(chosen["heldout_dev"]) if epoch.halves]
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

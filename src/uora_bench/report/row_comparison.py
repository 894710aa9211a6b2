"""What a table lets one say: every row against a reference row, paired by seed, and each row over all columns.

Only columns in which both rows have `bootstrap.MINIMUM_SEEDS` shared seeds count; a row without such a column is listed
as having too few. `docs/statistics.md` explains the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from uora_bench.report import items, stats
from uora_bench.report.bootstrap import MINIMUM_SEEDS, Interval, bootstrap, probability_of_improvement
from uora_bench.report.items import Crossed
from uora_bench.report.stats import LEVEL, Comparison
from uora_bench.util.words import count

MISSING = "–"
TEXT = ("row", "column", "columns", "verdict")  # headings of a sheet whose columns are words, not numbers
Scores = Mapping[str, Mapping[int, float]]  # column -> seed -> score


@dataclass(frozen=True)
class Line:
    """A row against the reference.

    ``comparison``: difference, interval, p after Holm's correction, verdict. Also the probability that a run of this
    row beats one of the reference. Both None with too few seeds. ``unlearned``: which of the
    compared cells did not learn, in words.
    """

    row: str
    columns: tuple[str, ...]
    comparison: Comparison | None
    improvement: Interval | None
    unlearned: str = ""

    def texts(self, decimals: int) -> tuple[str, ...]:
        """The line as text: row, columns, pairs, difference, probability, p, verdict."""
        found = self.comparison
        if found is None:
            return (self.row, MISSING, "0", MISSING, MISSING, MISSING, "too few seeds")
        p = MISSING if found.adjusted_p is None else p_text(found.adjusted_p)
        difference, improvement = shown(found.interval, decimals), shown(self.improvement, 2)
        verdict: str = found.verdict
        if verdict == "not distinguished" and (found.smallest_p or 0) * found.family > LEVEL:
            verdict = "too few pairs to tell"  # the best possible p would not do
        verdict += self.unlearned
        return (self.row, ", ".join(self.columns), str(found.n_pairs), difference, improvement, p, verdict)


def p_text(p: float) -> str:
    """A p value in three digits; none is 0."""
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


@dataclass(frozen=True)
class Whole:
    """A row over ``columns``: mean of the column means, and interquartile mean of all scores, with their intervals."""

    row: str
    mean: Interval
    iqm: Interval


@dataclass(frozen=True)
class Sheet:
    """A small table of text with what it shows (`code` and **bold** as in Markdown), the same in every format."""

    caption: str
    label: str = ""  # names it among those of its table: "against", "over", with the block's name before
    heading: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ItemLine:
    """A row against the reference in one column, over items and seeds: scores in the table's unit.

    ``p_items``: of the trained models (McNemar's exact test for one seed, else the permutation over items); ``p``: over
    items and seeds; both after Holm's correction. ``unlearned``: as of a `Line`. ``most``: how many items one of the
    two rows has; they are compared on those that both have.
    """

    row: str
    column: str
    found: Crossed
    p_items: float
    p: float
    verdict: str = ""
    unlearned: str = ""
    most: int = 0

    def texts(self, decimals: int) -> tuple[str, ...]:
        """The line as text: row, column, items × seeds, difference, both p, verdict."""
        size = f"{self.found.items}{f' of {self.most}' * (self.most > self.found.items)} × {self.found.seeds}"
        ends = shown(self.found.interval(0.95), decimals)
        return (
            self.row,
            self.column,
            size,
            ends,
            p_text(self.p_items),
            p_text(self.p),
            self.verdict + self.unlearned,
        )


@dataclass(frozen=True)
class AgainstReference:
    """``lines``: against ``reference``, one family for Holm's correction.

    ``wholes``: over the columns in which every row that has enough seeds anywhere has them. ``items``: of the rows and
    columns whose predictions are kept. ``remark``: what is to be known of the verdicts over items.
    """

    block: str
    reference: str
    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    wholes: tuple[Whole, ...]
    items: tuple[ItemLine, ...] = ()
    margin: float | None = None
    remark: str = ""

    def with_unlearned(self, unlearned: Mapping[str, Collection[str]]) -> AgainstReference:
        """With what is said at a verdict where a cell of the row or of the reference did not learn.

        ``unlearned``: by row the columns in which a cell did not.
        """

        def words(row: str, columns: Collection[str]) -> str:
            told: dict[str, str] = {}  # where -> who
            for name, label in (("row", row), ("reference", self.reference)):
                where = ", ".join(c for c in columns if c in unlearned.get(label, ()))
                told[where] = f"{told[where]} and {name}" if where in told else name
            found = [f"{who} did not learn on {where}" for where, who in told.items() if where]
            return f" (UC12: {'; '.join(found)})" if found else ""

        return replace(
            self,
            lines=tuple(replace(line, unlearned=words(line.row, line.columns)) for line in self.lines),
            items=tuple(replace(line, unlearned=words(line.row, [line.column])) for line in self.items),
        )

    def sheets(self, decimals: int) -> list[Sheet]:
        """The comparisons, and each row over the columns, as text."""
        return [*self._over_seeds(decimals), *self._over_items(decimals)]

    def _over_items(self, decimals: int) -> list[Sheet]:
        block = f" ({self.block})" if self.block else ""
        if not self.items:
            nothing = f"Against **{self.reference}**{block} nothing is compared item by item: {self.remark}."
            return [Sheet(nothing)] if self.remark else []
        caption = (
            f"Against **{self.reference}**{block}, item by item, with 95 % intervals over items and seeds. *p items*: "
            "would other test items show a difference between these trained models? *p both*: would other items and "
            f"other seeds? Each after Holm's correction over {count(len(self.items), 'comparison')}; verdicts are of "
            "*p both*"
        )
        if self.margin is not None:
            caption += f", and of two one-sided 5 % tests against the preset's margin of {self.margin:g} points"
        heading = ("row", "column", "items × seeds", "difference", "p items", "p both", "verdict")
        name = "-".join([*re.findall("[A-Za-z0-9]+", self.block), "items"])
        caption += f". {self.remark}" if self.remark else ""
        return [Sheet(f"{caption}.", name, heading, tuple(line.texts(decimals) for line in self.items))]

    def _over_seeds(self, decimals: int) -> list[Sheet]:
        tested = [line for line in self.lines if line.comparison is not None]
        if not tested:
            few = f"No row has {MINIMUM_SEEDS} seeds in common with {self.reference}: nothing is compared over seeds."
            return [Sheet(few)]
        block = f" ({self.block})" if self.block else ""
        caption = (
            f"Against **{self.reference}**{block}, paired by seed: mean difference and probability that a run beats "
            "one of the reference, with 95 % bootstrap intervals over seeds; p of the sign-flip test after Holm's "
            f"correction over {count(len(tested), 'comparison')}."
        )
        heading = ("row", "columns", "pairs", "difference", "P(improvement)", "p", "verdict")
        name = "-".join(re.findall("[A-Za-z0-9]+", self.block))
        against, of_all = (f"{name}-{kind}".lstrip("-") for kind in ("against", "over"))
        found = [Sheet(caption, against, heading, tuple(line.texts(decimals) for line in self.lines))]
        if self.wholes:
            over = f"Over {', '.join(self.columns)}{block}: mean and interquartile mean, 95 % bootstrap intervals "
            over += "over seeds."
            rows = tuple((w.row, shown(w.mean, decimals), shown(w.iqm, decimals)) for w in self.wholes)
            found.append(Sheet(over, of_all, ("row", "mean", "IQM"), rows))
        return found


def shown(interval: Interval | None, decimals: int) -> str:
    """``1.20 [−0.40, 2.80]``."""
    if interval is None:
        return MISSING
    low, high = f"{interval.low:.{decimals}f}", f"{interval.high:.{decimals}f}"
    return f"{interval.point:.{decimals}f} [{low}, {high}]".replace("-", "−")


def compare_rows(
    block: str, reference: str, scores: Mapping[str, Scores], higher_is_better: bool = True
) -> AgainstReference:
    """Compare the rows of ``scores`` (row -> column -> seed -> score) with the row ``reference``.

    Each number has a generator of its own, so that none depends on what was computed before it.
    """
    other = [row for row in scores if row != reference]
    lines = [_line(row, scores[row], scores[reference], higher_is_better) for row in other]
    found = stats.corrected(
        {line.row: line.comparison for line in lines if line.comparison is not None}, higher_is_better
    )
    lines = [replace(line, comparison=found.get(line.row)) for line in lines]
    columns = _common(scores)
    wholes = [
        Whole(row, *(_interval({c: own[c] for c in columns}, kind) for kind in ("mean", "iqm")))
        for row, own in scores.items()
        if columns and all(len(own.get(c, {})) >= MINIMUM_SEEDS for c in columns)
    ]
    return AgainstReference(block, reference, tuple(lines), columns, tuple(wholes))


def _line(row: str, own: Scores, theirs: Scores, higher_is_better: bool) -> Line:
    columns = tuple(c for c in own if len(own[c].keys() & theirs.get(c, {}).keys()) >= MINIMUM_SEEDS)
    if not columns:
        return Line(row, (), None, None)
    a, b = {c: own[c] for c in columns}, {c: theirs[c] for c in columns}
    comparison = stats.compare(a, b, higher_is_better, generator=np.random.default_rng(0))
    improvement = probability_of_improvement(a, b, higher_is_better, generator=np.random.default_rng(0))
    return Line(row, columns, comparison, improvement)


def _common(scores: Mapping[str, Scores]) -> tuple[str, ...]:
    enough = {row: {c for c, seeds in own.items() if len(seeds) >= MINIMUM_SEEDS} for row, own in scores.items()}
    sets = [columns for columns in enough.values() if columns]
    shared = set.intersection(*sets) if sets else set()
    order: Sequence[str] = next(iter(scores.values()), {}).keys()  # type: ignore[assignment]
    return tuple(c for c in order if c in shared)


def _interval(own: Scores, kind: str) -> Interval:
    return bootstrap(own, kind, generator=np.random.default_rng(0))  # type: ignore[arg-type]


ItemScores = Mapping[int, Mapping[int, float]]  # seed -> item -> score in the table's unit


def compare_items(
    reference: str,
    scores: Mapping[str, Mapping[str, ItemScores]],
    higher_is_better: bool,
    margin: float | None,
    units: Mapping[str, float],
) -> tuple[ItemLine, ...]:
    """Every row of ``scores`` (row -> column -> item scores) against the row ``reference``.

    On the items and seeds that both have; one family of comparisons. ``units``: by column what a right answer scores,
    where answers are right or wrong. *p both* is no smaller than *p items*: where rows differ in few items the normal
    distribution is too sure of itself, and the permutation is exact.
    """
    lines = []
    for row, columns in scores.items():
        for column, own in columns.items() if row != reference else ():
            theirs = scores.get(reference, {}).get(column, {})
            seeds = sorted(own.keys() & theirs.keys())
            shared = set.intersection(*(set(of[s]) for of in (own, theirs) for s in seeds)) if seeds else set()
            if len(shared) < 2:
                continue
            order = sorted(shared)
            first, second = (np.array([[of[s][i] for i in order] for s in seeds]) for of in (own, theirs))
            unit = units.get(column, 0.0)
            p_items = (
                items.mcnemar(first[0] > 0, second[0] > 0)[0]
                if unit and len(seeds) == 1
                else items.permutation(first - second)
            )
            found = items.crossed(first - second, unit)
            most = max(len(of[s]) for of in (own, theirs) for s in seeds)
            lines.append(ItemLine(row, column, found, p_items, max(found.p, p_items), most=most))
    families = (stats.holm([line.p_items for line in lines]), stats.holm([line.p for line in lines]))
    return tuple(
        replace(line, p_items=p_items, p=p, verdict=items.verdict(line.found, p, margin, higher_is_better))
        for line, p_items, p in zip(lines, *families, strict=True)
    )

"""Footnotes and the lines around a table: what has to be known to compare two of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.plan import preset
from uora_bench.report import grades
from uora_bench.report.aggregate import Number
from uora_bench.report.collect import Collection, Run
from uora_bench.report.published import Published
from uora_bench.report.spec import TableSpec
from uora_bench.report.stats import MINIMUM_SEEDS

if TYPE_CHECKING:
    from uora_bench.report.table import Table

RULES = {
    "last": "the last epoch; dev did not choose it",
    "best_dev": "the epoch with the best dev score, which makes that dev score optimistic",
    "heldout_dev": "epoch chosen on one fixed half of dev and scored on the other, both ways",
}


class Footnotes:
    """Collects the footnotes of a table: the same text gets the same number."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self._known.setdefault(text, len(self._known))

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._known)


def ours(number: Number, spec: TableSpec) -> list[str]:
    """What our cells of one place did otherwise than a plain run on the whole training set."""
    found: dict[str, None] = {}
    for run in number.runs:
        if run.status != "done":
            continue
        cell = run.record["cell"]
        train = cell["task"]["splits"]["train"]
        if "[" in train:
            found[f"ours: trained on {train}"] = None
        if cell["trainer"].get("holdout"):
            share = cell["trainer"]["holdout"]
            found[f"ours: {share:g} of the training set was kept from the adapter"] = None
        if cell.get("initialise_from"):
            found["ours: started from the adapter of another cell"] = None
        judge = run.record["provenance"].get("judge")
        if number.split == grades.SPLIT and judge is not None:
            found[f"ours: graded by {judge['model']} (prompts {judge['prompts']})"] = None
        for note in spec.notes:
            if note.at == "ours" and _about(run, note.when):
                found[f"ours: {note.text}"] = None
    return list(found)


def theirs(number: Published | None, runs: Sequence[Run], spec: TableSpec) -> list[str]:
    """What is to be known of a published number: the specification's notes, and a confidence that is not high."""
    if number is None:
        return []
    found = {
        f"published: {note.text}": None
        for note in spec.notes
        if note.at == "published" and any(_about(run, note.when) for run in runs)
    }
    if number.confidence != "high":
        found[f"published: confidence of the reading is {number.confidence}"] = None
    return list(found)


def _about(run: Run, when: dict[str, object]) -> bool:
    return preset.matches({**run.row, "task": run.task}, when)


def about(table: Table, collection: Collection) -> tuple[str, ...]:
    """The lines above the table: rule, split, seeds, statistics, and how the paper came to its numbers."""
    places = [place for part in table.parts for row in part.rows for place in row.places]
    lines = [f"Selection rule `{table.rule}`: {RULES[table.rule]}."]
    splits: dict[str, list[str]] = {}
    for column in table.columns:
        splits.setdefault(_split(column.split, column.task, collection), []).append(column.label)
    named = [split if len(splits) == 1 else f"{split}: {', '.join(labels)}" for split, labels in splits.items()]
    lines.append(f"Scored on {'; '.join(named)}.")
    done, planned = sum(p.ours.n for p in places), sum(p.ours.planned for p in places)
    word = {"mean": "mean", "median": "median"}[table.spec.aggregate]
    lines.append(
        f"Ours: {word} ± sample standard deviation over seeds (number of seeds); {done} of {planned} scores are there, "
        "– is a missing one."
    )
    if any(row.has_published for part in table.parts for row in part.rows):
        paper = table.spec.paper
        how = [f"rule `{paper.rule}`" if paper.rule else "rule not known"]
        if paper.seeds == 1:
            how.append("one run")
        else:
            how.append(f"{paper.aggregate} over seeds" if paper.aggregate else "aggregate not known")
            how.append(f"{paper.seeds} seeds" if paper.seeds else "number of seeds not known")
        lines.append(f"Published ({table.paper}): {', '.join(how)}. Δ: ours minus published.")
        if paper.rule not in (None, table.rule):
            lines.append("**The two rules differ**: Δ holds that difference too.")
    if any(row.average is not None for part in table.parts for row in part.rows):
        lines.append("Avg: mean over the columns, for rows that have all of them.")
    marks = any(p.mark for p in places) or any(r.average and r.average.mark for b in table.parts for r in b.rows)
    if marks:
        lines.append(
            "Bold is best, underlined second, where paired sign-flip tests say so after Holm's correction "
            "(docs/statistics.md)."
        )
    elif done:
        few = max(p.ours.n for p in places) < MINIMUM_SEEDS
        why = "too few seeds to tell" if few else "no difference survives the paired test"
        lines.append(f"No place is marked best: {why} (docs/statistics.md).")
    return (*lines, *(" ".join(text.split()) for text in table.spec.about))


def _split(role: str, task: str, collection: Collection) -> str:
    """The role, and what the data set calls it where a record says so."""
    for run in collection.runs:
        if run.task == task and run.status == "done" and role in run.record["splits"]:
            name = run.record["splits"][role]["name"]
            shown = role if name == role else f"{role} ({name})"
            return shown + (", which stands in for a test set" if role == "dev" else "")
    return role + (", which stands in for a test set" if role == "dev" else "")

"""Footnotes and the lines around a table: what has to be known to compare two of its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from uora_bench.grid import preset
from uora_bench.grid.table_spec import Paper, TableSpec
from uora_bench.report import boxes, comparability, grades
from uora_bench.report.aggregate import Number
from uora_bench.report.bootstrap import MINIMUM_SEEDS
from uora_bench.report.collect import Collection, Run, finished
from uora_bench.report.model import Block, Table
from uora_bench.report.published import Published
from uora_bench.report.stats import LEVEL
from uora_bench.util.words import count

FEW_ROWS = 30  # with fewer one row is more than three points of a hundred

RULES = {
    "last": "the last epoch; dev did not choose it",
    "best_dev": "the epoch with the best dev score, which makes that dev score optimistic",
    "heldout_dev": "epoch chosen on one fixed half of dev and scored on the other, both ways",
}


def ours(number: Number, split: str, spec: TableSpec) -> list[str]:
    """What our cells of one entry did otherwise than a plain run on the whole training set."""
    found: dict[str, None] = {}
    for run in number.done:
        cell = run.record.cell
        too_long = run.record.provenance.too_long
        if too_long:
            done = {"drop": "left out", "truncate": "cut"}[cell["task"]["options"]["too_long"]]
            rows = ", ".join(f"{count} of {role}" for role, count in too_long.items())
            found[f"ours: rows with too long a prompt were {done}: {rows}"] = None
        if run.record.provenance.remark is not None:
            found[f"ours: {run.record.provenance.remark}"] = None
        judge = run.record.provenance.judge
        if split == grades.SPLIT and judge is not None:
            found[f"ours: graded by {judge.model} (prompts {judge.prompts})"] = None
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
    entries = [entry for row in table.rows for entry in row.entries]
    levels = table.spec.comparability
    lines = [f"Selection rule `{table.rule}`: {RULES[table.rule]}."]
    splits: dict[str, list[str]] = {}
    for column in table.columns:
        splits.setdefault(_split(column.split, column.task, collection.runs), []).append(column.label)
    named = [split if len(splits) == 1 else f"{split}: {', '.join(labels)}" for split, labels in splits.items()]
    lines.append(f"Scored on {'; '.join(named)}.")
    lines += [*_few_rows(table), *_unverified_data(table), *collection.aside]
    done, planned = sum(p.ours.n for p in entries), sum(p.ours.planned for p in entries)
    lines.append(
        f"Ours: {table.spec.aggregate} ± sample standard deviation over seeds (number of seeds); {done} of {planned} "
        "scores; – = missing."
    )
    unscored = sum(len(p.ours.done) for p in entries) - done
    if unscored:
        why = "".join(f" {reason}." for reason in _absent(table))
        lines.append(
            f"{unscored} of the missing ones are of finished cells that have no such score under this rule.{why}"
        )
    lines += _published(table)
    if table.average is not None:
        lines.append("Avg: mean over the columns, for rows that have all of them.")
        lines += _unlike_seeds(table)
    if done:
        cells = table.done
        lines.append(
            "Costs: the largest number of parameters, bytes and memory, and the median of the rest (over seeds, then "
            "over tasks), over the tasks that every row with results has. Seconds are of training and evaluation."
        )
        lines += [*_sizes(table), *_forgetting(table, cells), *_energy(table, cells)]
        clock, memory = comparability.clock(cells), comparability.memory(cells)
        if len(comparability.memory_kinds(cells)) > 1:
            memory = comparability.found(levels, "UC08", memory)
        lines += [text for text in (clock and comparability.found(levels, "UC08", clock), memory) if text]
        columns = [(c.label, [row.entries[i].ours.runs for row in table.rows]) for i, c in enumerate(table.columns)]
        lines += filter(None, [comparability.rates(columns)])
        lines += _classes(table)
        without = comparability.without_predictions(cells)
        lines += [f"{comparability.found(levels, 'UC11', without)}."] if without else []
        lines.append(_marks(table))
    return (*lines, *(" ".join(text.split()) for text in table.spec.about))


def _absent(table: Table) -> list[str]:
    """Why finished cells have no score, as their metric said, by column."""
    found: dict[str, None] = {}
    for i, column in enumerate(table.columns):
        for run in (run for row in table.rows for run in row.entries[i].ours.done):
            if reason := run.absent(table.rule, column.split, column.metric):
                found[f"{column.label}: {reason}"] = None
    return list(found)


def _sizes(table: Table) -> list[str]:
    """The rows whose adapters have as many trained parameters in every cell and yet not one size."""
    found = []
    for row in table.rows if "adapter size" in table.spec.costs else ():
        sizes: dict[int, set[int]] = {}
        for record in (run.record for run in finished(row.runs)):
            if record.counts is not None and record.bytes is not None:
                sizes.setdefault(record.counts.adapter, set()).add(record.bytes.adapter_size)
        found += [
            f"{row.label}, {boxes.size(min(of))} to {boxes.size(max(of))}" for of in sizes.values() if len(of) > 1
        ]
    what = "Adapter size counts what the seed cannot give back, refreshed rows too, and so varies between cells"
    return [f"{what}: {'; '.join(found)}."] if found else []


def _forgetting(table: Table, cells: Sequence[Run]) -> list[str]:
    """The unit of the column, which depends on the kind of backbone."""
    kinds = {"loss": "nats per token of loss", "drift": "drift of features (1 − cosine)"}
    measured = [run.record.retention for run in cells if run.record.retention is not None]
    found = {f"{kinds[one.measure]} on {one.inputs}" for one in measured if one.measure is not None}
    if "forgetting" not in table.spec.costs:
        return []
    unlike = "**Not one unit**: " if len(found) > 1 else ""
    lines = [f"{unlike}Forgetting: what training added: {'; '.join(sorted(found))}."] if found else []
    if without := len(cells) - sum(one.adapted is not None for one in measured):
        lines.append(f"Forgetting is not known of {count(without, 'cell')}: made without retention.measure=true.")
    return lines


def _energy(table: Table, cells: Sequence[Run]) -> list[str]:
    """How the energy of the column was measured, or why it was not."""
    if "energy" not in table.spec.costs:
        return []
    known = [run.record.energy for run in cells if run.record.energy is not None]
    ways = sorted({one.source for one in known if one.joules is not None})
    lines = [f"Energy was measured with {' and '.join(ways)}" + (": it is not comparable." if len(ways) > 1 else ".")]
    lines = lines if ways else []
    if without := Counter(one.source for one in known if one.joules is None):
        said = [f"{count(number, 'cell')}: {why}" for why, number in without.items()]
        lines.append(f"Energy is not known of {'; '.join(said)}.")
    return lines


def _few_rows(table: Table) -> list[str]:
    """How many rows stand behind the scores of a column, where they are few."""
    found = {}
    for i, column in enumerate(table.columns):
        runs = [run for row in table.rows for run in row.entries[i].ours.done]
        sizes = {run.record.splits[column.split].rows for run in runs if column.split in run.record.splits}
        if sizes and min(sizes) < FEW_ROWS:
            found[column.label] = min(sizes)
    named = ", ".join(f"{label} {count(rows, 'row')}" for label, rows in found.items())
    return [f"Few rows are scored: {named}; a difference of one or two rows is not meaningful."] if found else []


def _unlike_seeds(table: Table) -> list[str]:
    """What is to be known of averages over columns of different numbers of seeds."""
    counts = {
        entry.ours.n
        for row in table.rows
        if row.average is not None and row.average.ours.value is not None
        for column, entry in zip(table.columns, row.entries, strict=True)
        if column.averaged
    }
    text = f"the columns of an average have from {min(counts, default=0)} to {max(counts, default=0)} seeds"
    return [f"{comparability.found(table.spec.comparability, 'UC14', text)}."] if len(counts) > 1 else []


def _published(table: Table) -> list[str]:
    if not table.has_published:
        return []
    lines = [f"Published ({table.paper}): {protocol_of(table.spec.paper)}. Δ: ours minus published."]
    if table.spec.paper.rule not in (None, table.rule):
        text = "**The two rules differ**: Δ includes that difference."
        lines.append(comparability.found(table.spec.comparability, "UC03", text))
    return lines


def protocol_of(paper: Paper) -> str:
    """How the paper came to its numbers, as far as it is known."""
    rule = f"rule `{paper.rule}`" if paper.rule else "rule not known"
    if paper.seeds == 1:
        return f"{rule}, one run"
    aggregate = f"{paper.aggregate} over seeds" if paper.aggregate else "aggregate not known"
    return f"{rule}, {aggregate}, {f'{paper.seeds} seeds' if paper.seeds else 'number of seeds not known'}"


def _marks(table: Table) -> str:
    """What the marks mean, or why there are none."""
    if any(entry.mark for row in table.rows for entry in row.shown):
        return (
            "Bold is best, underlined second, where paired sign-flip tests say so after Holm's correction "
            "(docs/statistics.md)."
        )
    families = [f for block in table.blocks for f in _families(table, block)]
    if not families:
        return f"No entry is marked best: no column has two rows with {MINIMUM_SEEDS} seeds to compare."
    if all(rows * (rows - 1) / 2 * 2 / 2**pairs > LEVEL for rows, pairs in families):
        return "No entry is marked best: with so few seeds the paired test cannot tell (docs/statistics.md)."
    return "No entry is marked best: no difference survives the paired test (docs/statistics.md)."


def _families(table: Table, block: Block) -> list[tuple[int, int]]:
    """(rows, pairs of seeds) of every comparison that the marks of a block could come from."""
    found = []
    for column, entries in zip(table.shown, zip(*(row.shown for row in block.rows), strict=True), strict=True):
        if column is table.average:
            averaged = sum(one.averaged for one in table.columns)
            counts = [p.ours.n * averaged for p in entries if p.ours.value is not None]
        else:
            counts = [p.ours.n for p in entries if p.ours.n >= MINIMUM_SEEDS]
        found.append((len(counts), min(counts, default=0)))
    return [(rows, pairs) for rows, pairs in found if rows > 1]


def _classes(table: Table) -> list[str]:
    """What the most frequent class alone would score, where predictions say which answers are right."""
    found = []
    for i, column in enumerate(table.columns):
        runs = [run for row in table.rows for run in row.entries[i].ours.runs if column.metric == "accuracy"]
        shares = {m for run in runs if (m := comparability.majority(run, column.split)) is not None}
        if shares:  # several, where rows are of several data
            shown = [f"{share * column.scale:.{column.decimals}f}" for share in sorted(shares)]
            found.append(f"{column.label} {' or '.join(dict.fromkeys(shown))}")
    return [f"Always the most frequent class: {', '.join(found)}."] if found else []


def _unverified_data(table: Table) -> list[str]:
    """A line about cells whose rows are from local files that nobody compared with the data set that they are called.

    Records are older than ``rows_from``: then local files are known by their hashes alone.
    """
    done = {run.record.cell_id: run for run in table.done}
    local: dict[str, int] = {}
    for run in done.values():
        known = run.record.provenance
        if "files" in (known.rows_from or "").split("+") or (known.rows_from is None and known.data_files):
            local[run.task] = local.get(run.task, 0) + 1
    if not local:
        return []
    of = ", ".join(
        f"{count} of {sum(run.task == task for run in done.values())} on {task}" for task, count in local.items()
    )
    return [f"Local data files, not verified against published checksums: cells {of}."]


def _split(role: str, task: str, runs: Sequence[Run]) -> str:
    """The role, what the data set calls it, and what that means for a role other than test."""
    own = [run for run in runs if run.task == task]
    names = {run.record.splits[role].name for run in own if run.status == "done" and role in run.record.splits}
    if not names:
        names = {str(run.splits[role]) for run in own if run.splits.get(role)}
    shown = split_name(role, names)
    if role != "dev":
        return shown
    if any(name.startswith("test") for name in names):
        return f"{shown}: the test split is used as dev, so every choice by dev is made on it"
    if any(name.startswith("train") for name in names):
        return f"{shown}, a part of the training set"
    return f"{shown}, which stands in for a test set"


def split_name(role: str, names: set[str]) -> str:
    """``dev (validation)``: the role, and what the data sets call it."""
    return role if names <= {role} else f"{role} ({', '.join(sorted(names))})"

"""One number of a table, taken apart: the cells behind it, their scores, the rule, and the commands that make them."""

from __future__ import annotations

import shlex
from pathlib import Path

from uora_bench.errors import UserError, nearest
from uora_bench.grid.request import Request
from uora_bench.report import theory, write
from uora_bench.report.aggregate import Number
from uora_bench.report.collect import Run
from uora_bench.report.notes import RULES
from uora_bench.report.spec import Rule
from uora_bench.report.table import Average, Place, Row, Score, Table


def explain(words: list[str], results: Path, rule: Rule | None) -> str:
    """The text for ``TABLE ROW COLUMN [BLOCK]``.

    Raises:
        UserError: when a word names nothing, or two blocks have such a row and none is named.
    """
    if not 3 <= len(words) <= 4:
        raise UserError("explain needs TABLE ROW COLUMN [BLOCK], e.g. explain minilm_glue 'LoRA r=8' MRPC")
    name, row_label, column_label, *block = words
    known = [*write.experiments(results), *write.TRIALS, *theory.names(results)]
    if name not in known:
        raise UserError(f"no table '{name}'{nearest(name, known)}")
    table = write.make(Request(name, "print"), results, write.library(), rule)
    if theory.is_theory(name):
        return "\n".join(theory.explain(table, words[1:], results))
    found = table.row(row_label, block[0] if block else None)
    if not found:
        labels = [r.label for part in table.parts for r in part.rows if not block or part.label == block[0]]
        if not labels:
            raise UserError(f"no block '{block[0]}' in '{name}'{nearest(block[0], [p.label for p in table.parts])}")
        raise UserError(f"no row '{row_label}' in '{name}'{nearest(row_label, labels)}")
    if len(found) > 1:
        blocks = ", ".join(f"'{part.label}'" for part, _ in found)
        raise UserError(f"row '{row_label}' is in {len(found)} blocks of '{name}'; add one of {blocks}")
    part, row = found[0]
    labels = [column.label for column in table.columns]
    if column_label == "Avg" and row.average is not None:
        own = [f"rule={rule}"] if rule is not None else []
        own += [f"results.dir={results}"] if results != Path("results") else []
        return "\n".join(_average_lines(table, part.label, row, row.average, own))
    valid = [*labels, *(["Avg"] if row.average is not None else [])]
    if column_label not in labels:
        raise UserError(f"no column '{column_label}' in '{name}'{nearest(column_label, valid)}")
    index = labels.index(column_label)
    return "\n".join(_lines(table, part.label, row, table.columns[index], row.places[index]))


def _lines(table: Table, block: str, row: Row, column: Score, place: Place) -> list[str]:
    ours = place.ours
    place_name = " · ".join(p for p in (table.name, block, row.label, column.label) if p)
    value = "missing" if ours.value is None else f"{ours.value:.{column.decimals}f}"
    lines = [
        f"{place_name}: {value}",
        f"  {ours.aggregate} of {ours.n} of {ours.planned} seeds; {column.metric} on {column.split} × {column.scale:g}",
    ]
    if ours.mean is not None and ours.median is not None:
        spread = "" if ours.std is None else f", standard deviation {ours.std:.{column.decimals + 2}f}"
        digits = column.decimals + 2
        lines.append(f"  mean {ours.mean:.{digits}f}, median {ours.median:.{digits}f}{spread}")
    lines.append(f"  rule {table.rule}: {RULES[table.rule]}")
    if place.published is not None:
        theirs = place.published
        spread = "" if theirs.std is None else f" ± {theirs.std:g}"
        lines.append(f"  published: {theirs.value:g}{spread} ({theirs.source}; confidence {theirs.confidence})")
    if place.delta is not None:
        lines.append(f"  ours minus published: {place.delta:+.{column.decimals}f}")
    lines += [f"  note: {table.notes[i]}" for i in (*place.notes, *place.published_notes)]
    for run in sorted(ours.runs, key=lambda r: r.seed):
        lines += ["", *_cell(run, ours, table.rule, column)]
    return lines


def _average_lines(table: Table, block: str, row: Row, average: Average, own: list[str]) -> list[str]:
    """``own``: the words that the commands for its numbers need to see the same table."""
    decimals = table.spec.decimals
    place_name = " · ".join(p for p in (table.name, block, row.label, "Avg") if p)
    value = "missing" if average.ours is None else f"{average.ours:.{decimals}f}"
    lines = [f"{place_name}: {value}", f"  mean over {', '.join(average.columns)}; {table.spec.aggregate} over seeds"]
    lines.append(f"  rule {table.rule}: {RULES[table.rule]}")
    for column, place in zip(table.columns, row.places, strict=True):
        if column.label in average.columns:
            one = "missing" if place.ours.value is None else f"{place.ours.value:.{column.decimals + 2}f}"
            seeds = f"{place.ours.n} of {place.ours.planned} seeds"
            words = shlex.join([table.name, row.label, column.label, *([block] if block else []), *own])
            lines.append(f"  {column.label}: {one} ({seeds}; explain {words})")
    if average.by_seed:
        each = ", ".join(f"seed {seed}: {one:.{decimals + 2}f}" for seed, one in average.by_seed.items())
        lines.append(f"  of each seed that all have: {each}")
    if average.published is not None:
        lines.append(f"  published: {average.published.text} ({average.published.source})")
    if average.delta is not None:
        lines.append(f"  ours minus published: {average.delta:+.{decimals}f}")
    return lines


def _cell(run: Run, number: Number, rule: str, column: Score) -> list[str]:
    start = f"seed {run.seed}: "
    if run.seed in number.by_seed:
        lines = [f"  {start}{number.by_seed[run.seed]:.{column.decimals + 2}f}"]
    else:
        lines = [f"  {problem}" for problem in number.problems if problem.startswith(start)]
    if run.status == "done":
        record = run.record
        known = record["provenance"]
        chosen = record["scores"].get(rule, {})
        epoch = "" if chosen.get("epoch") is None else f", epoch {chosen['epoch']} of {len(record['epochs'])}"
        gpus = known.get("hardware", {}).get("gpus") or []
        where = gpus[0] if gpus else known.get("hardware", {}).get("processor", "unknown hardware")
        git = known.get("git", {})
        changed = " with uncommitted changes" if git.get("dirty") else ""
        lines += [
            f"    record results/records/{record['experiment']}/{record['cell_id']}.json{epoch}",
            f"    made {known.get('finished', '?')} by commit {str(git.get('commit', '?'))[:12]}{changed} on {where}",
        ]
    return [*lines, f"    {command(run)}"]


def command(run: Run) -> str:
    """The command line that makes this cell, with the adapter it started from where it did."""
    words = list(run.words)
    origin = run.record.get("provenance", {}).get("init_from")
    if origin and not any(word.startswith("init_from=") for word in words):
        words.append(f"init_from=runs/{run.record['experiment']}/{origin}")
    return "uora-bench " + shlex.join(words)

"""One number of a table, taken apart: the cells behind it, their scores, the rule, and the commands that make them."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uora_bench.config import plugins
from uora_bench.config.data_source import IMAGE_FOLDER, OWN_ROWS
from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule, TableSpec
from uora_bench.records.predictions import why_no_predictions
from uora_bench.records.record import TRIALS, CellRecord, record_path
from uora_bench.report import write
from uora_bench.report.aggregate import Number
from uora_bench.report.collect import Run
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.report.model import Entry, Row, Score, Table
from uora_bench.report.notes import RULES
from uora_bench.util.words import count


@dataclass(frozen=True)
class Found:
    """What ``TABLE ROW COLUMN [BLOCK]`` names. ``title``: the labels, for people."""

    title: str
    table: Table
    block: str
    row: Row
    column: Score
    entry: Entry


def find_entry(words: Sequence[str], results: Path, rule: Rule | None, kinds: Sequence[RecordKind] = ()) -> Found:
    """The number that ``TABLE ROW COLUMN [BLOCK]`` names, labels in any case.

    ``kinds``: of records other than trained cells.

    Raises:
        UserError: when a word names nothing, two blocks have such a row and none is named, or nothing was recorded and
            nothing published.
    """
    if not 3 <= len(words) <= 4:
        raise UserError("a number is named by TABLE ROW COLUMN [BLOCK], e.g. minilm_glue LoRA MRPC")
    tables = [*write.experiments(results, kinds), *TRIALS]
    tables += [name for kind in kinds for name in kind.names(results)]
    name = words[0] if preset.is_file(words[0]) else _known("table", words[0], tables)
    table = write.make_table(GridRequest(name, "print"), results, write.published_library(), rule, kinds)
    block, row = _row(table, words[1], words[3] if len(words) == 4 else None)
    labels = [column.label for column in table.shown]
    label = _column(words[2], table)
    title = " · ".join(text for text in (name, block, row.label, label) if text)
    index = labels.index(label)
    entry = row.shown[index]
    if entry.published is None and (absent := write.missing_records(table, results)):
        raise UserError(f"{absent}, and no number was published; {write.way_to_records(results, name)}")
    return Found(title, table, block, row, table.shown[index], entry)


def explain(words: Sequence[str], results: Path, rule: Rule | None, kinds: Sequence[RecordKind] = ()) -> str:
    """The text for the number that `find_entry` finds; raises what it does."""
    one = find_entry(words, results, rule, kinds)
    if (kind := owner(one.table.name, kinds)) is not None:
        return "\n".join(kind.explain(one.title, one.column, one.entry, results))
    if one.column is one.table.average:
        own = [f"rule={rule}"] if rule is not None else []
        own += [f"results.dir={results}"] if results != Path("results") else []
        return "\n".join(_average(one, own))
    return "\n".join(_entry(one, results))


def _known(what: str, given: str, labels: Sequence[str], table: str = "") -> str:
    """The one of ``labels`` that is ``given``, where none is literally in another case.

    Raises:
        UserError: when there is none, naming the nearest, or when several differ in case alone.
    """
    if given in labels:
        return given
    same = sorted({label for label in labels if label.casefold() == given.casefold()})
    if len(same) > 1:
        raise UserError(f"{what} '{given}' is ambiguous: {', '.join(map(repr, same))}; write the full name")
    if not same:
        folded = {label.casefold(): label for label in labels}
        close = difflib.get_close_matches(given.casefold(), folded, n=1)
        where = f" in '{table}'" if table else ""
        where = where or plugins.absent(given, labels)
        raise UserError(f"no {what} '{given}'{where}{nearest(folded[close[0]] if close else given, labels)}")
    return same[0]


def _column(given: str, table: Table) -> str:
    """The label of the column that is ``given``: by it, by its task, or by the file of the user's own rows.

    Raises:
        UserError: as `_known`, and when several columns are of that task or file.
    """
    labels = [column.label for column in table.shown]
    if given.casefold() in (label.casefold() for label in labels):
        return _known("column", given, labels, table.name)
    names: dict[str, list[str]] = {}
    runs = [run for row in table.rows for run in row.runs]
    for column in table.shown:
        files = {r.record.cell["task"]["source"]["dataset"] for r in runs if r.task == column.task and r.recorded}
        more = {column.task, column.task.rpartition("/")[2], *files, *(Path(file).stem for file in files)}
        for name in more | {f"{column.task} ({file})" for file in files}:
            names.setdefault(name.casefold(), []).append(column.label)
    found = names.get(given.casefold(), [])
    if len(found) > 1:
        raise UserError(f"column '{given}' is ambiguous: {', '.join(map(repr, found))}; write the full name")
    return found[0] if found else _known("column", given, labels, table.name)


def _row(table: Table, given: str, block: str | None) -> tuple[str, Row]:
    """The block and the row of that label."""
    if block is not None:
        block = _known("block", block, [one.label for one in table.blocks], table.name)
    labels = [row.label for one in table.blocks if block in (None, one.label) for row in one.rows]
    label = _known("row", given, labels, table.name)
    found = table.row(label, block)
    if len(found) > 1:
        blocks = ", ".join(f"'{one.label}'" for one, _ in found)
        raise UserError(f"row '{label}' is in {len(found)} blocks of '{table.name}'; add one of {blocks}")
    own, row = found[0]
    return own.label, row


def _entry(one: Found, results: Path) -> list[str]:
    table, column, entry, ours = one.table, one.column, one.entry, one.entry.ours
    digits = column.decimals + 2
    lines = [f"{one.title}: {_shown(ours.value, column.decimals)}",
             f"  {ours.aggregate} of {ours.n} of {count(ours.planned, 'seed')}; {column.metric} on {column.split} × "
             f"{column.scale:g}"]  # fmt: skip
    if ours.value is not None:
        spread = "" if ours.std is None else f", standard deviation {ours.std:.{digits}f}"
        lines.append(f"  mean {ours.mean:.{digits}f}, median {ours.median:.{digits}f}{spread}")
    lines.append(f"  rule {table.rule}: {RULES[table.rule]}")
    if entry.published is not None:
        theirs = entry.published
        spread = "" if theirs.std is None else f" ± {theirs.std:g}"
        lines.append(f"  published: {theirs.value:g}{spread} ({theirs.source}; confidence {theirs.confidence})")
    lines += _delta(entry, column)
    lines += [f"  note: {table.notes[i]}" for i in (*entry.notes, *entry.published_notes)]
    for run in sorted(ours.runs, key=lambda r: r.seed):
        lines += ["", *_cell(run, ours, table.rule, column, results)]
    return lines


def _average(one: Found, own: list[str]) -> list[str]:
    """``own``: the words that the commands for its numbers need to see the same table."""
    table, average, decimals = one.table, one.entry, one.table.spec.decimals
    averaged = [(c, entry.ours) for c, entry in zip(table.columns, one.row.entries, strict=True) if c.averaged]
    lines = [f"{one.title}: {_shown(average.ours.value, decimals)}"]
    lines.append(f"  mean over {', '.join(c.label for c, _ in averaged)}; {table.spec.aggregate} over seeds")
    lines.append(f"  rule {table.rule}: {RULES[table.rule]}")
    for column, ours in averaged:
        words = shlex.join([table.name, one.row.label, column.label, *filter(None, [one.block]), *own])
        seeds = f"{ours.n} of {count(ours.planned, 'seed')}"
        lines.append(f"  {column.label}: {_shown(ours.value, column.decimals + 2)} ({seeds}; explain {words})")
    if average.ours.by_seed:
        each = ", ".join(f"seed {seed}: {score:.{decimals + 2}f}" for seed, score in average.ours.by_seed.items())
        lines.append(f"  of each seed that all have: {each}")
    if average.published is not None:
        lines.append(f"  published: {average.published.text} ({average.published.source})")
    return [*lines, *_delta(average, table.spec)]


def _shown(value: float | None, decimals: int) -> str:
    return "missing" if value is None else f"{value:.{decimals}f}"


def _delta(entry: Entry, of: Score | TableSpec) -> list[str]:
    return [] if entry.delta is None else [f"  ours minus published: {entry.delta:+.{of.decimals}f}"]


def _cell(run: Run, number: Number, rule: str, column: Score, results: Path) -> list[str]:
    start = f"seed {run.seed}: "
    if run.seed in number.by_seed:
        lines = [f"  {start}{number.by_seed[run.seed]:.{column.decimals + 2}f}"]
    else:
        lines = [f"  {problem}" for problem in number.problems if problem.startswith(start)]
    if run.status == "done":
        record, known = run.record, run.record.provenance
        chosen = record.scores[rule].epoch if rule in record.scores else None
        epoch = "" if chosen is None else f", epoch {chosen} of {len(record.epochs)}"
        where = known.hardware.gpus[0] if known.hardware.gpus else known.hardware.processor or "unknown hardware"
        changed = " with uncommitted changes" if known.git.dirty else ""
        lines += [
            f"    record {record_path(run.folder or results / 'records' / record.experiment, record.cell_id)}{epoch}",
            *([f"    no predictions: {why}"] if (why := why_no_predictions(record)) else []),
            f"    made {known.finished or '?'} by commit {(known.git.commit or '?')[:12]}{changed} on {where}",
        ]
    return [*lines, f"    {command(run)}"]


def command(run: Run) -> str:
    """The command line that makes this cell, with the adapter it started from where it did.

    Folders of the machine it was made on are named by what has to be in them, and with the ``expect_cell_id`` of a
    recorded cell the run refuses anything else.
    """
    words = list(run.overrides)
    if run.recorded is not None:
        words += [*_folders(run.recorded, words), f"expect_cell_id={run.recorded.cell_id}"]
    origin = run.recorded.provenance.init_from if run.recorded is not None else None
    if origin and not any(word.startswith("init_from=") for word in words):
        words.append(f"init_from=runs/{run.record.experiment}/{origin}")
    return "uora-bench " + shlex.join(words)


def _folders(record: CellRecord, said: Sequence[str]) -> list[str]:
    """The words of a command for the folders that ``record`` was made from and that ``said`` does not name."""
    known, source, words = record.provenance, record.cell["task"]["source"], []
    if record.cell.get("weights"):
        words.append(f"backbone.path=<folder with the weights of sha256 {record.cell['weights']}>")
    if known.data_files:
        files = ", ".join(f"{name} of sha256 {digest}…" for name, digest in known.data_files.items())
        own = source["benchmark"] == OWN_ROWS  # one file, or what is in a folder of its own
        place = f"task.path=<{source['dataset']}" if own else f"data.root=<folder with {source['benchmark']}/"
        words.append(f"{place}: {files}>" if own else f"{place}{source['dataset']}/: {files}>")
    elif source["benchmark"] == IMAGE_FOLDER:
        words.append("data.root=<the folder of pictures>")
    elif source["benchmark"] != "generated" and known.rows_from is None:  # an older record
        where = f"{source['benchmark']}/{source['dataset']}/"
        words.append(f"data.root=<folder with {where}, unless it was the Hub: the record does not say>")
    if record.cell.get("metric"):
        words.append(
            f"task.metric.name=<{record.metric.name.removeprefix('local/')}.py of sha256 {record.cell['metric']}>"
        )
    return [word for word in words if not any(w.startswith(word.split("=", 1)[0] + "=") for w in said)]

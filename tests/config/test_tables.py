"""`table:` of the presets against the grids they show and the published numbers they stand beside.

Nothing is dropped in silence: every published number of a table is shown, or excluded in `EXCLUDED` with a reason, and
every place of a published row without a number is in `ABSENT` with one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.filled_grids import LIBRARY, filled
from tests.support.paths import ROOT
from tests.support.presets import key, of
from tests.support.published_rows import BACKBONES, ROWS, SEEDS, task_of
from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import BlockSpec, Column, Note, Paper, RowSpec, TableSpec
from uora_bench.report import collect, csv_file, table
from uora_bench.report.collect import Collection, Run
from uora_bench.report.model import Block, Entry, Row, Score, Table
from uora_bench.report.published import Library, Published
from uora_bench.util.schema import build

NAMES = [name for name in registry.choices("experiment") if preset.load_experiment(name).table is not None]
BESIDE = [name for name in NAMES if preset.load_experiment(name).published is not None]
NO_METHOD, NO_BACKBONE = "no such method in this suite", "no such backbone in this suite"
# preset -> (method, backbone, task, metric of the CSV file, as patterns) -> why the table does not show the number
EXCLUDED: dict[str, dict[tuple[str, str, str, str], str]] = {
    "lora_table2": {
        ("AdapterDrop *", "*", "*", "*"): NO_METHOD,
        ("Adapter *", "*", "*", "*"): NO_METHOD,
        ("*", "DeBERTa-XXL", "*", "*"): NO_BACKBONE,
    },
    "lora_table3": {
        ("Adapter *", "*", "*", "*"): NO_METHOD,
        ("FT-Top2", "*", "*", "*"): NO_METHOD,
        ("PreLayer", "*", "*", "*"): NO_METHOD,
    },
    "vera_table2": {("Adapter*", "*", "*", "*"): NO_METHOD},
    "vera_table3": {
        ("Adapter *", "*", "*", "*"): NO_METHOD,
        ("DyLoRA", "*", "*", "*"): NO_METHOD,
        ("AdaLoRA", "*", "*", "*"): "settings not known, and PEFT adapts GPT-2's query, key and value as one map only",
    },
    "alpha_lora_glue": {("*", "*", "*", "final accuracy *"): "the rule of the table is the best evaluation"},
    "uora_glue": {("UORA", "*", "parameter count", "*"): "a ratio of counts, in the lines above the table"},
    "uora_e2e": {("UORA", "*", "parameter count", "*"): "a ratio of counts, in the lines above the table"},
    "tied_lora": {
        ("*", "*", "parameter count", "*"): "a count; ours stand in the table",
        ("*", "* (base model not restated)", "GSM8K", "*"): "neither its rank nor its backbone is stated",
    },
}
# preset -> columns of published rows for which nothing was published -> why
ABSENT: dict[str, dict[str, str]] = {
    "lora_table2": {"MNLI-mm": "the paper has one MNLI score"},
    "vera_table4": {"held-out loss": "the paper scores by MT-Bench alone"},
    "tied_lora": {
        column: "the paper's tables were not readable"
        for column in ("SQuAD EM", "SQuAD F1", "DialogSum R-L", "HellaSwag acc_norm", "IWSLT BLEU", "GSM8K EM")
    },
    "alpha_lora_glue": {
        **{task: "the paper's table was not readable" for task in ("SST-2", "QNLI", "QQP")},
        **{task: "its curve is another table of the CSV file" for task in ("MNLI", "MNLI-mm")},
    },
}


@cache
def collected(name: str) -> Collection:
    """The grid of a preset without a record."""
    return collect.collect(GridRequest(name, "print"), Path("nowhere"))


@cache
def built(name: str) -> Table:
    return table.build(collected(name), LIBRARY)


def spec_of(name: str) -> TableSpec:
    spec = preset.load_experiment(name).table
    assert spec is not None
    return spec


def entries(made: Table) -> Iterator[tuple[Block, Row, Score, Entry]]:
    for block in made.blocks:
        for row in block.rows:
            for column, entry in zip(made.columns, row.entries, strict=True):
                yield block, row, column, entry


def known(name: str) -> tuple[Published, ...]:
    where = preset.load_experiment(name).published
    assert where is not None
    return LIBRARY.table(where.paper, where.table)


def shown(made: Table) -> set[Published]:
    found = {entry.published for *_, entry in entries(made)}
    found |= {row.average.published for block in made.blocks for row in block.rows if row.average is not None}
    return {number for number in found if number is not None}


def matched(spec: TableSpec, collection: Collection) -> list[str]:
    """What of the specification is for nothing in the grid; each row, block, column and note is looked up by hand."""

    def hits(when: dict[str, Any], runs: list[Run]) -> list[Run]:
        return [run for run in runs if preset.matches({**run.row, "task": run.task, "seed": run.seed}, when)]

    runs = list(collection.runs)
    problems = [f"column {c.label}" for c in spec.columns if c.task not in collection.tasks]
    problems += [f"block {b.label}" for b in spec.blocks if not hits(b.when, runs)]
    left = runs
    for row in spec.rows:
        own = hits(row.when, left)
        left = [run for run in left if run not in own]
        problems += [f"row {row.label}"] if not own or (row.also and not hits(row.also, runs)) else []
    problems += [f"left over: {run.row}" for run in left] if spec.rows else []
    if spec.blocks:
        problems += [
            f"in {n} blocks: {r.row}" for r in runs if (n := sum(bool(hits(b.when, [r])) for b in spec.blocks)) != 1
        ]
    named = {row.published is not None for row in spec.rows}
    for note in spec.notes:
        wanted = runs
        if note.at == "published":  # only a row that was published can carry it
            assert named & {True}
            wanted = [run for row in spec.rows if row.published is not None for run in hits(row.when, runs)]
        problems += [f"note {note.text}"] if not hits(note.when, wanted) else []
    return problems


def absences(spec: TableSpec, made: Table) -> set[str]:
    """Columns in which a published row has no published number."""
    rows = {row.label for row in spec.rows if row.published is not None}
    return {column.label for _, row, column, entry in entries(made) if row.label in rows and entry.published is None}


# --- the specification fits its grid --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_block_column_and_note_is_for_something(name: str) -> None:
    assert matched(spec_of(name), collected(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_shown_task_is_in_the_table(name: str) -> None:
    made = built(name)
    tasks = {column.task for column in made.columns}
    in_table = {id(run) for *_, entry in entries(made) for run in entry.ours.runs}
    assert in_table == {id(run) for run in collected(name).runs if run.task in tasks}
    hidden = {run.task for run in collected(name).runs} - tasks
    assert hidden == ({"glue/mnli"} if name == "vera_table2" else set())  # LoRA's starts need it


def changed(spec: TableSpec, part: str, **changes: Any) -> TableSpec:
    items = getattr(spec, part)
    values: dict[str, Any] = {part: (replace(items[0], **changes), *items[1:])}
    return replace(spec, **values)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("rows", {"when": {"method": "loraa"}}),
        ("rows", {"also": {"task": "glue/nli"}}),
        ("blocks", {"when": {"backbone": "roberta_bass"}}),
        ("columns", {"task": "glue/sst-2"}),
        ("notes", {"when": {"method": "bit_fit"}}),
    ],
)
def test_a_condition_that_matches_nothing_is_found(part: str, changes: dict[str, Any]) -> None:
    assert matched(changed(spec_of("vera_table2"), part, **changes), collected("vera_table2")) != []


# --- beside published numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BESIDE)
def test_every_place_of_a_published_row_has_its_number_or_is_a_documented_absence(name: str) -> None:
    assert absences(spec_of(name), built(name)) == set(ABSENT.get(name, {}))


@pytest.mark.parametrize("name", BESIDE)
def test_every_published_number_is_shown_or_excluded_for_a_reason(name: str) -> None:
    there = shown(built(name))
    assert there <= set(known(name))
    assert there or name in ("uora_glue", "uora_e2e")
    used = set()
    for number in set(known(name)) - there:
        names = (number.method, number.backbone, number.task, number.metric)
        fits = {p for p in EXCLUDED.get(name, {}) if all(fnmatchcase(n, q) for n, q in zip(names, p, strict=True))}
        assert fits, f"{names} is in no place of the table"
        used |= fits
    assert used == set(EXCLUDED.get(name, {}))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("rows", {"published": "Full finetuning"}),
        ("blocks", {"published": "RoBERTa base"}),
        ("columns", {"label": "SST2"}),
        ("columns", {"published": {"task": "SST"}}),
        ("columns", {"published": {"metric": "accuracy %"}}),
    ],
)
def test_a_typo_in_a_published_name_is_found(part: str, changes: dict[str, Any]) -> None:
    spec = changed(spec_of("vera_table2"), part, **changes)
    collection = collected("vera_table2")
    made = table.build(replace(collection, experiment=replace(collection.experiment, table=spec)), LIBRARY)
    assert absences(spec, made) != set()
    assert shown(made) < shown(built("vera_table2"))


@pytest.mark.parametrize("name", ROWS)
def test_a_published_number_stands_beside_the_cells_that_rerun_it(name: str) -> None:
    keys = {item.overrides: item.cell.key for item in of(name).items if item.cell is not None}
    found = set()
    for _, _, column, entry in entries(built(name)):
        number = entry.published
        if number is None:
            continue
        assert task_of(number.task.removesuffix(" (validation)")) == column.task
        words = ROWS[name][number.method, number.backbone]
        words = f"{words} backbone={BACKBONES[number.backbone]} task={column.task}"
        expected = {key(f"{words} seed={seed}") for seed in range(SEEDS[name][0])}
        assert {keys[run.overrides] for run in entry.ours.runs} == expected, (number.method, column.label)
        found.add((number.method, number.backbone))
    assert found == set(ROWS[name])


@pytest.mark.parametrize("name", BESIDE)
def test_printed_numbers_are_those_of_the_file(name: str) -> None:
    names = ("paper", "table", "method", "backbone", "task", "metric", "source")
    rows: dict[tuple[str, ...], list[str]] = {}
    for path in (ROOT / "results" / "paper").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for entry in csv.DictReader(file):
                printed = entry["value"] + (f" ± {entry['std']}" if entry["std"] else "")
                rows.setdefault(tuple(entry[n] for n in names), []).append(printed)
    lines = [x for x in csv.DictReader(io.StringIO(csv_file.render(built(name)))) if x["column"] != "Avg"]
    for line, (block, row, column, entry) in zip(lines, entries(built(name)), strict=True):
        assert (line["block"], line["row"], line["column"]) == (block.label, row.label, column.label)
        number = entry.published
        if number is None:
            assert line["published"] == line["published_source"] == ""
            continue
        assert rows[tuple(str(getattr(number, n)) for n in names)] == [number.text]
        assert float(line["published"]) == number.value == float(number.text.partition(" ± ")[0])
        assert line["published_source"] == number.source != ""


@pytest.mark.parametrize("name", NAMES)
def test_numbers_in_the_words_around_a_table_are_in_the_files_too(name: str) -> None:
    spec = spec_of(name)
    words = " ".join([*spec.about, *(note.text for note in spec.notes)])
    printed = {float(text) for text in re.findall(r"(?<![\w.])\d+\.\d+(?!\.)", words)}
    values = {round(n.value * factor, digits) for n in LIBRARY.numbers for factor in (1, 100) for digits in (1, 2)}
    values |= {float(n.trainable_params[:-1]) for n in LIBRARY.numbers if re.fullmatch(r"[\d.]+M", n.trainable_params)}
    assert printed <= values
    assert printed or name not in ("lora_table2", "lora_table3", "vera_table4", "alpha_lora_glue")


@pytest.mark.parametrize("name", BESIDE)
def test_averages_are_the_papers_own(name: str) -> None:
    """Our columns are those that the paper averages: its mean is that of the published places, to its one decimal."""
    for block in built(name).blocks:
        for row in block.rows:
            if row.average is None or row.average.published is None:
                continue
            values = [p.published.value for p in row.entries if p.published is not None]
            assert row.average.published.value == pytest.approx(sum(values) / len(values), abs=0.11)
    averages = [n for n in known(name) if n.task == "Avg"]
    assert bool(averages) == (spec_of(name).average and name != "uora_glue")


# --- docs/tables.md ---------------------------------------------------------------------------------------------------


def page() -> str:
    return (ROOT / "docs" / "tables.md").read_text("utf-8")


def test_the_example_of_the_page_is_a_table() -> None:
    (block,) = re.findall(r"<!-- example: table -->\n```yaml\n(.*?)```", page(), flags=re.DOTALL)
    spec = build(TableSpec, yaml.safe_load(block)["table"], "table")
    assert [row.published for row in spec.rows] == ["LoRA r=8", None]
    assert spec.notes[1].at == "ours"


@pytest.mark.parametrize("part", [TableSpec, Column, RowSpec, BlockSpec, Note, Paper])
def test_the_page_names_every_key(part: type) -> None:
    assert [one.name for one in fields(part) if f"`{one.name}`" not in page()] == []


# --- what was never published ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uora_glue", "uora_e2e", "uora_instruct", "uora_vision"])
def test_no_number_is_made_up_for_what_nobody_could_read(name: str) -> None:
    made = built(name)
    assert shown(made) == set()
    assert [entry.delta for *_, entry in entries(made) if entry.delta is not None] == []
    assert any("found in no readable source" in line or "not in this suite" in line for line in made.about)


def test_mt_bench_and_loss_are_never_subtracted() -> None:
    for _, _, column, entry in entries(built("vera_table4")):
        assert (entry.published is not None) == (column.label == "MT-Bench")
        assert entry.published is None or "GPT-4 score" in entry.published.metric
        assert column.metric == ("turn_1" if column.label == "MT-Bench" else "loss")


# --- with records ---------------------------------------------------------------------------------------------------


def test_our_scores_are_in_the_unit_of_the_published_ones(tmp_path: Path) -> None:
    mean = 1 / 1000  # of the seeds' offsets 0, 1, 2
    printed = {"bleu": 70.4, "nist": 8.85, "meteor": 46.8, "rouge_l": 71.8, "cider": 2.53}
    own = {metric: value / (1 if metric in ("nist", "cider") else 100) - mean for metric, value in printed.items()}
    made = table.build(filled(tmp_path, "lora_table3", own, method="lora", backbone="gpt2_medium"), LIBRARY)
    ((block, row),) = made.row("LoRA r=4")
    assert block.label == "GPT-2 medium"
    assert [entry.ours.n for entry in row.entries] == [3] * 5
    assert [entry.delta for entry in row.entries] == pytest.approx([0] * 5, abs=1e-9)


def test_two_published_rows_that_are_one_cell_both_have_it(tmp_path: Path) -> None:
    scores = {"accuracy": 0.9, "matthews_correlation": 0.9, "pearson": 0.9}
    made = table.build(filled(tmp_path, "lora_table2", scores, method="lora", backbone="roberta_large"), LIBRARY)
    ((_, main),), ((_, restricted),) = made.row("LoRA r=8"), made.row("LoRA r=8, restricted")
    same = [
        column.label
        for column, a, b in zip(made.columns, main.entries, restricted.entries, strict=True)
        if {run.cell_id for run in a.ours.runs} == {run.cell_id for run in b.ours.runs}
    ]
    assert same == ["MNLI", "MNLI-mm", "SST-2", "CoLA"]
    assert all(entry.ours.n == 5 for row in (main, restricted) for entry in row.entries)
    notes = {
        column.label: [made.notes[i] for i in entry.notes]
        for column, entry in zip(made.columns, main.entries, strict=True)
    }
    started = {label for label, texts in notes.items() if "ours: started from the adapter of another cell" in texts}
    assert started == {"MRPC", "RTE", "STS-B"}
    for row in (main, restricted):
        assert row.average is not None
        assert row.average.ours.value == pytest.approx(90.2)
        assert row.average.published is not None


def test_no_published_number_is_among_ours(tmp_path: Path) -> None:
    scores = {"accuracy": 0.9, "matthews_correlation": 0.9, "pearson": 0.9}
    collection = filled(tmp_path, "vera_table2", scores, backbone="roberta_large")
    theirs = {"published", "published_std", "delta", "published_parameters", "published_source",
              "published_confidence", "notes"}  # fmt: skip
    absurd = Library([replace(n, value=1e9, std=1e9, trainable_params="1e9", printed="") for n in LIBRARY.numbers])

    def ours(library: Library | None) -> list[dict[str, str]]:
        made = table.build(collection, library)
        averages = [str(row.average and row.average.ours.value) for block in made.blocks for row in block.rows]
        lines = csv.DictReader(io.StringIO(csv_file.render(made)))
        return [{k: v for k, v in line.items() if k not in theirs} for line in lines] + [
            {"averages": ",".join(averages)}
        ]

    assert ours(None) == ours(LIBRARY) == ours(absurd)
    assert "1e+09" in csv_file.render(table.build(collection, absurd))


def test_a_published_table_that_is_not_there_is_named() -> None:
    collection = collected("vera_table2")
    wrong = replace(collection.experiment, published=preset.Published("VeRA", "Table 22"))
    with pytest.raises(UserError, match=r"no published number of 'VeRA Table 22' is known.*VeRA Table 2"):
        table.build(replace(collection, experiment=wrong), LIBRARY)

"""What is committed under results/ is valid, carries the id of what it holds, and is what results/README.md prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from uora_bench.records.record import read_record

FILES = sorted((ROOT / "results" / "records").glob("*/*.json"))
FILES = [f for f in FILES if f.parent.name not in ("scratch", "quickstart")]  # everybody's own
FILES = [f for f in FILES if not f.parent.name.startswith("theory_")]  # tests/theory/test_theory_report.py


def test_there_are_records():
    assert {f.parent.name for f in FILES} >= {"minilm_glue", "minilm_search"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_committed_record_is_done_valid_and_named_by_its_content(path):
    record = read_record(path)
    assert record.status == "done"
    assert record.experiment == path.parent.name
    data = "/".join(f"{k}:{v}" for k, v in sorted(record.provenance.data.items()))
    text = json.dumps([record.cell, data], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == record.cell_id == path.stem
    assert record.provenance.git.commit


def test_no_score_changed_when_the_records_were_brought_to_schema_2():
    found = {}
    for path in FILES:
        record = read_record(path)
        if record.provenance.migrated_from is not None:
            scores = {rule: result.scores for rule, result in record.scores.items()}
            found.setdefault(f"{record.experiment} / {record.label}", []).append(scores)
    for several in found.values():
        several.sort(key=lambda scores: json.dumps(scores, sort_keys=True))
    before = Path(__file__).parent / "data" / "scores_schema1.json"  # of all committed records, before the migration
    assert found == json.loads(before.read_text("utf-8"))


FAMILIES = {  # task -> split, then (metric, what it is multiplied by, decimals)
    "e2e": ("test", [("bleu", 100, 2), ("nist", 1, 3), ("meteor", 100, 2), ("rouge_l", 100, 2), ("cider", 1, 3)]),
    "instruct/alpaca_1000": ("dev", [("perplexity", 1, 2)]),
    "vision/cifar10": ("dev", [("accuracy", 100, 2)]),
    "vision/flowers5": ("dev", [("accuracy", 100, 2)]),
}


def family_rows():
    """What the table of the other families has to say, from the records: {row: cells}."""
    rows = {}
    for path in sorted((ROOT / "results" / "records").glob("tiny_*/*.json")):
        record = read_record(path)
        assert record.cell["seed"] == 0
        name, task = record.cell["method"]["name"], record.cell["task"]["name"]
        if record.experiment == "tiny_unadapted":
            name = "un-adapted"
            assert record.cell["trainer"]["lr_adapter"] == 0
        split, metrics = FAMILIES[task]
        scores = record.scores["last"].scores[split]
        assert task not in rows.setdefault(name, {}), "two records for one place in the table"
        rows[name][task] = [f"{scores[metric] * factor:.{decimals}f}" for metric, factor, decimals in metrics]
    return {
        name: [c for task, (_, metrics) in FAMILIES.items() for c in held.get(task, ["–"] * len(metrics))]
        for name, held in rows.items()
    }


def test_the_page_prints_what_the_records_of_the_other_families_hold():
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## The other families") :]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    printed = {row[0]: row[1:] for row in lines if row[0] not in ("method", "---")}
    assert printed == family_rows()
    assert {"lora", "vera", "tied_lora", "alpha_lora", "uora"} <= set(printed)


def test_what_was_generated_lies_beside_the_records_that_name_it():
    named = {}
    for path in FILES:
        for role, name in read_record(path).provenance.outputs.items():
            named[path.parent / name] = read_record(path).splits[role]
    assert named.keys() == set((ROOT / "results" / "records").glob("*/*.txt"))
    assert all(path.read_text(encoding="utf-8").count("\n") <= split.rows for path, split in named.items())


def test_answers_to_mt_bench_are_whole_and_hold_no_question():
    files = sorted((ROOT / "results" / "records").glob("*/*.mt_bench.jsonl"))
    assert {f.name.split(".")[0] for f in files} == {
        f.stem for f in (ROOT / "results" / "records" / "tiny_alpaca").glob("*.json")
    }
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert len({row["question_id"] for row in rows}) == len(rows) == 80
        for row in rows:
            assert row["generation"]["cell_id"] == file.name.split(".")[0]
            assert len(row["answers"]) == 2
            assert "turns" not in row

"""What is committed under results/ is valid, carries the id of what it holds, and is what the README prints."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from tests.conftest import ROOT
from uora_bench import record as records

FILES = sorted((ROOT / "results" / "records").glob("*/*.json"))
FILES = [f for f in FILES if f.parent.name != "scratch"]


def test_there_are_records():
    assert {f.parent.name for f in FILES} >= {"minilm_glue", "minilm_search"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_committed_record_is_done_valid_and_named_by_its_content(path):
    record = records.read(path)
    assert record.status == "done"
    assert record.experiment == path.parent.name
    data = "/".join(f"{k}:{v}" for k, v in sorted(record.provenance["data"].items()))
    text = json.dumps([record.cell, data], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == record.cell_id == path.stem
    assert record.provenance["git"]["commit"]


def row_of(record):
    """How the README's table calls the record's method."""
    options = record.cell["method"]["options"]
    rank = options.get("rank")
    kind = f" {options['type']}" if "type" in options else ""
    return record.cell["method"]["name"] + kind + (f" r={rank}" if rank else "")


def test_the_readme_prints_what_the_records_hold():
    held = {}
    for path in (ROOT / "results" / "records" / "minilm_glue").glob("*.json"):
        record = records.read(path)
        row, task = row_of(record), record.cell["task"]["name"]
        for rule in ("last", "best_dev"):
            assert (row, task, rule) not in held, "two records for one place in the table"
            held[row, task, rule] = f"{record.scores[rule].scores['dev']['accuracy'] * 100:.2f}"
        held[row, "parameters"] = f"{record.counts.adapter:,}"
        held[row, task, "bytes"] = f"{record.bytes.to_ship:,}"
        assert record.cell["seed"] == 0
        part = record.cell["task"]["splits"]["train"]
        assert part == ("train[:8000]" if task == "glue/sst2" else "train")
        assert record.cell["trainer"].get("holdout", 0) == (0.2 if row.startswith("alpha_lora") else 0)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Results so far") :]
    printed = re.findall(r"^\| ([a-z_]+[^|]*?) \|(.*\d.*)\|$", table, flags=re.MULTILINE)
    printed = [(row, cells) for row, cells in printed if row != "method"]  # the heading
    assert {row for row, _ in printed} == {key[0] for key in held}
    for row, cells in printed:
        parameters, size, *scores = [c.strip() for c in cells.split("|")]
        assert parameters == held[row, "parameters"]
        assert size == held[row, "glue/mrpc", "bytes"]
        tasks = ("mrpc", "rte", "sst2")
        assert scores == [held[row, f"glue/{task}", rule] for task in tasks for rule in ("last", "best_dev")]

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


def test_the_readme_prints_what_the_records_hold():
    held = {}
    for path in (ROOT / "results" / "records" / "minilm_glue").glob("*.json"):
        record = records.read(path)
        rank = record.cell["method"]["options"].get("rank")
        row = record.cell["method"]["name"] + (f" r={rank}" if rank else "")
        for rule in ("last", "best_dev"):
            score = record.scores[rule].scores["dev"]["accuracy"] * 100
            held[row, record.cell["task"]["name"], rule] = f"{score:.2f}"
        held[row, "parameters"] = f"{record.counts.adapter:,}"
        held[row, record.cell["task"]["name"], "bytes"] = f"{record.bytes.to_ship:,}"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| ((?:head_only|uora|vera|lora|full)\b[^|]*?) \|(.*\d.*)\|$", text, flags=re.MULTILINE)
    assert {row for row, _ in printed} == {key[0] for key in held}
    for row, cells in printed:
        parameters, size, *scores = [c.strip() for c in cells.split("|")]
        assert parameters == held[row, "parameters"]
        assert size == held[row, "glue/mrpc", "bytes"]
        expected = [held[row, f"glue/{task}", rule] for task in ("mrpc", "rte") for rule in ("last", "best_dev")]
        assert scores == expected

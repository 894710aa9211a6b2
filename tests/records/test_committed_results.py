"""What is committed under results/ is valid, carries the id of what it holds, and is what results/README.md prints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import fmean, stdev

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
        if record.experiment == "tiny_nli":  # generated rows, with a table of its own
            continue
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


def minilm_rows():
    """{row: {task: its records by seed}} of the grid `minilm_glue`."""
    rows = {}
    for path in sorted((ROOT / "results" / "records" / "minilm_glue").glob("*.json")):
        record = read_record(path)
        cell = record.cell
        options = cell["method"]["options"]
        name = cell["method"]["name"]
        name += f" {options['rank']} {options['tau']:g}" if name == "uora" else ""
        rows.setdefault(name, {}).setdefault(cell["task"]["name"].removeprefix("glue/"), {})[cell["seed"]] = record
    return rows


def listed(items):
    *first, last = items
    return f"{', '.join(first)} and {last}"


def statements():
    """What results/README.md says of MiniLM in numbers, from the records."""
    rows = minilm_rows()
    default = rows["uora 256 1e-05"]

    def scores(row, task):
        records = rows[row][task]
        metric = records[0].metric
        return [metric.scale * records[s].scores["last"].scores["dev"][metric.primary] for s in sorted(records)]

    def mean(row, task):
        return fmean(scores(row, task))

    def spread(row, task):
        return f"{mean(row, task):.2f} ± {stdev(scores(row, task)):.2f}"

    def refreshes(row, task):
        return [f"{rows[row][task][s].method['refreshes']:,}" for s in sorted(rows[row][task])]

    def losses(row, task):
        return ", ".join(f"{rows[row][task][s].epochs[-1].train_loss:.3f}" for s in sorted(rows[row][task]))

    def above(row, task):
        return mean(row, task) - mean("uora 256 1e-05", task)

    yield f"{listed(refreshes('uora 256 1e-05', 'mrpc'))} times in {default['mrpc'][0].epochs[-1].step} steps on MRPC"
    yield f"{listed(refreshes('uora 256 1e-05', 'rte'))} times in {default['rte'][0].epochs[-1].step} on RTE"
    for task in ("mrpc", "rte"):
        yield listed(refreshes("uora 256 0.001", task))
        assert set(refreshes("uora 32 1e-05", task)) <= set("0123")
    yield f"{-above('uora 256 0', 'mrpc'):.2f} points above on MRPC and {above('uora 256 0', 'rte'):.2f} below on RTE"
    for row in ("uora 256 1e-05", "uora 256 0"):
        yield from (spread(row, task) for task in ("mrpc", "rte"))
    yield f"{above('uora 256 0.001', 'mrpc'):.2f} on MRPC alone"
    yield f"VeRA is {-above('vera', 'mrpc'):.2f} below it and LoRA {above('lora', 'mrpc'):.2f} above"
    for row, words in (("vera", "is {:.2f} above UORA's default"), ("lora", "and LoRA {:.2f}; neither")):
        yield words.format((above(row, "mrpc") + above(row, "rte")) / 2)
    gap = mean("uora 32 1e-05", "mrpc") - mean("head_only", "mrpc")
    yield f"ends {gap:.2f} points above the head alone on MRPC ({mean('uora 32 1e-05', 'mrpc'):.2f} and"
    yield f"and {mean('head_only', 'mrpc'):.2f}, three seeds), and {-above('uora 32 1e-05', 'mrpc'):.2f} below rank 256"
    yield f"where 6 gave {scores('uora 32 1e-05', 'mrpc')[0]:.2f}"
    first, _, last = losses("uora 256 1e-05", "rte").rpartition(", ")
    yield f"in the last epoch is {first} and {last}"
    yield f"(LoRA: {losses('lora', 'rte')})"
    yield f"at {spread('full', 'rte')}, the head alone at {mean('head_only', 'rte'):.2f}"
    seeds = [row for row in rows if len(rows[row]["rte"]) == 3]
    larger = [row for row in seeds if mean(row, "rte") > 52.71]  # 146 of the 277 rows of RTE's dev set
    assert (len(seeds), len(larger), max(seeds, key=lambda row: mean(row, "rte"))) == (10, 6, "vera")
    yield f"six have a mean above the larger class's 52.71, the highest {mean('vera', 'rte'):.2f} (VeRA)"
    adapters = [row for row in rows if row not in ("head_only", "full")]
    begun = [100 * r.epochs[0].scores["dev"]["pearson"] for row in adapters for r in rows[row].get("stsb", {}).values()]
    head = mean("head_only", "stsb")
    late = sorted((b for b in begun if b > head), reverse=True)
    yield f"{len(begun) - len(late)} of the {len(begun)} cells with an adapter end their first epoch below the head's"
    yield f"(Pearson {head:.2f}, in percent; the rest at {', '.join(f'{b:.1f}' for b in late[:-1])} and {late[-1]:.1f}"


def test_the_page_says_of_minilm_what_the_records_hold():
    text = " ".join((ROOT / "results" / "README.md").read_text(encoding="utf-8").split())
    for statement in statements():
        assert statement in text


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
        *(f.stem for f in (ROOT / "results" / "records" / "tiny_alpaca").glob("*.json")),
        *("e5d9a1da35b5e867", "e4a61cf6d6bebab9"),  # LoRA and UORA of smollm2_tasks
    }
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert len({row["question_id"] for row in rows}) == len(rows) == 80
        for row in rows:
            assert row["generation"]["cell_id"] == file.name.split(".")[0]
            assert len(row["answers"]) == 2
            assert "turns" not in row

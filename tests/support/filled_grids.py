"""The grid of a preset with a made-up record of every cell, and the published numbers beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.records import finished_record
from uora_bench.grid import expand
from uora_bench.grid.request import GridRequest
from uora_bench.records.record import RuleScore
from uora_bench.report import collect, published
from uora_bench.report.collect import Collection
from uora_bench.util.schema import plain

LIBRARY = published.read_published(ROOT / "results" / "paper")


def filled(folder: Path, name: str, scores: dict[str, float], **axes: str) -> Collection:
    """The grid of ``name``, narrowed to ``axes``, with a record of every cell; its score is that of its first metric
    in ``scores`` plus a thousandth per seed. What starts from another cell says so."""
    request = GridRequest(name, "print", axes={k: v.split(",") for k, v in axes.items()})
    ids: dict[str, str] = {}
    for item in sorted(expand.expand_request(request).items, key=lambda i: i.after is not None):
        assert item.cell is not None
        cell_id = ids[item.key] = item.key
        per_split = {metric: value + item.cell.seed / 1000 for metric, value in scores.items()}
        by_split = dict.fromkeys(("dev", "test", "mismatched"), per_split)
        record = finished_record(item.cell, cell_id, name)
        record = replace(record, scores={rule: RuleScore(by_split, 1, "") for rule in ("last", "best_dev")})
        if item.after is not None:
            record = replace(
                record,
                cell={**plain(item.cell.canonical()), "init_from": "adapter"},
                provenance=replace(record.provenance, init_from=ids[item.after]),
            )
        record.write(folder / "records" / name)
    return collect.collect(request, folder)

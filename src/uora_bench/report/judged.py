"""Whether rows that a table scores had judged the search of the rate (``UC16``)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from uora_bench.config.split_parts import may_share_rows
from uora_bench.errors import UserError
from uora_bench.records.predictions import EpochPredictions, read_predictions, why_no_predictions
from uora_bench.records.record import CellRecord, find_record
from uora_bench.report import cache, comparability, searches
from uora_bench.report.collect import Run, finished

_JUDGE = "dev"  # the role of what scores the trials


def scored_again(runs: Iterable[Run], split: str, levels: Mapping[str, str]) -> list[str]:
    """How many of the rows of ``split`` had judged the trials that chose a setting of these cells (``UC16``).

    Rows are known by their hash, in the predictions of a cell and of a trial; where one of them kept none, the splits'
    names say whether they may share rows. ``levels``: what the preset says of the rule.

    Raises:
        UserError: where there are such rows and the preset refuses them.
    """
    texts = dict[str, None]()
    for run in finished(runs):
        found = searches.named(run)
        trial = None if found is None or found[1].task != run.task else searches.trial_of(run, *found)
        if trial is not None and (text := _shared(run, split, *trial)):
            texts[comparability.found(levels, "UC16", text)] = None
    return list(texts)


def _shared(run: Run, split: str, trial: CellRecord, folder: Path) -> str:
    ours, theirs = comparability.predictions_sha256(run), trial.provenance.predictions
    if ours is None or theirs is None or why_no_predictions(trial):
        scored, judge = run.record.splits.get(split), trial.splits.get(_JUDGE)
        same = run.record.cell["task"].get("source") == trial.cell["task"].get("source")
        if scored is None or judge is None or not same or not _may_share(scored.name, judge.name):
            return ""
        return f"rows of {scored.name}, scored here, may have judged the search of its rate"
    question = ["judged", ours, theirs.sha256, split]
    both, rows = cache.take(tuple[int, int], question, lambda: _counted(run, split, trial, folder))
    return f"{both} of the {rows} rows scored here had judged the search of its rate" if both else ""


def _may_share(one: str, other: str) -> bool:
    try:
        return may_share_rows(one, other)
    except UserError:  # a drawn part, which has words for a name
        return one == other


def _counted(run: Run, split: str, trial: CellRecord, folder: Path) -> tuple[int, int]:
    scored = _items(comparability.kept_predictions(run), split)
    return int(np.isin(scored, _judge_items(folder, trial.cell_id)).sum()), len(scored)


@functools.lru_cache(maxsize=16)
def _judge_items(folder: Path, cell_id: str) -> np.ndarray:
    record = find_record(folder, cell_id)
    assert record is not None
    return _items(read_predictions(record, folder), _JUDGE)


def _items(parts: Iterable[EpochPredictions], split: str) -> np.ndarray:
    return next((part.item for part in parts if part.split == split), np.empty(0, np.uint64))

"""Cells, grids and tables, as the command line makes them, for Python code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.grid.request import word

if TYPE_CHECKING:
    from uora_bench.grid.model import Plan
    from uora_bench.records.record import CellRecord
    from uora_bench.report.model import Table


def run(*overrides: str, **values: Any) -> CellRecord:
    """Run one cell in this process, or read its record where it is done: what ``uora-bench key=value …`` does.

    ``overrides``: words of the command line (``"method=lora"``, ``"trainer.max_steps=100"``); ``values``: keys without
    a dot (``seed=1``). A cell that was stopped goes on from its checkpoint.

    Raises:
        UserError: for a mistake in a word; `uora_bench.errors.Busy` when another process is at the cell.
        CellError: when the cell failed; its record says why.
    """
    from uora_bench.config import synonyms
    from uora_bench.config.compose import compose
    from uora_bench.data import offline
    from uora_bench.errors import CellError, UserError
    from uora_bench.execution.run import run_cell
    from uora_bench.util import launched
    from uora_bench.util.signals import StopRequest

    launched.check_environment()
    words = synonyms.canonical_once(words_of(overrides, values))
    composed = compose(words)
    if composed.settings.dry_run:
        raise UserError("dry_run=true prints and makes no record; use the command line for it")
    offline.use(composed.settings.data_root)
    with _precision_of_its_own():
        ended = run_cell(composed, words, StopRequest())
    record = ended.record()
    if record is None or record.status != "done":
        raise CellError(f"the cell {ended.cell_id} failed: {record.reason if record is not None else 'see above'}")
    return record


@contextmanager
def _precision_of_its_own() -> Iterator[None]:
    """Inside, accelerate does not hold a cell to the precision of the one before it, or of the caller's own model."""
    accelerate: Any = sys.modules.get("accelerate.state")
    if accelerate is None:
        yield
        return
    state = accelerate.AcceleratorState._shared_state
    before = dict(state)
    state.clear()
    try:
        yield
    finally:
        state.clear()
        state.update(before)


def plan(*overrides: str, **values: Any) -> Plan:
    """The grid that ``uora-bench plan`` would show: its cells, which of them are done, and what the rest will take.

    ``overrides``: words of the command line (``"task=glue/*"``, ``"seed=0,1"``); ``values``: keys without a dot, where
    a list is an axis (``seed=[0, 1]``). Nothing is run and nothing is written; ``Plan.write`` writes plan.json.

    Raises:
        UserError: for a mistake in a word, or when no cell is left.
    """
    from uora_bench.grid.build import build
    from uora_bench.grid.request import read_request

    found, _ = build(read_request(words_of(overrides, values)))
    return found


def build_table(
    experiment: str, *overrides: str, results: str | Path = "results", rule: str | None = None, **values: Any
) -> Table:
    """The table of ``experiment`` (a preset, or a folder below ``results/records``), published numbers beside it.

    ``overrides`` and ``values`` choose some of its cells, as in `plan`; ``rule``: last, best_dev or heldout_dev, where
    not the table's own. `uora_bench.report.markdown.render` and its neighbours print it,
    `uora_bench.report.csv_file.frame` makes a pandas table of it.

    Raises:
        UserError: for an unknown experiment or rule, a mistake in a word, or records that cannot be read.
    """
    from dataclasses import replace
    from typing import cast

    from uora_bench.errors import UserError, nearest
    from uora_bench.grid.request import read_request
    from uora_bench.grid.table_spec import Rule
    from uora_bench.records.record import RULES
    from uora_bench.report import write
    from uora_bench.theory import report as theory

    if rule is not None and rule not in RULES:
        raise UserError(f"there is no rule '{rule}'{nearest(rule, RULES)}")
    request = replace(read_request(words_of(overrides, values)), experiment=experiment)
    return write.make_table(request, Path(results), write.published_library(), cast("Rule | None", rule), (theory,))


def words_of(overrides: tuple[str, ...], values: dict[str, Any]) -> list[str]:
    """One list of ``key=value`` words; a list of values is an axis."""
    named = [
        f"{key}={','.join(word(key, one).partition('=')[2] for one in value)}"
        if isinstance(value, (list, tuple, range))
        else word(key, value)
        for key, value in values.items()
    ]
    return [*overrides, *named]

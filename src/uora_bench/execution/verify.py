"""A recorded cell, run again in a folder of its own, and what came out otherwise."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uora_bench.config.compose import compose
from uora_bench.data import offline
from uora_bench.errors import CellError, UserError
from uora_bench.execution.compared import compare
from uora_bench.execution.run import OtherCell, inputs, run_cell
from uora_bench.execution.self_check import all_problems
from uora_bench.records.predictions import read_predictions
from uora_bench.records.record import CellRecord, record_path
from uora_bench.util.signals import StopRequest

# of a command: where a run lies and what is kept of it, and nothing of the cell
OF_THE_RUN = ("results.dir", "runs.dir", "experiment_name", "tracker", "force", "predictions.keep", "expect_cell_id")


@dataclass(frozen=True)
class Verified:
    """The result of running a recorded cell again.

    ``same``: no difference, or none larger than other arithmetic explains (`execution.envelope`); ``lines``: the
    differences, or that there are none, for people; ``again``: the record of the new run.
    """

    same: bool
    lines: tuple[str, ...]
    again: CellRecord


def verify_cell(record: CellRecord, folder: Path, words: Sequence[str], stop: StopRequest) -> Verified:
    """Run the cell of ``record``, which is stored in ``folder``, again with its own command, and compare.

    ``words``: folders of data and weights, which no record names. The record, its folder and its run are not written
    to.

    Raises:
        UserError: when the record cannot be run again, or its inputs are others: no step is then trained; for ``words``
            about what is kept.
        CellError: when the cell fails this time.
    """
    if kept := [word for word in words if word.startswith("predictions.")]:
        raise UserError(f"{kept[0]}: a run that is compared keeps all that the record's run kept; drop it")
    if record.status != "done":
        raise UserError(f"cell {record.cell_id} failed ({record.reason}): there is no result to verify")
    # what was changed is refused before anything runs
    before = read_predictions(record, folder)
    if problems := all_problems(record_path(folder, record.cell_id)):
        raise UserError(f"the record does not agree with itself: {problems[0]}")
    with tempfile.TemporaryDirectory(prefix="uora-verify-") as name:
        own = [word for word in record.provenance.command if word.split("=", 1)[0] not in OF_THE_RUN]
        here = (f"results.dir={name}/results", f"runs.dir={name}/runs", "experiment_name=verify", "tracker=none")
        command = [*own, *words, *here, "predictions.keep=true", f"expect_cell_id={record.cell_id}"]
        composed = compose(command)
        if _was_factored(record) and composed.values["method"].get("forward") == "auto":
            composed = compose(command := [*command, "method.forward=factored"])
        offline.use(composed.settings.data_root)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it names files that are gone a moment later
                ended = run_cell(composed, command, stop)
        except OtherCell as error:
            known = inputs(record.provenance.data, record.cell.get("weights"))
            raise UserError(f"{error}; in the record: {known}") from None
        again = ended.record()
        if ended.code or again is None:
            raise CellError(
                f"the cell fails when it is run again: {again.reason if again is not None else 'no record'}"
            )
        after = read_predictions(again, ended.records)
    same, lines = compare(record, again, before, after)
    return Verified(same, tuple(lines), again)


def _was_factored(record: CellRecord) -> bool:
    """Whether all passes of a record in bfloat16 were factored, for which auto now takes fused (decision 19)."""
    return record.precision == "bfloat16" and set(record.provenance.forward) == {"factored"}

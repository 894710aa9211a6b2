"""MT-Bench grades of a record: ``<cell_id>.mt_bench_scores.json``, as `uora_bench.mt_bench.judge` writes them.

They are a score of the finished cell like any other, of the split ``mt_bench`` under the rule ``last``, once every
question has been judged and the answers are those of the last epoch.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.records.provenance import Judge
from uora_bench.records.record import CellRecord
from uora_bench.util.hashes import file_sha256

SPLIT, VALUES = "mt_bench", ("turn_1", "turn_2", "score")


def graded(record: CellRecord, folder: Path) -> CellRecord:
    """``record`` (of a done cell) with its grades in ``folder``; without them the record itself.

    ``provenance.judge`` says who graded.

    Raises:
        UserError: for grades that cannot be read, or are of other answers than those in the folder.
    """
    cell_id = record.cell_id
    path, answers = folder / f"{cell_id}.mt_bench_scores.json", folder / f"{cell_id}.mt_bench.jsonl"
    if not path.is_file():
        return record
    try:
        content = json.loads(path.read_text("utf-8"))
        if not content["complete"]:
            return record
        scores = {key: content[key] for key in VALUES if content[key] is not None}
        judge = Judge(content["judge"]["model"], content["judge"]["prompt_version"])
        digest = content["answers"]["sha256"]
        with open(answers, "rb") as handle:
            made = json.loads(handle.readline())["generation"]
        same = made["cell_id"] == cell_id and made["weights"] == "last" and file_sha256(answers) == digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read the grades '{path}': {str(error).splitlines()[0]}; judge the answers again"
        ) from None
    if not same:
        raise UserError(
            f"'{path}' grades other answers than '{answers.name}' (last weights); judge those or move it away"
        )
    last = record.scores["last"]
    scored = {**record.scores, "last": replace(last, scores={**last.scores, SPLIT: scores})}
    return replace(record, scores=scored, provenance=replace(record.provenance, judge=judge))

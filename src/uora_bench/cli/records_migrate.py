"""``uora-bench records migrate [results.dir=results]``: bring records of an older schema up to date."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given
from uora_bench.errors import UserError


def _act(given: Given) -> int:
    from uora_bench.records.migrate import migrate_records

    results = Path(given.text("results.dir") or "results")
    if not (results / "records").is_dir():
        raise UserError(f"'{results / 'records'}' is no folder; set results.dir=<folder>")
    print(migrate_records(results))
    return 0


COMMAND = Command(
    "records migrate",
    "bring records of an older schema up to date",
    _act,
    "run the same command again to resume",
    keys=(keys.RESULTS,),
    about=(
        "Rewrites the records of schema 1 below <results.dir>/records in today's names. A cell_id is a hash of names, "
        "so the files are renamed, with those beside them (texts, answers, grades). Let no cell run meanwhile; a "
        "second call changes nothing.",
        "Run folders (runs.dir) keep their old names: a record says under provenance.migrated_from which one was its "
        "own.",
    ),
    examples=("records migrate", "records migrate results.dir=elsewhere"),
)

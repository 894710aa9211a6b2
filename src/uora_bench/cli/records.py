"""``uora-bench records migrate [results.dir=results]``: bring records of an older schema up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from uora_bench.cli import exits
from uora_bench.errors import UserError, nearest

_HELP = """uora-bench records: look after the records of finished cells

usage: uora-bench records migrate [results.dir=results]

Rewrites the records of schema 1 below <results.dir>/records in today's names. A cell_id is a hash of names, so the
files are renamed, with those beside them (texts, answers, grades). Let no cell run meanwhile. What was killed goes on
with the same command; a second call changes nothing. Run folders (runs.dir) keep their old names: a record says under
provenance.migrated_from which one was its own."""


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "the same command goes on where it stopped")


def _main(words: list[str]) -> int:
    from uora_bench.records.migrate import migrate_records

    if any(w in ("-h", "--help") for w in words):
        print(_HELP, flush=True)
        return 0
    if not words or words[0] != "migrate":
        found = f", and not '{words[0]}'{nearest(words[0], ['migrate'])}" if words else ""
        raise UserError(f"records needs to know what to do: records migrate{found}")
    results = Path("results")
    for word in words[1:]:
        key, _, value = word.partition("=")
        if key != "results.dir" or not value:
            raise UserError(f"'{word}': records migrate takes results.dir=<folder> alone")
        results = Path(value)
    if not (results / "records").is_dir():
        raise UserError(f"'{results / 'records'}' is no folder; set results.dir=<folder>")
    print(migrate_records(results))
    return 0

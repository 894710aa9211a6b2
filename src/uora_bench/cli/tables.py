"""``uora-bench tables``: every table of the records as files, or one on the screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError
from uora_bench.util.log import LOG
from uora_bench.util.words import count


def _act(given: Given) -> int:
    from uora_bench.report import cache

    with cache.unused(given.flag("check") or given.text("cache") == "false"):
        return _print_or_write(given)


def _print_or_write(given: Given) -> int:
    from uora_bench.grid import request as requests
    from uora_bench.report import write
    from uora_bench.theory import report as theory

    results, rule = Path(given.text("results.dir") or "results"), keys.rule_of(given)
    check, name = given.flag("check"), given.text("experiment")
    if check and (name or given.passed):
        raise UserError("check=true checks all tables; drop the other words")
    kind = given.text("format")
    if name:
        request = replace(requests.read_request(given.passed), experiment=name)
        table = write.make_table(request, results, write.published_library(), rule, (theory,))
        if why := write.missing_records(table, results):
            if not table.has_published:
                raise UserError(f"{why}; {write.way_to_records(results, name)}")
            LOG.warning(f"{why}; the numbers are the published ones")
        print(write.FORMATS[kind or "md"](table), end="", flush=True)
        return 0
    if given.every("format"):
        raise UserError(
            "format= is of one table on the screen: tables experiment=NAME format=…; files have all of them"
        )
    if given.passed:
        key = given.passed[0].partition("=")[0]
        raise UserError(
            f"'{key}=' needs an experiment whose rows it chooses: tables experiment=NAME {key}=…{COMMAND.meant(key)}"
        )
    contents, absent = write.table_files(results, rule, (theory,), own=not check)
    folder = results / "tables" if rule is None else results / "tables" / rule
    if check:
        write.check(contents)
        print(f"{count(len(contents), 'file')} in {folder}: all up to date")
        return 0
    write.write_files(contents)
    own = sum(path.parent.name == write.OWN for path in contents)
    print(f"{count(len(contents), 'file')} in {folder}" + (f", {own} of them in {folder / write.OWN}" if own else ""))
    if absent:
        print(f"without records, and not written: {', '.join(absent)} (tables experiment=NAME shows published numbers)")
    return 0


FORMAT = Key("format", "Markdown, CSV or LaTeX, of one table", "md", ("md", "csv", "tex"))
COMMAND = Command(
    "tables",
    "tables of the records, published numbers beside them",
    _act,
    keys=(keys.RECORDED, FORMAT, keys.RULE, keys.CHECK, keys.CACHE, keys.RESULTS),
    passed=keys.CELL,
    about=(
        "Without experiment all tables go into <results.dir>/tables, those of your own experiments into own/ below "
        "it; with experiment one goes to the screen, or the part of it that other keys choose.",
    ),
    examples=(
        "tables",
        "tables experiment=minilm_glue task=glue/mrpc",
        "tables experiment=./mine.yaml format=tex",
        "tables check=true",
    ),
)

"""``python -m uora_bench tables|explain|figures|page …``: what records say, for people.

Exit codes: 0, 1 something could not be drawn or written, 2 the user's mistake (also: ``--check`` found a difference).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from uora_bench.cli import exits
from uora_bench.errors import UserError, nearest
from uora_bench.grid.table_spec import Rule

if TYPE_CHECKING:
    from uora_bench.report.kinds import RecordKind

_HELP = """uora_bench tables, explain, figures, page: tables, figures and pages from the records in results/records.

usage: python -m uora_bench tables [experiment=NAME [axis=v1,v2 …]] [rule=last|best_dev|heldout_dev] [--check]
       python -m uora_bench explain TABLE ROW COLUMN [BLOCK] [rule=…]
       python -m uora_bench figures [experiment=NAME] [rule=…] [--check]
       python -m uora_bench page [experiment=NAME …] [rule=…]

tables    all of them into results/tables, or one to the screen; --check: are the files there what the records give
explain   the cells, scores, rule and commands behind one number: explain minilm_glue 'LoRA r=8' MRPC
figures   results/figures (needs the extra `figures`)
page      results/report/index.html: tables, figures and a view per cell in one file (figures need the extra `figures`)

results.dir=… names another folder than results/"""

_COMMANDS = ("tables", "explain", "figures", "page")


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "run the command again")


def _main(words: list[str]) -> int:
    if not words or any(w in ("-h", "--help", "help") for w in words):
        print(_HELP, flush=True)
        return 0 if words else 2
    command, *rest = words
    if command not in _COMMANDS:
        raise UserError(f"unknown command '{command}'{nearest(command, _COMMANDS)}")
    results, rule, rest = _common(rest)
    from uora_bench.theory import report as theory

    kinds = (theory,)
    if command == "tables":
        return _tables(results, rule, rest, kinds)
    if command == "explain":
        from uora_bench.report import explain

        print(explain.explain(rest, results, rule, kinds), flush=True)
        return 0
    if command == "figures":
        from uora_bench.report import figures

        return figures.command(rest, results, rule, kinds)
    from uora_bench.report import page

    return page.command(rest, results, rule, kinds)


def _common(words: list[str]) -> tuple[Path, Rule | None, list[str]]:
    results = Path("results")
    rule: Rule | None = None
    rest = []
    rules: tuple[Rule, ...] = get_args(Rule)
    for word in words:
        key, _, value = word.partition("=")
        if key == "results.dir" and value:
            results = Path(value)
        elif key == "rule":
            rule = next((r for r in rules if r == value), None)
            if rule is None:
                raise UserError(f"unknown rule '{value}'{nearest(value, rules)}")
        else:
            rest.append(word)
    return results, rule, rest


def _tables(results: Path, rule: Rule | None, words: list[str], kinds: Sequence[RecordKind]) -> int:
    from uora_bench.grid import request as requests
    from uora_bench.report import markdown, write

    flags = [w for w in words if w.startswith("--")]
    words = [w for w in words if not w.startswith("--")]
    if set(flags) - {"--check"}:
        raise UserError(f"unknown option '{flags[0]}'{nearest(flags[0], ['--check'])}")
    if words:
        if flags:
            raise UserError("--check looks at all tables; leave the other words away")
        named = [w.partition("=")[2] for w in words if w.startswith("experiment=")]
        if len(named) > 1:
            raise UserError(f"one table at a time: {' '.join(named)}")
        if not named:
            raise UserError(f"'{words[0]}' needs an experiment: python -m uora_bench tables experiment=NAME …")
        request = replace(requests.read([w for w in words if not w.startswith("experiment=")]), experiment=named[0])
        print(
            markdown.render(write.make_table(request, results, write.published_library(), rule, kinds)),
            end="",
            flush=True,
        )
        return 0
    folder = results / "tables" if rule is None else results / "tables" / rule
    contents = write.files(write.all_tables(results, rule, kinds=kinds), folder)
    if flags:
        write.check(contents)
        print(f"{len(contents)} files in {folder} are what the records give")
        return 0
    write.write_files(contents)
    print(f"{len(contents)} files in {folder}")
    return 0

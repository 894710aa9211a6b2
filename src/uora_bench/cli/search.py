"""``uora-bench search experiment=NAME``: runs the trials of a search as `sweep` does, and writes what they found."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import plan
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError


def _act(given: Given) -> int:
    from dataclasses import replace

    from uora_bench.grid import build, expand, request
    from uora_bench.grid.freeze import check_places, freeze
    from uora_bench.grid.search import earlier_hash, remarks, search_of
    from uora_bench.grid.search_checks import check_asked, check_search
    from uora_bench.records.record import read_records
    from uora_bench.report.searches import render_search
    from uora_bench.util import atomic
    from uora_bench.util.words import count

    wanted = request.read_request(given.passed, "local")
    if wanted.experiment is None:
        raise UserError("search needs an experiment with `search:`; write experiment=… (docs/searches.md)")
    grid = expand.expand_request(replace(wanted, axes={k: v for k, v in wanted.axes.items() if k in request.ONCE}))
    spec = check_search(grid)  # of all trials, also where only some of them are asked for
    if wanted.axes.keys() - set(request.ONCE):
        check_asked(grid, expand.expand_request(wanted))
    folder = given.text("freeze")
    if folder is not None:
        check_places(grid, spec, Path(folder))
    code = plan.act(given, launcher="local")
    settings = next(one.settings for one in grid.items if one.settings is not None)
    results = Path(settings.results_dir)
    plan_now = build.beside_slurm(replace(wanted, launcher="print", options={}))[0]
    there = {item.cell_id for item in plan_now.items if item.state in ("done", "failed")}  # not those of other data
    records = [one for one in read_records(results / "records" / settings.experiment_name) if one.cell_id in there]
    search = search_of(grid, records)
    if search.missing:
        print(f"{count(search.missing, 'trial')} still to run: the search is written once all are done or failed")
        return code
    before = earlier_hash(results, search.name)
    path = search.write(results)
    if before is not None and before != search.sha256:
        print(f"search {search.name} has changed (before: {before[:16]}); freeze its recipes again")
    atomic.write_text(path.with_suffix(".md"), render_search(search))
    print(f"search: {path}")
    for row in search.rows:
        if row.chosen is None:
            print(f"{row.label}: no trial is done")
            continue
        chosen = ", ".join(f"{key}={value}" for key, value in row.chosen.items())
        said = "; ".join(
            [f"{row.metric} {row.chosen_score:.2f}, chosen from {count(len(row.trials), 'trial')}", *remarks(row)]
        )
        print(f"{row.label}: {chosen} ({said})")
    if search.search.unequal:
        print(f"UC02: unequal numbers of trials: {search.search.unequal}")
    if folder is not None:
        for path in freeze(search, grid, Path(folder)):
            print(f"recipe: {path}")
    return code


COMMAND = Command(
    "search",
    "run a search's trials, keep all, freeze the choice as a recipe",
    _act,
    plan.RESUME,
    keys=(Key("freeze", "write the choice as recipes into this folder of plug-ins", shown="uora_plugins"),),
    passed=plan.passed("local"),
    lists=("experiment",),
    about=("A search is an experiment with `search:`; its trials are cells. docs/searches.md",),
    examples=(
        "search experiment=minilm_search launcher=print",
        "search experiment=./rates.yaml freeze=uora_plugins",
    ),
    codes=plan.CODES,
    prints=False,
)

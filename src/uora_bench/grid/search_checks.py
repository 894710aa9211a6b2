"""What makes a search unfair, and is refused before any trial runs."""

from __future__ import annotations

from collections.abc import Mapping

from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.config.options.own_rows import OwnRowsOptions
from uora_bench.config.split_parts import may_share_rows, split_parts
from uora_bench.errors import UserError, nearest
from uora_bench.grid.expand import Grid, Planned
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.grid.trials import PlannedTrial, configured, is_of_recipes, recipe_name, trials_of

_OF_A_ROW = ("method", "backbone")  # what a recipe is of
_Trials = Mapping[tuple[tuple[str, ...], str], list[PlannedTrial]]


def check_search(grid: Grid) -> SearchSpec:
    """The search of ``grid``, a whole one.

    Raises:
        UserError: for an experiment without one, unequal trials or seeds that nothing explains, a searched key that no
            recipe holds, a judge that trains or that tables report, and more steps than the budget.
    """
    name, spec = grid.experiment.name, grid.experiment.search
    if spec is None:
        raise UserError(f"experiment={name} has no `search:`; docs/searches.md says how one is written")
    _check_rows(grid, spec)
    rows = trials_of(grid, spec)
    for (row, task), trials in rows.items():
        label, first = f"{' '.join(row)} on {task}", trials[0].cells[0]
        _check_keys(name, label, trials)
        recipe_name(first, spec, name)
        _check_judge(first, task)
    _check_equal(name, spec, rows)
    if spec.choose == "smallest_within" and spec.within == 1.0:
        _check_within(name, rows)
    if spec.steps is not None:
        _check_steps(name, spec.steps, rows)
    return spec


def check_asked(grid: Grid, asked: Grid) -> None:
    """Raise `UserError` where ``asked``, the grid with the words of a command line, has cells that are no trials."""
    known = {planned.key for planned in grid.items}
    if odd := next((planned for planned in asked.items if planned.cell is not None and planned.key not in known), None):
        assert odd.cell is not None
        raise UserError(
            f"{odd.cell.label} is no trial of search {grid.experiment.name} with these words; a search runs the cells "
            "of its experiment: change its file (under another name), or give words that choose among its trials"
        )


def _check_rows(grid: Grid, spec: SearchSpec) -> None:
    """Raise `UserError` for keys of ``spec.row`` that no row has, and where a row would mix methods or backbones."""
    keys = dict.fromkeys(key for planned in grid.items for key in planned.row)
    for key in spec.row:
        if key not in (*keys, *_OF_A_ROW):
            raise UserError(f"search.row: no row of {grid.experiment.name} has '{key}'{nearest(key, keys)}")
    for key in _OF_A_ROW:
        values = dict.fromkeys(str(planned.row[key]) for planned in grid.items if key in planned.row)
        if key not in spec.row and len(values) > 1:
            raise UserError(
                f"search.row has no '{key}', so that trials of {' and '.join(list(values)[:2])} would be one row's; a "
                f"{key} is compared, not chosen: add {key}"
            )


def _check_keys(search: str, label: str, trials: list[PlannedTrial]) -> None:
    """Raise `UserError` for a searched key that no recipe holds, or that decides what is scored."""
    if len(trials) < 2:
        return
    cell = trials[0].cells[0].cell
    assert cell is not None
    for key in dict.fromkeys(key for trial in trials for key in trial.settings):
        if key == "recipe":
            raise UserError(f"search {search}: a search does not choose among recipes; search the keys that they set")
        if not is_of_recipes(configured(key, cell.method.name)):
            raise UserError(
                f"search {search}: no recipe holds {key}, of which {label} has several values; put it into search.row, "
                "or give every trial the same"
            )


def _check_equal(name: str, spec: SearchSpec, rows: _Trials) -> None:
    trials = {f"{' '.join(row)} on {task}": len(own) for (row, task), own in rows.items()}
    seeds = {f"{' '.join(row)} on {task}": {len(t.cells) for t in own} for (row, task), own in rows.items()}
    odd = {label: number for label, number in trials.items() if number != spec.trials}
    if len(odd) == len(trials):
        label, number = next(iter(odd.items()))
        raise UserError(f"search {name}: {label} has {number} trials, not {spec.trials}; correct search.trials")
    several = len(set().union(*seeds.values())) > 1
    if spec.unequal and not odd and not several:
        raise UserError(
            f"search {name}: search.unequal says why rows have other numbers of trials, and all have {spec.trials}; "
            "drop it"
        )
    if spec.unequal:
        return
    fix = "or say why in search.unequal"
    if odd:
        label, number = next(iter(odd.items()))
        raise UserError(f"search {name}: {label} has {number} trials, not {spec.trials}; give every row as many, {fix}")
    if several:
        (first, own), *others = seeds.items()
        label, theirs = next(((k, v) for k, v in others if v != own), (first, own))
        raise UserError(
            f"search {name}: the trials of {label} have {' and '.join(map(str, sorted(theirs)))} seeds, of {first} "
            f"{' and '.join(map(str, sorted(own)))}; give every trial as many, {fix}"
        )


def _check_within(name: str, rows: _Trials) -> None:
    """Raise `UserError` where the points within which the smallest values are taken would be units of a loss."""
    for (row, task), trials in rows.items():
        cell = trials[0].cells[0].cell
        if cell is not None and cell.task.metric.scale != 100 and cell.task.source.files is None:
            raise UserError(
                f"search {name}: {' '.join(row)} on {task} is scored by {cell.task.metric.primary}, which is no "
                "percentage; say with search.within how far from the best the smallest values may be"
            )


def _check_steps(name: str, most: int, rows: _Trials) -> None:
    for (row, task), trials in rows.items():
        cells = [planned.cell for trial in trials for planned in trial.cells if planned.cell is not None]
        limits = [cell.trainer.max_steps for cell in cells]
        if None in limits:
            raise UserError(f"search {name}: a budget in steps (search.steps) needs trainer.max_steps in every trial")
        if (total := sum(limit or 0 for limit in limits)) > most:
            raise UserError(f"search {name}: {' '.join(row)} on {task} takes {total} steps; search.steps is {most}")


# --- what judges ---------------------------------------------------------------------------------------------------


def _check_judge(planned: Planned, task: str) -> None:
    """Raise `UserError` where the part that scores the trials trains them, or is what tables report."""
    assert planned.cell is not None
    train, dev = planned.cell.task.splits.train, planned.cell.task.splits.dev
    usual = compose([word for word in planned.overrides if not word.startswith("task.splits.")]).cell
    whole = split_parts(usual.task.splits.train)[0].name
    fix = f"set task.splits.train='{whole}[:80%]' and task.splits.dev='{whole}[80%:]', both in % or both in rows"
    reported = usual.task.splits.test or usual.task.splits.dev
    if planned.cell.task.source.files is not None:
        judged, reported, fix = _of_own_rows(planned.cell, usual, fix)
        if judged:
            return
    if may_share_rows(dev, train):
        raise UserError(f"a search must not be judged by {dev} of {task}, which {train} trains on; {fix}")
    test = planned.cell.task.splits.test
    if test is not None and may_share_rows(test, reported):
        reported = test  # the part of it that the final table is to report
    outside = any(part.name.startswith("test") for part in split_parts(dev))
    if outside or may_share_rows(dev, reported) or (test is not None and may_share_rows(dev, test)):
        raise UserError(f"a search must not be judged by {dev} of {task}, which tables report; {fix}")


def _of_own_rows(cell: Cell, usual: Cell, fix: str) -> tuple[bool, str, str]:
    """Of a file of the user's own: whether drawn rows judge and others are reported; what is reported, and the fix."""
    from uora_bench.data import own_rows

    files, options = usual.task.source.files, usual.task.options
    assert files is not None
    assert isinstance(options, OwnRowsOptions)
    one, read = own_rows.is_one_file(files), own_rows.splits_read(files, usual.task.roles)
    whole = own_rows.WHOLE if one else "train"
    drawn = one and "test" not in read and bool(options.split.test) and "dev" not in read
    if drawn or "test" in read:
        as_usual = (cell.task.splits.dev, cell.task.splits.test) == (usual.task.splits.dev, usual.task.splits.test)
        leave = (
            "leave task.splits.dev and task.splits.test as they are: dev judges, and what tables report stays unseen"
        )
        return as_usual and "[" not in cell.task.splits.train, whole if drawn else read["test"], leave
    if "dev" in read:
        return False, read["dev"], fix
    more = "set task.split.test above 0" if one else "add a file with the test rows"
    unchanged = cell.task.splits.dev == usual.task.splits.dev
    return False, cell.task.splits.dev if unchanged else whole, f"{more}, so that dev judges and test is reported"

"""The choice of a search as recipes: one file a method, ``status: searched``, its source the search's hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.config.compose import COMMAND_LINE, compose, leaves
from uora_bench.errors import UserError
from uora_bench.grid.expand import Grid
from uora_bench.grid.search import Search, SearchRow, edge_of
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.grid.trials import configured, is_of_recipes, names, recipe_name, trials_of
from uora_bench.util import atomic
from uora_bench.util.yaml_text import parse_yaml


def freeze(search: Search, grid: Grid, folder: Path) -> list[Path]:
    """Write ``folder/configs/recipe/<method>/<recipe>.yaml`` of every method; returns the files.

    A recipe has what the search chose and what was fixed in its trials, by task. A file with the same content is not
    written again.

    Raises:
        UserError: for a row without a finished trial, and for a recipe that this search did not freeze, that was
            changed since, or that another folder has.
    """
    own: dict[str, dict[str, SearchRow]] = {}
    for row in search.rows:
        if row.chosen is None:
            raise UserError(f"search {search.name}: no trial of {row.label} is done, so that nothing can be frozen")
        own.setdefault(row.recipe, {})[row.task] = row
    texts = {}
    for name, rows in own.items():
        texts[_path(folder, name)] = _text(search, grid, name, rows)
    check_places(grid, search.search, folder)
    for path, text in texts.items():
        _check_unchanged(search, path, text)
    for path, text in texts.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            atomic.write_text(path, text)
    return list(texts)


def check_places(grid: Grid, spec: SearchSpec, folder: Path) -> None:
    """Raise `UserError` where `freeze` would overwrite a file that the search of ``grid`` did not write.

    Also where another file has the name of one of its recipes, and where two rows would be one recipe.
    """
    search, rows = grid.experiment.name, dict[tuple[str, str], str]()
    for (row, task), trials in trials_of(grid, spec).items():
        recipe, label = recipe_name(trials[0].cells[0], spec, search), f"{' '.join(row)} on {task}"
        if (other := rows.setdefault((recipe, task), label)) != label:
            raise UserError(
                f"search {search}: {other} and {label} would both be recipe {recipe}; put a key of search.row that "
                "tells them apart into search.recipe, as minilm_{peft.type}"
            )
    for name in dict.fromkeys(recipe_name(one, spec, search) for one in grid.items if one.cell is not None):
        _check_place(search, name, _path(folder, name))


def _path(folder: Path, name: str) -> Path:
    return folder / "configs" / "recipe" / f"{name}.yaml"


def _check_place(search: str, name: str, path: Path) -> None:
    import yaml

    other = registry.file_of("recipe", name)
    if other is not None and not (path.exists() and path.samefile(other)):
        raise UserError(f"recipe {name} is already in '{other}'; give the choice another name: search.recipe")
    if not path.exists():
        return
    try:
        held = parse_yaml(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        held = None
    sources = held.get("sources") if isinstance(held, dict) and held.get("status") == "searched" else None
    of_it = re.compile(rf"search {re.escape(search)} [0-9a-f]{{16}}")
    if not isinstance(sources, dict) or not any(of_it.fullmatch(str(one)) for one in sources):
        raise UserError(f"'{path}' is no recipe of search {search}; freeze into another folder, or move it")


def _check_unchanged(search: Search, path: Path, text: str) -> None:
    """Raise `UserError` where this very search froze ``path`` before, and somebody changed it."""
    if path.is_file() and f"{search.source}:" in (held := path.read_text("utf-8")) and held != text:
        raise UserError(
            f"'{path}' was frozen by this search and changed since; give yours another name, or delete it to freeze "
            "again"
        )


def _text(search: Search, grid: Grid, name: str, rows: dict[str, SearchRow]) -> str:
    import yaml

    counts = ", ".join(f"{len(row.trials)} trials on {task}, judged by {row.judge}" for task, row in rows.items())
    edges = [f"{edge_of(row, key)} on {task}" for task, row in rows.items() for key in row.edge]
    on = ", ".join(dict.fromkeys(row.backbone for row in rows.values()))
    note = f"Chosen by the search {search.name} on the backbone {on}: {counts}."
    if edges:
        note += f" At the edge of what was tried: {', '.join(edges)}."
    per_task = {task: _entries(search, grid, row) for task, row in rows.items()}
    first = next(iter(per_task.values()))
    labels = {entry["source"] for own in per_task.values() for entry in own.values()}
    sources = {f"fixed in {search.source}": "the same in every trial"} if f"fixed in {search.source}" in labels else {}
    alike = {k: v for k, v in first.items() if all(own.get(k) == v for own in per_task.values())}
    recipe: dict[str, Any] = {
        "name": name,
        "status": "searched",
        "note": note,
        "sources": {search.source: f"results/searches/{search.name}.json, sha256 {search.sha256}", **sources},
        "common": alike if len(per_task) > 1 else {},  # of one task nothing is known elsewhere
        "per_task": {
            task: {k: v for k, v in own.items() if len(per_task) == 1 or k not in alike}
            for task, own in per_task.items()
        },
    }
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
    return f"# Written by uora-bench search; a cell takes it by recipe={name}\n{text}"


def _entries(search: Search, grid: Grid, row: SearchRow) -> dict[str, dict[str, Any]]:
    """The values of the chosen trial with their sources; not what names it, and not what says which data it has."""
    trials = trials_of(grid, search.search)
    of_row = next(own for (_, task), own in trials.items() if task == row.task
                  and names(own[0].cells[0], search.search) == row.row)  # fmt: skip
    planned = next(trial.cells[0] for trial in of_row if trial.settings == row.chosen)
    composed = compose(list(planned.overrides))
    values, entries = leaves(composed.values), dict[str, dict[str, Any]]()
    chosen = {configured(key, row.method) for key in row.chosen or {}}
    for key in dict.fromkeys([*composed.sources, *chosen]):
        if is_of_recipes(key) and key in values:
            source = composed.sources.get(key, COMMAND_LINE)
            theirs = f"fixed in {search.source}" if source == COMMAND_LINE else composed.legend.get(source, source)
            entries[key] = {"value": values[key], "source": search.source if key in chosen else theirs}
    return entries

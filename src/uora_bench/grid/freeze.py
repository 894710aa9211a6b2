"""The choice of a search as recipes: one file a method, ``status: searched``, its source the search's hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.config.compose import COMMAND_LINE, compose, leaves
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.expand import Grid
from uora_bench.grid.search import Search, SearchRow, recipe_name
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.util import atomic
from uora_bench.util.yaml_text import parse_yaml

_OF_RECIPES = ("method.", "task.", "trainer.")


def freeze(search: Search, grid: Grid, folder: Path) -> list[Path]:
    """Write ``folder/configs/recipe/<method>/<recipe>.yaml`` of every method; returns the files.

    A recipe has what the search chose and what was fixed in its trials, by task. A file with the same content is not
    written again.

    Raises:
        UserError: for two rows that would be one recipe on one task, and for a recipe that this search did not freeze,
            or that another folder has.
    """
    own: dict[str, dict[str, SearchRow]] = {}
    for row in search.rows:
        if row.chosen is None:
            raise UserError(f"search {search.name}: no trial of {row.label} is done, so that nothing can be frozen")
        if beyond := [key for key in row.chosen if key != "recipe" and not key.startswith(_OF_RECIPES)]:
            raise UserError(
                f"search {search.name}: no recipe holds {beyond[0]}, which the search chose; put it into search.row"
            )
        tasks = own.setdefault(row.recipe, {})
        if row.task in tasks:
            raise UserError(
                f"search {search.name}: {tasks[row.task].label} and {row.label} would both be recipe {row.recipe}; "
                "put a key of search.row that tells them apart into search.recipe, as minilm_{peft.type}"
            )
        tasks[row.task] = row
    texts = {}
    for name, rows in own.items():
        texts[_path(folder, name)] = _text(search, grid, name, rows)
    check_places(grid, search.search, folder)
    for path, text in texts.items():
        if not path.is_file() or path.read_bytes() != text.encode():
            atomic.write_text(path, text)
    return list(texts)


def check_places(grid: Grid, spec: SearchSpec, folder: Path) -> None:
    """Raise `UserError` where `freeze` would overwrite a file that the search of ``grid`` did not write.

    Also where another file has the name of one of its recipes.
    """
    search = grid.experiment.name
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
    if not isinstance(sources, dict) or not any(str(one).startswith(f"search {search} ") for one in sources):
        raise UserError(f"'{path}' is no recipe of search {search}; freeze into another folder, or move it")


def _text(search: Search, grid: Grid, name: str, rows: dict[str, SearchRow]) -> str:
    import yaml

    counts = ", ".join(f"{len(row.trials)} trials on {task}, judged by {row.judge}" for task, row in rows.items())
    edges = [f"{key} on {task}" for task, row in rows.items() for key in row.edge]
    note = f"Chosen by the search {search.name}: {counts}."
    if edges:
        note += f" At the edge of what was tried: {', '.join(edges)}."
    per_task = {task: _entries(search, grid, row) for task, row in rows.items()}
    first = next(iter(per_task.values()))
    alike = {k: v for k, v in first.items() if all(own.get(k) == v for own in per_task.values())}
    recipe: dict[str, Any] = {
        "name": name,
        "status": "searched",
        "note": note,
        "sources": {search.source: f"results/searches/{search.name}.json, sha256 {search.sha256}"},
        "common": alike if len(per_task) > 1 else {},  # of one task nothing is known elsewhere
        "per_task": {
            task: {k: v for k, v in own.items() if len(per_task) == 1 or k not in alike}
            for task, own in per_task.items()
        },
    }
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)


def _entries(search: Search, grid: Grid, row: SearchRow) -> dict[str, dict[str, Any]]:
    """The values of the chosen trial with their sources; not what names it, and not the parts of the data."""
    chosen = row.chosen or {}
    for planned in grid.items:
        own = {k: preset.read_value(k, v) for k, v in planned.row.items()}
        if (
            planned.cell is not None
            and planned.cell.task.name == row.task
            and all(str(own.get(k)) == str(v) for k, v in (row.row | chosen).items())
        ):
            break
    composed = compose(list(planned.overrides))
    values, entries = leaves(composed.values), dict[str, dict[str, Any]]()
    for key, source in composed.sources.items():
        if key.startswith(_OF_RECIPES) and not key.startswith("task.splits"):
            theirs = f"fixed in {search.source}" if source == COMMAND_LINE else composed.legend.get(source, source)
            by = search.source if key in chosen else theirs
            entries[key] = {"value": values[key], "source": by}
    return entries

"""Run folders by what a person calls them: a folder, a cell_id, or how a cell_id begins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from uora_bench.errors import UserError

_CELL_ID = re.compile("[0-9a-f]{16}")
FEWEST = 6  # digits that a cell_id may be called by


def cells_below(folder: Path) -> set[str]:
    """The names of the run folders in ``folder`` (``<runs.dir>/<experiment>``): cell_ids.

    A grid's logs and notes lie beside them.
    """
    return {one.name for one in folder.iterdir() if _CELL_ID.fullmatch(one.name)} if folder.is_dir() else set()


def full_id(name: str, known: Iterable[str]) -> str | None:
    """The one of the ``known`` cell_ids that is ``name`` or begins with it; None where none does.

    Raises:
        UserError: when several begin with it.
    """
    known = set(known)
    if name in known:
        return name
    found = sorted(one for one in known if one.startswith(name)) if len(name) >= FEWEST else []
    if len(found) > 1:
        raise UserError(f"'{name}' begins {len(found)} cell_ids ({', '.join(found[:4])}); give more of its digits")
    return found[0] if found else None


def start_folder(given: str, runs: Path, experiment: str) -> Path:
    """The run folder that ``init_from`` means: ``given`` itself, or that of a cell of ``experiment``.

    Raises:
        UserError: when there is none.
    """
    if Path(given).is_dir():
        return Path(given)
    found = full_id(given, cells_below(runs / experiment))
    if found is None:
        raise UserError(
            f"init_from='{given}' is neither a run folder nor the cell_id of a cell of experiment {experiment} in "
            f"'{runs / experiment}'"
        )
    return runs / experiment / found


def start_name(given: str, runs: Path, experiment: str) -> str:
    """The cell_id that ``init_from`` means, or what it is called where no such cell is there."""
    try:
        return start_folder(given, runs, experiment).name
    except UserError:
        return Path(given).name

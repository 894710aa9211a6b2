"""The snapshot that a cluster's jobs run, made when they are submitted.

A copy of the package, its configs/, the plug-ins in use and the plan.

``<runs_dir>/<experiment>/snapshots/<hash>/`` holds ``src/uora_bench``, ``configs``, ``plugins/<n>/<folder>``,
``plan.json`` (with absolute paths) and ``snapshot.json``. Of plug-ins that are installed packages there is
no copy. A job that starts a week later runs these files, whatever became of the checkout in between.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

from uora_bench.config import compose, plugins, registry
from uora_bench.config.cell import MetricSpec
from uora_bench.errors import UserError
from uora_bench.grid import model
from uora_bench.grid.model import Item, Plan
from uora_bench.grid.request import word
from uora_bench.records import provenance
from uora_bench.util.hashes import files_sha256
from uora_bench.util.version import __version__

FOLDER = "snapshots"
PLUGINS = "plugins"
PATHS = tuple(name.removesuffix("=") for name in provenance.PATHS)
_METRIC = "task.metric.name"  # a name, or a file of the user's own
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def take(plan: Plan) -> Path:
    """Copy code, configuration and ``plan`` to a folder named by the hash of their contents; returns that folder.

    The folder is there whole or not at all, read-only, and made once per content.
    """
    plan = absolute(plan)
    place = plan.folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        _copy(draft)
        _copy_plugins(draft, (Path(plan.results_dir), Path(plan.runs_dir)))
        plan.write(draft / model.PLAN)
        digest = contents(draft)
        facts = {**provenance.git_state(), "version": __version__, "hash": digest}
        (draft / provenance.SNAPSHOT).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        final = place / digest
        if not final.is_dir():
            _read_only(draft)
            try:
                os.rename(draft, final)
            except OSError:
                if not final.is_dir():  # else another process has just made the same
                    raise
        return final
    finally:
        if draft.exists():
            _remove(draft)


def _copy(draft: Path) -> None:
    package, configs = Path(__file__).resolve().parents[2], registry.configs_dir()

    def ignored(folder: str, names: list[str]) -> set[str]:
        # of an installed package the configs are inside: in the copy they lie where a checkout has them
        inside = {"configs"} if Path(folder) == package and configs == package / "configs" else set()
        return _IGNORED(folder, names) | inside

    shutil.copytree(package, draft / "src" / package.name, ignore=ignored)
    shutil.copytree(configs, draft / "configs", ignore=_IGNORED)


def _copy_plugins(draft: Path, left_out: tuple[Path, ...]) -> None:
    """Copies of the folders in use, without their tests and what runs wrote (``left_out``).

    Raises:
        UserError: for a plug-in that would be another one without them.
    """
    for number, plugin in enumerate(one for one in plugins.active() if one.is_folder):
        top = plugin.folder

        def ignored(folder: str, names: list[str], top: Path = top) -> set[str]:
            mine = {name for name in names if Path(folder, name).resolve() in left_out}
            return _IGNORED(folder, names) | mine | ({"tests"} if Path(folder) == top else set())

        copy = draft / PLUGINS / str(number) / plugin.folder.name
        shutil.copytree(plugin.folder, copy, ignore=ignored)
        if replace(plugin, folder=copy).sha256() != plugin.sha256():
            raise UserError(
                f"plug-in '{plugin.name}': Python files of results.dir or runs.dir in '{plugin.folder}' count as "
                "its source; keep methods/, tasks/, metrics/ and configs/ in a folder of their own"
            )


def plugin_folders(snapshot: Path) -> str:
    """The plug-ins of a snapshot, as `plugins.VARIABLE` names them."""
    numbered = sorted((snapshot / PLUGINS).glob("*/*"), key=lambda path: int(path.parent.name))
    return os.pathsep.join(str(path) for path in numbered)


def contents(folder: Path) -> str:
    """16 hex digits: the hash of every file's name and bytes below ``folder``."""
    return files_sha256(folder, (p for p in folder.rglob("*") if p.is_file()))[:16]


def _read_only(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        # the top folder stays writable for its owner: a folder that is not cannot be renamed
        path.chmod(0o755 if path == folder else 0o555 if path.is_dir() else 0o444)


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def absolute(plan: Plan) -> Plan:
    """``plan`` with paths that mean the same in any working directory, and without the environment's ``data.root``."""
    results, runs = str(Path(plan.results_dir).absolute()), str(Path(plan.runs_dir).absolute())
    items = tuple(_absolute(item, results, runs) for item in plan.items)
    return replace(plan, results_dir=results, runs_dir=runs, items=items)


def _absolute(item: Item, results: str, runs: str) -> Item:
    set_here = {"results.dir": results, "runs.dir": runs}
    if os.environ.get("UORA_DATA_DIR"):
        set_here["data.root"] = os.environ["UORA_DATA_DIR"]
    words = []
    for given in item.overrides:
        key, _, text = given.partition("=")
        value = compose.read_override(given).value() if key in PATHS or key == _METRIC else None
        if key in PATHS or (isinstance(value, str) and MetricSpec(value, "").script is not None):
            set_here.pop(key, None)
            value = value if value is None or isinstance(value, str) else text  # a folder 2024 is no number
            given = word(key, value if value is None or _is_name(key, value) else _whole(value))
        words.append(given)
    words += [word(key, _whole(value)) for key, value in set_here.items()]
    return replace(item, overrides=tuple(words))


def _whole(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _is_name(key: str, value: str) -> bool:
    """Whether ``value`` is a cell_id rather than a folder."""
    return key == "init_from" and os.sep not in value and not Path(value).is_dir()

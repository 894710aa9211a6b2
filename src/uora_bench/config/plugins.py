"""Plug-ins: folders of a user's own methods, task families, metrics and YAML files, found beside the built-in ones.

A plug-in is a folder with ``methods/*.py``, ``tasks/*.py``, ``metrics/*.py`` and ``configs/<group>/*.yaml``, any
of them. It is in use when it is ``./uora_plugins``, when ``plugins=`` or ``UORA_BENCH_PLUGINS`` names it, or when an
installed package declares it (entry points of the group ``uora_bench.plugins``). Nothing is imported from any other
folder, and nothing at all before a name of it is asked for.

``plugins=`` becomes part of ``UORA_BENCH_PLUGINS``, so that the processes of a grid have the same plug-ins.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from uora_bench.errors import UserError
from uora_bench.util.hashes import files_sha256
from uora_bench.util.yaml_text import parse_yaml

VARIABLE = "UORA_BENCH_PLUGINS"
HERE = "uora_plugins"  # the folder that needs no naming
ENTRY_POINTS = "uora_bench.plugins"
KINDS = ("methods", "tasks", "metrics")  # folders of Python files
_PACKAGE = "uora_bench_plugins"  # what the packages of folders are below, once imported
_SNAPSHOT = {"plan.json", "snapshot.json"}  # files of what `uora_bench.grid.launch.snapshot` writes
_MISSPELT = 0.75  # how alike a misspelt name is to the one that is meant
_INFO = "plugin.yaml"  # optional: name and version


@dataclass(frozen=True)
class Plugin:
    """One folder in use.

    ``package``: the Python package whose sub-packages are `KINDS`; ``version``: of the installed distribution, or what
    the folder's plugin.yaml says; ``origin``: what brought it here, for people.
    """

    name: str
    folder: Path
    package: str
    version: str | None
    origin: str

    @property
    def configs(self) -> Path:
        """The plug-in's folder of YAML files, which need not exist."""
        return self.folder / "configs"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder that somebody named, and no installed package."""
        return self.package.startswith(f"{_PACKAGE}.")

    def file(self, kind: str, name: str) -> Path | None:
        """The Python file of ``name`` in the folder ``kind``, if the plug-in has it."""
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            return None
        path = self.folder / kind / f"{name}.py"
        return path if path.is_file() else None

    def sha256(self) -> str:
        """Of all Python files but tests (names and bytes): any may decide what a name of this plug-in does."""
        return files_sha256(self.folder, _sources(self.folder))

    def load(self, kind: str, name: str) -> types.ModuleType:
        """Import ``<kind>/<name>.py``.

        Raises:
            UserError: when the file cannot be imported.
        """
        if self.is_folder:
            for package, folder in ((_PACKAGE, None), (self.package, self.folder)):
                if package not in sys.modules:
                    module = types.ModuleType(package)
                    module.__path__ = [] if folder is None else [str(folder)]
                    sys.modules[package] = module
        leave, os._exit = os._exit, _refuse_to_leave  # a file that is only looked at must not end a whole grid
        try:
            return importlib.import_module(f"{self.package}.{kind}.{name}")
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(f"plug-in '{self.name}': {kind}/{name}.py cannot be imported: {reason}") from error
        finally:
            os._exit = leave


def add(folders: Sequence[str]) -> None:
    """Use ``folders`` too, in this process and those it starts.

    Raises:
        UserError: for a folder that does not exist.
    """
    if not folders:
        return
    known = [part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    for folder in folders:
        path = str(_folder(folder, "plugins="))
        known += [path] if path not in known else []
    os.environ[VARIABLE] = os.pathsep.join(known)


def active() -> tuple[Plugin, ...]:
    """The plug-ins in use: installed packages, folders of ``UORA_BENCH_PLUGINS``, then ``./uora_plugins``.

    Raises:
        UserError: for a folder that does not exist, or two plug-ins of one name.
    """
    return _active(os.environ.get(VARIABLE, ""), os.path.realpath(HERE) if os.path.isdir(HERE) else None)


@functools.lru_cache(maxsize=8)
def _active(named: str, here: str | None) -> tuple[Plugin, ...]:
    found = list(_installed())
    folders = {_folder(part, VARIABLE): f"named by {VARIABLE} or plugins=" for part in named.split(os.pathsep) if part}
    if here is not None:
        folders.setdefault(Path(here), f"./{HERE}")
    for folder, origin in folders.items():
        name, version = _info(folder)
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]  # folders of one name are two packages
        package = f"{_PACKAGE}.{re.sub(r'[^A-Za-z0-9]', '_', name)}_{digest}"
        found.append(Plugin(name, folder, package, version, origin))
    names: dict[str, Plugin] = {}
    for plugin in found:
        if plugin.name in names:
            raise UserError(
                f"two plug-ins are called '{plugin.name}': '{names[plugin.name].folder}' and '{plugin.folder}'; give "
                f"one another name (name: in its {_INFO}); or remove one"
            )
        names[plugin.name] = plugin
    return tuple(found)


def _folder(text: str, who: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise UserError(f"{who}: there is no folder '{text}'; name one with methods/, tasks/, metrics/ or configs/")
    if not any((path / kind).is_dir() for kind in (*KINDS, "configs")):
        raise UserError(f"{who}: '{text}' is no plug-in: it has no folder methods/, tasks/, metrics/ or configs/")
    return path.resolve()


def _info(folder: Path) -> tuple[str, str | None]:
    """Name and version of a folder: as plugin.yaml says, else its own name and none."""
    path = folder / _INFO
    if not path.is_file():
        return folder.name, None
    import yaml

    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
        name, version = str(data.get("name", folder.name)), data.get("version")
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError, RecursionError):
        raise UserError(f"'{path}' must be YAML with name: and version:") from None
    return name, None if version is None else str(version)


def _installed() -> Iterator[Plugin]:
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        spec = importlib.util.find_spec(point.value)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"the installed plug-in '{point.name}' names no package: '{point.value}'")
        distribution = point.dist
        version = None if distribution is None else distribution.version
        origin = "installed" if distribution is None else f"installed with {distribution.name}"
        folder = Path(next(iter(spec.submodule_search_locations))).resolve()
        yield Plugin(point.name, folder, point.value, version, origin)


def absent(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown ``name``: that there is no ``./uora_plugins`` in this folder.

    The plug-in may have been made elsewhere. "" where there is such a folder, or ``name`` is close to one of ``known``.
    """
    if os.path.isdir(HERE) or difflib.get_close_matches(name, known, n=1, cutoff=_MISSPELT):
        return ""
    return f" (and no ./{HERE} in this folder: one of your own is found where that lies, or with plugins=<folder>)"


def owner(kind: str, name: str) -> Plugin | None:
    """The plug-in whose ``<kind>/<name>.py`` is meant by ``name``; None: no plug-in has it.

    Raises:
        UserError: when two places define it; both are named.
    """
    found = [(plugin, path) for plugin in active() if (path := plugin.file(kind, name)) is not None]
    if not found:
        return None
    built_in = Path(__file__).resolve().parents[1] / kind / f"{name}.py"
    paths = [*([built_in] if built_in.is_file() else []), *(path for _, path in found)]
    if len(paths) > 1:
        raise UserError(f"{kind[:-1]} '{name}' is defined twice: '{paths[0]}' and '{paths[1]}'; give one another name")
    return found[0][0]


def _refuse_to_leave(status: int) -> NoReturn:
    raise SystemExit(f"it calls os._exit({status})")


def _sources(folder: Path) -> Iterator[Path]:
    """All Python files below ``folder`` but its tests, what lies in hidden folders, and copies that a grid made."""
    for place, folders, names in os.walk(folder):
        if set(names) >= _SNAPSHOT:
            folders.clear()
        left_out = ("tests",) if Path(place) == folder else ()
        folders[:] = [name for name in folders if not name.startswith((".", "__")) and name not in left_out]
        yield from (Path(place, name) for name in names if name.endswith(".py"))

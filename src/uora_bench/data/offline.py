"""One folder for nodes without a network: the manifest of what was fetched into it, and the models taken from it.

``<data.root>`` holds rows (`uora_bench.data.sources`), models in ``hub/`` (the Hub's own cache layout) and in
``converted/`` (a folder each), and ``manifest.json``, which names every file with size, sha256 and where it came from.
`uora_bench.data.prefetch` writes it; cells only read it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.hashes import file_sha256
from uora_bench.util.inside import inside
from uora_bench.util.schema import build, plain
from uora_bench.util.words import clause

SCHEMA = 1
MANIFEST = "manifest.json"
CACHE = "hub"  # of models, below the root
CONVERTED = "converted"  # of models whose weights were made on a machine, below the root and below HF_HOME
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ENVIRONMENT = object()  # nobody has named the root: the environment may
_root: Any = _ENVIRONMENT


@dataclass(frozen=True)
class Entry:
    """One file: its bytes, where it came from, and what needs it.

    ``repo`` is None for a file that was in the folder already; ``revisions`` are those that were asked for and turned
    out to be ``commit``. ``classes``: of columns of class codes in JSON lines, which have no room for it, the names of
    the classes by their codes.
    """

    size: int
    sha256: str
    kind: str = "own"  # model | dataset | own
    repo: str | None = None
    revisions: tuple[str, ...] = ()
    commit: str | None = None
    needed_by: tuple[str, ...] = ()
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Manifest:
    """The files below ``root``, by their path from there."""

    root: Path
    files: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """The manifest of ``root``; an empty one where there is none.

        Raises:
            UserError: for a file that is no manifest of this version, or names a file outside ``root``.
        """
        path = root / MANIFEST
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return cls(root)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read '{path}': {clause(error)}; delete it and prefetch again") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("files"), dict):
            raise UserError(f"'{path}' is not a manifest of this version; delete it and prefetch again")
        for name in data["files"]:
            inside(root, name)
        return cls(root, {name: build(Entry, entry, f"{MANIFEST}: {name}") for name, entry in data["files"].items()})

    def write(self) -> None:
        """Write it whole or not at all; raises OSError."""
        files = {name: plain(entry) for name, entry in sorted(self.files.items())}
        atomic.write_text(self.root / MANIFEST, json.dumps({"schema": SCHEMA, "files": files}, indent=1) + "\n")

    def add(self, name: str, entry: Entry) -> None:
        """Take up ``entry``; what else asked for the same bytes, and what needs them, is kept."""
        old = self.files.get(name)
        if old is not None and (old.repo, old.commit) == (entry.repo, entry.commit):
            entry = replace(
                entry,
                revisions=_union(old.revisions, entry.revisions),
                needed_by=_union(old.needed_by, entry.needed_by),
            )
        self.files[name] = entry

    def of_model(self, repo: str, commit: str) -> dict[str, Entry]:
        """The files of the snapshot ``commit`` of model ``repo``."""
        return {n: e for n, e in self.files.items() if (e.kind, e.repo, e.commit) == ("model", repo, commit)}

    def wrong(self, name: str, full: bool = False) -> str | None:
        """What is wrong with the file ``name``: missing, of another size, with ``full`` of another sha256.

        None: it is as it was when it was written.
        """
        path, entry = self.root / name, self.files[name]
        try:
            size = path.stat().st_size
            if size != entry.size:
                return f"has {size} bytes, the manifest says {entry.size}"
            if full and file_sha256(path) != entry.sha256:
                return "has other bytes than the manifest's sha256 says; delete it"
        except OSError:
            return "is missing"
        return None


def use(root: Path | str | None) -> None:
    """From now on this process takes models from ``root`` (``data.root``) where that holds them."""
    global _root
    _root = None if root is None else Path(root)


def cache() -> Path | None:
    """The folder of models of this process: ``hub/`` in the root given by `use`, else in ``UORA_DATA_DIR``.

    None where there is none.
    """
    root = _data_root()
    folder = None if root is None else root / CACHE
    return folder if folder is not None and folder.is_dir() else None


def home() -> Path:
    """The folder of converted models in the cache of the Hub's libraries (``HF_HOME``)."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / CONVERTED


def converted(name: str) -> Path | None:
    """The folder of the converted model ``name``: below the root given by `use`, else in `home`; None: in neither."""
    root = _data_root()
    folders = [*([] if root is None else [root / CONVERTED]), home()]
    return next((folder / name for folder in folders if (folder / name).is_dir()), None)


def _data_root() -> Path | None:
    root = os.environ.get("UORA_DATA_DIR") if _root is _ENVIRONMENT else _root
    return Path(root) if root else None


def lacking(repo: str, revision: str, root: Path, manifest: Manifest | None = None, full: bool = False) -> list[str]:
    """What ``root`` lacks of model ``repo`` at ``revision``, as paths from ``root`` with what is wrong.

    Empty: it is complete. Reads names and sizes only, with ``full`` every byte.

    A model that the manifest does not know (a cache copied by hand) is complete with a configuration and its weights.
    """
    folder = root / CACHE / folder_name(repo)
    where = folder.relative_to(root).as_posix()
    commit = commit_of(folder, revision)
    if commit is None or not (folder / "snapshots" / commit).is_dir():
        return [f"{where} ({repo} at {revision}) is missing"]
    manifest = manifest or Manifest.read(root)
    if known := manifest.of_model(repo, commit):
        return [f"{name} {problem}" for name in known if (problem := manifest.wrong(name, full))]
    snapshot = folder / "snapshots" / commit
    needed = ["config.json", *_weights(snapshot)]
    return [f"{where}/snapshots/{commit}/{n} is missing" for n in needed if not inside(snapshot, n).is_file()]


def folder_name(repo: str, kind: str = "model") -> str:
    """The name of ``repo``'s folder in a cache of the Hub's layout."""
    return f"{kind}s--" + repo.replace("/", "--")


def commit_of(folder: Path, revision: str) -> str | None:
    """The commit that ``revision`` stands for in a repository's cache ``folder``; None where it does not say."""
    if is_commit(revision):
        return revision
    try:
        return inside(folder / "refs", revision).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def is_commit(revision: str) -> bool:
    """Whether ``revision`` is a full commit hash, and no branch or tag."""
    return _COMMIT.fullmatch(revision) is not None


def entry_of(
    path: Path, kind: str = "own", repo: str | None = None, revisions: tuple[str, ...] = (), commit: str | None = None
) -> Entry:
    """The entry of a file that is there; raises OSError."""
    return Entry(path.stat().st_size, file_sha256(path), kind, repo, revisions, commit)


def _weights(snapshot: Path) -> list[str]:
    """The names of the weight files that a snapshot should hold, as its index says; without one a single file."""
    try:
        shards = json.loads((snapshot / "model.safetensors.index.json").read_text(encoding="utf-8"))["weight_map"]
        return sorted(set(shards.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["model.safetensors"]


def _union(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))

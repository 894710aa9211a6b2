"""Models into ``<root>/hub``: one snapshot per commit, in the Hub's cache layout, each put in place as a whole.

Only what a cell reads is fetched: configuration, tokenizer or image processor, and one set of safetensors weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from uora_bench.data import offline
from uora_bench.data.prefetch.remote import RemoteFile, RepositoryError
from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.hashes import file_sha256
from uora_bench.util.inside import inside

if TYPE_CHECKING:
    from uora_bench.data.prefetch.client import Client

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_OTHER_WEIGHTS = (".bin.index.json", ".h5.index.json", ".msgpack.index.json", ".safetensors.index.json")
_TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True)
class Model:
    """The configuration, the tokenizer or image processor, and the weights of ``repo`` at ``revision``."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"model {self.repo} at {self.revision}"

    @property
    def partial(self) -> str:
        """The folder of what is not whole yet."""
        return offline.folder_name(self.repo)

    def problems(self, manifest: offline.Manifest, full: bool = False) -> list[str]:
        """What keeps the manifest's folder from having it, a line each; with ``full`` every sha256 is compared."""
        return offline.lacking(self.repo, self.revision, manifest.root, manifest, full)

    def fetch(self, manifest: offline.Manifest, client: Client, partial: Path) -> None:
        """Put the snapshot into the folder of ``manifest`` and its files into ``manifest``.

        On the way they are in ``partial``.

        Raises:
            UserError: when it cannot be had. OSError: when it cannot be written.
        """
        repository = client.repository(self.repo, "model", self.revision)
        commit, remote = repository.commit, repository.files
        cache = self._cache(manifest.root)
        snapshot, staged = cache / "snapshots" / commit, partial / self.partial / commit

        def get(name: str) -> Path:
            if remote[name].is_at(snapshot / name):
                return snapshot / name
            client.fetch(repository, remote[name], staged / name)
            return staged / name

        if "config.json" not in remote:
            raise RepositoryError(f"{self} has no config.json: it is no model of the transformers library")
        names = [name for name in sorted(remote) if _wanted(name)]
        if WEIGHTS in remote:
            names.append(WEIGHTS)
        elif INDEX in remote:
            names += [INDEX, *_shards(self, get(INDEX), remote)]
        else:
            raise RepositoryError(f"{self} has no safetensors weights; name a revision that has, or a converted copy")
        for name in names:
            get(name)
        _place(staged, snapshot)
        if not offline.is_commit(self.revision):
            atomic.write_text(inside(cache / "refs", self.revision), commit)
        for name in names:
            path, kept = snapshot / name, remote[name]
            digest = kept.sha256 or file_sha256(path)
            entry = offline.Entry(kept.size, digest, "model", self.repo, (self.revision,), commit)
            manifest.add(path.relative_to(manifest.root).as_posix(), entry)

    def held(self, manifest: offline.Manifest) -> list[str]:
        """Its files in ``manifest``; a complete copy of the user's own making is entered."""
        cache = self._cache(manifest.root)
        commit = offline.commit_of(cache, self.revision)
        if commit is None:
            raise UserError(f"{self} is not in '{manifest.root}'")
        known = manifest.of_model(self.repo, commit) or {
            path.relative_to(manifest.root).as_posix(): offline.entry_of(path, "model", self.repo, commit=commit)
            for path in sorted((cache / "snapshots" / commit).rglob("*"))
            if path.is_file()
        }
        for name, entry in known.items():
            manifest.add(name, replace(entry, revisions=(self.revision,)))
        return list(known)

    def _cache(self, root: Path) -> Path:
        return root / offline.CACHE / offline.folder_name(self.repo)


def _wanted(name: str) -> bool:
    path = PurePosixPath(name)
    if path.suffix not in _SMALL or name.endswith(_OTHER_WEIGHTS):
        return False
    return len(path.parts) == 1 or path.parts[:-1] == (_TEMPLATES,)


def _shards(need: Model, index: Path, remote: dict[str, RemoteFile]) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RepositoryError(f"{need}: {INDEX} names no weight files") from None
    if absent := [name for name in names if name not in remote]:
        raise RepositoryError(f"{need} lacks {absent[0]}, which {INDEX} names")
    return names


def _place(staged: Path, snapshot: Path) -> None:
    """Move what is in ``staged`` to ``snapshot``: in one step where there is no such snapshot yet."""
    if not snapshot.exists() and staged.is_dir():
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, snapshot)
    for path in sorted(p for p in staged.rglob("*") if p.is_file()):
        target = snapshot / path.relative_to(staged)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)

"""Models into ``<root>/hub``: one snapshot per commit, in the Hub's cache layout, each put in place as a whole.

Only what a cell reads is fetched: configuration, tokenizer or image processor, and one set of safetensors weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

from uora_bench.data import offline
from uora_bench.data.prefetch.client import Client, RemoteFile, RepositoryError
from uora_bench.data.prefetch.needs import Model
from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.inside import inside

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_OTHER_WEIGHTS = (".bin.index.json", ".h5.index.json", ".msgpack.index.json", ".safetensors.index.json")
_TEMPLATES = "additional_chat_templates"


def fetch_model(need: Model, manifest: offline.Manifest, client: Client, partial: Path) -> None:
    """Put the snapshot of ``need`` into the folder of ``manifest`` and its files into ``manifest``.

    Raises:
        UserError: when it cannot be had. OSError: when it cannot be written.
    """
    repository = client.repository(need.repo, "model", need.revision)
    commit, remote = repository.commit, repository.files
    cache = manifest.root / offline.CACHE / offline.folder_name(need.repo)
    snapshot, staged = cache / "snapshots" / commit, partial / need.partial / commit

    def get(name: str) -> Path:
        for path in (snapshot / name, staged / name):
            if path.is_file() and remote[name].matches(path):
                return path
        client.fetch(repository, remote[name], staged / name)
        return staged / name

    if "config.json" not in remote:
        raise RepositoryError(f"{need} has no config.json: it is no model of the transformers library")
    names = [name for name in sorted(remote) if _wanted(name)]
    if WEIGHTS in remote:
        names.append(WEIGHTS)
    elif INDEX in remote:
        names += [INDEX, *_shards(need, get(INDEX), remote)]
    else:
        raise RepositoryError(f"{need} has no safetensors weights; name a revision that has, or a converted copy")
    for name in names:
        get(name)
    _place(staged, snapshot)
    if not offline.is_commit(need.revision):
        atomic.write_text(inside(cache / "refs", need.revision), commit)
    for name in names:
        path, kept = snapshot / name, remote[name]
        digest = kept.sha256 or offline.sha256(path)
        entry = offline.Entry(kept.size, digest, "model", need.repo, (need.revision,), commit)
        manifest.add(path.relative_to(manifest.root).as_posix(), entry)


def held_model(need: Model, manifest: offline.Manifest) -> list[str]:
    """The files of ``need`` in ``manifest``; a complete copy of the user's own making is entered."""
    cache = manifest.root / offline.CACHE / offline.folder_name(need.repo)
    commit = offline.commit_of(cache, need.revision)
    if commit is None:
        raise UserError(f"{need} is not in '{manifest.root}'")
    if not manifest.of_model(need.repo, commit):
        for path in sorted(p for p in (cache / "snapshots" / commit).rglob("*") if p.is_file()):
            entry = offline.Entry(path.stat().st_size, offline.sha256(path), "model", need.repo, commit=commit)
            manifest.add(path.relative_to(manifest.root).as_posix(), entry)
    known = manifest.of_model(need.repo, commit)
    for name, entry in known.items():
        manifest.add(name, replace(entry, revisions=(need.revision,)))
    return list(known)


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

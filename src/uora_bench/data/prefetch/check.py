"""Whether a folder has what a cell needs: by the manifest, and by what lies there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uora_bench.data import offline
from uora_bench.data.files import SUFFIXES
from uora_bench.data.prefetch.needs import Model, Rows
from uora_bench.util.inside import inside


def problems(need: Model | Rows, manifest: offline.Manifest, full: bool = False) -> list[str]:
    """What keeps the manifest's folder from answering ``need``, a line each; with ``full`` every sha256 is compared."""
    return _model(need, manifest, full) if isinstance(need, Model) else _rows(need, manifest, full)


def rows_file(need: Rows, root: Path) -> str | None:
    """The file, by its path from ``root``, that a cell reads ``need`` from; None where there is none."""
    return next((name for name in _names(need) if inside(root, name).is_file()), None)


def _model(need: Model, manifest: offline.Manifest, full: bool) -> list[str]:
    found = offline.lacking(need.repo, need.revision, manifest.root, manifest)
    if found or not full:
        return found
    commit = offline.commit_of(manifest.root / offline.CACHE / offline.folder_name(need.repo), need.revision)
    known = manifest.of_model(need.repo, str(commit))
    return [f"{name} {problem}" for name in known if (problem := manifest.wrong(name, full))]


def _rows(need: Rows, manifest: offline.Manifest, full: bool) -> list[str]:
    name, source = rows_file(need, manifest.root), need.source
    if name is None:
        gone = next((name for name in _names(need) if name in manifest.files), _names(need, [".*"])[0])
        return [f"{gone} is missing"]
    entry = manifest.files.get(name)
    if entry is None:
        return []  # the user's own
    if (problem := manifest.wrong(name, full)) is not None:
        return [f"{name} {problem}"]
    wanted = source.hub.revision if source.hub is not None else None
    if entry.repo is not None and wanted is not None and wanted not in (*entry.revisions, entry.commit):
        return [f"{name} is of revision {', '.join(entry.revisions)}, and {wanted} is needed"]
    return []


def _names(need: Rows, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    return [f"{need.source.benchmark}/{need.source.dataset}/{need.split}{suffix}" for suffix in suffixes]

"""What models said of themselves, kept between processes: building one to look at it means to import torch.

A file per model in ``$XDG_CACHE_HOME/uora_bench`` (``~/.cache/uora_bench``), named by the hash of all that the answer
depends on. What is damaged, or cannot be written, is found out anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from uora_bench.util import atomic
from uora_bench.util.hashes import file_sha256

# whose change may give another answer
_SOURCES = (
    "any_model.py",
    "backbones.py",
    "heads.py",
    "kinds.py",
    "known_models.py",
    "outline.py",
    "pooling.py",
    "targets.py",
)
_LIBRARIES = ("torch", "transformers", "peft")


def read_stored_names(files: Iterable[Path]) -> frozenset[str]:
    """The names of the tensors in safetensors ``files``, from their headers alone.

    Raises:
        OSError, ValueError: for a file that cannot be read, or is none.
    """
    names: set[str] = set()
    for file in files:
        with open(file, "rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > os.path.getsize(file):
                raise ValueError(f"'{file}' has no header")
            header = json.loads(handle.read(length))
        if not isinstance(header, dict):
            raise ValueError(f"'{file}' has no header")
        names |= header.keys() - {"__metadata__"}
    return frozenset(names)


def file_of(folder: Path, wanted: str, stored: frozenset[str] | None) -> Path | None:
    """Where the answer for the model in ``folder`` is kept; None where it has no configuration.

    ``stored``: the names of its tensors.
    """
    try:
        settings = (folder / "config.json").read_bytes()
    except OSError:
        return None
    names = None if stored is None else sorted(stored)
    return answer_file(json.dumps([hashlib.sha256(settings).hexdigest(), wanted, names]))


def answer_file(question: str) -> Path:
    """Where the answer to ``question`` is kept; that has all that it depends on, but for code and libraries."""
    sources = [file_sha256(Path(__file__).with_name(name)) for name in _SOURCES]
    versions = [importlib.metadata.version(name) for name in _LIBRARIES]
    told = json.dumps([question, sources, versions])
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "uora_bench" / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"


def read_answer(path: Path) -> dict[str, Any] | None:
    """What is kept in ``path``; None where there is nothing."""
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def write_answer(path: Path, answer: dict[str, Any]) -> None:
    """Keep ``answer`` (plain data) in ``path``, where that can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(answer) + "\n")
    except OSError:
        return  # a home that is read-only costs time, and nothing else

"""Hashes of a model's folder: what a cell's id says of a model that somebody put in ``backbone.path``."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_BLOCK = 1 << 20  # bytes hashed at a time
# files of a model's folder that no run reads: weights (hashed apart), states of a training, what is for people
_READ_BY_NONE = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite"),
    *(".md", ".log", ".lock", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf"),
)


def sha256_of(folder: Path) -> str | None:
    """sha256 over the bytes of ``*.safetensors`` in ``folder``, in the order of their names; None when there are none.

    Raises:
        OSError: for a file that cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    return _hash(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)) if files else None


def sha256_of_rest(folder: Path) -> str | None:
    """sha256 over names and bytes of the files in ``folder`` that decide how its weights are used.

    Configuration, tokenizer (whose files have many names), image processor, code; None when there are none.

    Raises:
        OSError: for a file that cannot be read.
    """
    digest, found = hashlib.sha256(), False
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _READ_BY_NONE and path.is_file() and not path.name.startswith("."):
            content = path.read_bytes()
            digest.update(f"{path.name}:{len(content)}:".encode() + content)
            found = True
    return digest.hexdigest() if found else None


@functools.cache  # asked for twice in a run: for the cell's id and for the record
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    """The hash; size and time of change only serve as the cache's key."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        with open(file, "rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()

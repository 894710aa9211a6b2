"""A last line of a file that says what the file is of and what its bytes hash to: damage and mix-ups are then seen.

The readers of zip archives (PyTorch's, NumPy's) look for the archive's end from behind, so the line does not disturb
them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_BLOCK = 1 << 20  # bytes hashed at a time
_LONGEST = 256  # bytes of a seal
_SEAL = re.compile(rb"\nuora_bench ([\w.-]{1,100}) ([0-9a-f]{64})\n\Z")


def seal(path: Path, of: str) -> None:
    """End the file ``path`` with the seal of ``of`` (a cell_id, or another name without blanks)."""
    digest = _hash(path, path.stat().st_size, of)
    with open(path, "ab") as handle:
        handle.write(f"\nuora_bench {of} {digest}\n".encode())


def seal_problem(path: Path, of: str) -> str | None:
    """What is wrong with a file that `seal` ended, or why it cannot be read.

    None: it holds what was written, and is of ``of``.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as handle:
            handle.seek(max(0, size - _LONGEST))
            found = _SEAL.search(handle.read())
        if found is None:
            return "it is cut, damaged, or of an older version: no checksum at its end"
        name = found[1].decode()
        if _hash(path, size - len(found[0]), name) != found[2].decode():
            return "it is damaged: its checksum is another"
    except OSError as error:
        return str(error.strerror)
    return None if name == of else f"it is of {name}"


def _hash(path: Path, size: int, of: str) -> str:
    """sha256 of ``of`` and the first ``size`` bytes."""
    digest = hashlib.sha256(f"{of}\n".encode())
    with open(path, "rb") as handle:
        while block := handle.read(min(_BLOCK, size - handle.tell())):
            digest.update(block)
    return digest.hexdigest()

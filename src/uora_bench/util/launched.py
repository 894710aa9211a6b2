"""What launchers say to a process through its environment, checked before anything believes it.

torchrun and accelerate set ``WORLD_SIZE``, ``RANK``, ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``; the grid's
own launcher sets ``UORA_LAUNCH`` and ``UORA_ITEM``. A set that is not whole is a leftover of a shell or a job script:
torch would wait minutes for processes that never come.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence

from uora_bench.errors import UserError

LAUNCH = "UORA_LAUNCH"  # JSON of what the record's provenance says about the launch
ITEM = "UORA_ITEM"  # the key of the grid's item that a cell is run for; it names a file
WORDS = "UORA_ITEM_WORDS"  # `words_digest` of the command line that `ITEM` is the key of
_NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_WHOLE = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def check_environment() -> None:
    """Raise `UserError` where the environment says something about processes that cannot be."""
    given = {name: os.environ[name] for name in _NUMBERS if name in os.environ}
    for name, text in given.items():
        if not text.isdecimal() or len(text) > 9:
            raise UserError(f"{name}='{text[:40]}' must be a number of processes; unset {name}, or start with torchrun")
    numbers = {name: int(text) for name, text in given.items()}
    if "LOCAL_RANK" in numbers or numbers.get("WORLD_SIZE", 1) > 1:
        missing = [name for name in _WHOLE if not os.environ.get(name)]
        if missing:
            there = [name for name in _WHOLE if name not in missing]
            raise UserError(
                f"{', '.join(there)} set without {', '.join(missing)}: start several processes with torchrun, or "
                f"'unset {' '.join(there)}' for one"
            )
        if numbers["RANK"] >= numbers["WORLD_SIZE"]:
            raise UserError(
                f"RANK={numbers['RANK']} must be below WORLD_SIZE={numbers['WORLD_SIZE']}; start with torchrun"
            )
    item = os.environ.get(ITEM)
    if item is not None and not re.fullmatch(r"[0-9a-f]{16}", item):
        raise UserError(
            f"{ITEM}={item[:40]!r} is not the key of a grid's item; only the grid's launcher sets it: unset it"
        )
    try:
        launch = json.loads(os.environ.get(LAUNCH) or "{}")
    except (ValueError, RecursionError):
        launch = None
    if not isinstance(launch, dict):
        raise UserError(f"{LAUNCH} is not a JSON object; only the grid's launcher sets it: unset it")


def is_main() -> bool:
    """Whether this process writes: the only one, or the first of several (as torchrun and accelerate number them)."""
    return os.environ.get("WORLD_SIZE", "1") in ("0", "1") or os.environ.get("RANK", "0") == "0"


def words_digest(words: Sequence[str]) -> str:
    """16 hex digits for a command line."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def item_key(words: Sequence[str]) -> str | None:
    """The key of the grid's item that this process, whose command line is ``words``, was started for.

    None where no grid started it, or what the environment says is left over from another cell.
    """
    ours = os.environ.get(WORDS) == words_digest(words)
    return os.environ.get(ITEM) if ours else None

"""What a cell is called: its id, and the key by which a grid finds it before data and weights are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

THEORY = "theory_"  # folders of records of another kind begin so


def id_of(canonical: Mapping[str, Any], fingerprint: str) -> str:
    """16 hex digits: the hash of what `Cell.canonical` says and the data's `fingerprint_of`."""
    text = json.dumps([canonical, fingerprint], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_of(data: Mapping[str, str]) -> str:
    """One fingerprint of the hashes of all splits, by role."""
    return "/".join(f"{role}:{digest}" for role, digest in sorted(data.items()))


def key_of(canonical: Mapping[str, Any]) -> str:
    """The key of a cell: 16 hex digits of `Cell.canonical` without what depends on data, weights or the method's code.

    A grid is planned, and its records are found again, by this key.
    """
    late = ("init_from", "weights", "files", "micro_batch_size", "metric")
    known = {k: v for k, v in canonical.items() if k not in late}
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]

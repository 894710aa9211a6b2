"""The real data of theory cells, and the fingerprint of it that goes into their ids. Generated data has none, nor has
what scikit-learn carries (its version is in the record).

The Amazon reviews are ``<data.root>/amazon_blitzer/<domain>/train.jsonl.gz`` (or ``.jsonl``).
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.theory.presets import TheoryCell

BENCHMARK = "amazon_blitzer"
DOMAINS = ("books", "dvd", "electronics", "kitchen")


def review_file(root: str | Path | None, domain: str) -> Path:
    """The file of one of `DOMAINS` below ``root``, the folder of ``data.root``.

    Raises:
        UserError: without a root, or when the file is not there.
    """
    folder = Path(root or "") / BENCHMARK / domain
    paths = [folder / f"train{suffix}" for suffix in (".jsonl.gz", ".jsonl")]
    path = next((p for p in paths if p.is_file()), None)
    if root is None or path is None:
        missing = "data.root is not set" if root is None else f"'{paths[0]}' is not there"
        raise UserError(
            f"the Amazon reviews are files, and {missing}: set data.root=<folder> (or UORA_DATA_DIR) to one that holds "
            f"{BENCHMARK}/; experiment=digits needs none"
        )
    return path


class DataLoader:
    """Loads each data set once per command. ``root``: the folder of ``data.root``, or None."""

    def __init__(self, root: str | None) -> None:
        self.root = root

    def fingerprints(self, cell: TheoryCell) -> dict[str, str]:
        """``{file: 16 hex digits of its sha256}`` of what ``cell`` reads: the vocabulary is that of all four domains.

        Raises:
            UserError: where a file of the reviews is not there.
        """
        return self._reviews if cell.kind == "amazon" else {}

    def data_of(self, cell: TheoryCell) -> dict[str, Any]:
        """The data that ``cell`` needs, by name; raises as `fingerprints`."""
        if cell.kind != "amazon":
            return {}
        from uora_bench.theory import amazon

        return {"domains": amazon.domains(self.root)}

    @cached_property
    def _reviews(self) -> dict[str, str]:
        found = {}
        for domain in DOMAINS:
            with open(review_file(self.root, domain), "rb") as handle:
                found[domain] = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
        return found

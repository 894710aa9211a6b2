"""The real data of theory cells, and the fingerprint of it that goes into their ids. Generated data has none, nor has
what scikit-learn carries (its version is in the record)."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from uora_bench.theory.presets import TheoryCell
from uora_bench.theory.reviews import DOMAINS, review_file


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

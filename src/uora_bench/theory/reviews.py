"""The real data of theory cells, and the fingerprint of it that goes into their ids.

Generated data has none, nor has what scikit-learn carries (its version is in the record).

The Amazon reviews are ``<data.root>/amazon_blitzer/<domain>/train.jsonl.gz`` (or ``.jsonl``).
"""

from __future__ import annotations

from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.util.hashes import file_sha256

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


def fingerprints(root: str | None) -> dict[str, str]:
    """``{domain: 16 hex digits of the sha256 of its file}``; raises as `review_file`.

    Of all four domains: the vocabulary is theirs together.
    """
    found = {}
    for domain in DOMAINS:
        found[domain] = file_sha256(review_file(root, domain))[:16]
    return found

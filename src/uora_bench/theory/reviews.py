"""Where the Amazon reviews are: ``<data.root>/amazon_blitzer/<domain>/train.jsonl.gz`` (or ``.jsonl``)."""

from __future__ import annotations

from pathlib import Path

from uora_bench.errors import UserError

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

"""``python -m uora_bench.prefetch task=… backbone=… data.root=<folder>``: fetch what a cell needs, for machines without
a network.

Run on a connected machine. The rows go to ``data.root`` in the layout `uora_bench.data` reads, the weights to the Hub
cache (``HF_HOME``); both are then found by every cell, offline.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench import atomic, hub, images, registry
from uora_bench.cell import Cell, Settings
from uora_bench.compose import compose
from uora_bench.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from uora_bench.data import Source


def main(words: list[str] | None = None) -> int:
    """Fetch for the cell that ``words`` describe; returns the exit code (0 done, 2 the user's mistake)."""
    words = sys.argv[1:] if words is None else words
    try:
        composed = compose(words)
        cell, settings = Cell.from_config(composed.values), Settings.from_config(composed.values)
        if settings.data_root is None:
            raise UserError("name the folder to fill: data.root=<folder> (make prefetch DATA_ROOT=<folder>)")
        prefetch(cell, Path(settings.data_root))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def prefetch(cell: Cell, root: Path) -> None:
    """Fill ``root`` with every split of the cell's task, and the Hub cache with its backbone.

    What is there already is kept.

    Raises:
        UserError: when the Hub cannot be reached or lacks something, or ``root`` cannot be written to.
    """
    from uora_bench.data import IMAGE_FOLDER, Source

    task = registry.task_class(cell.task.family)(cell.task)
    with _writing(root):
        root.mkdir(parents=True, exist_ok=True)
    source = cell.task.source
    if source.benchmark not in ("generated", IMAGE_FOLDER):
        wanted = [part for name in task.to_load().values() for part in name.split("+")]
        for name in dict.fromkeys(part.split("[")[0] for part in wanted):
            path = root / source.benchmark / source.dataset / f"{name}.jsonl.gz"
            rows = _load(Source(root), cell, name)
            if not any(path.with_name(name + suffix).is_file() for suffix in (".jsonl.gz", ".jsonl", ".parquet")):
                with _writing(root):
                    path = write_rows(rows, path)
            print(f"{path.relative_to(root)}: {len(rows)} rows")
    if cell.backbone.path is None:
        from uora_bench import backbones

        # the files are the same, and this machine may lack what quantises
        plain = replace(cell.backbone, quantisation="none")
        origin = backbones.load(plain, task.head, seed=0).origin
        print(f"backbone {cell.backbone.name}: {origin.get('commit', origin['revision'])}")


def write_rows(rows: Dataset, path: Path) -> Path:
    """Write ``rows`` as gzip-compressed JSON lines, whole or not at all, the same bytes for the same rows; rows with
    pictures as parquet beside ``path``. Returns the file's path."""
    if any(images.is_picture(kind) for kind in rows.data.schema.types):
        parquet = path.with_name(path.name.removesuffix(".jsonl.gz") + ".parquet")
        atomic.write(parquet, lambda temporary: rows.to_parquet(str(temporary)))
        return parquet

    def writer(temporary: Path) -> None:
        with open(temporary, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as handle:
            for row in rows:
                handle.write((json.dumps(row, ensure_ascii=False) + "\n").encode())

    atomic.write(path, writer)
    return path


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to data.root='{root}': {error.strerror or error}; name a folder you may write to"
        ) from None


def _load(source: Source, cell: Cell, split: str) -> Dataset:
    try:
        return source.load(cell.task.source, split)
    except UserError as error:
        place = cell.task.source.hub
        if place is not None and not hub.reachable(place.id, "dataset", place.revision):
            raise UserError(
                "prefetch needs the Hub, which cannot be reached from here; run it on a connected machine"
            ) from None
        raise error


if __name__ == "__main__":
    sys.exit(main())

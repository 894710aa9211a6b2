"""The data files of cells as they are now, beside those that records were made from."""

from __future__ import annotations

from pathlib import Path

from uora_bench.config.cell import Cell
from uora_bench.config.data_source import OwnFiles
from uora_bench.records.record import CellRecord
from uora_bench.util.hashes import file_sha256


class DataFiles:
    """Looks at every file once. Rows are read only of a small file of the user's own whose bytes are others now."""

    def __init__(self) -> None:
        self._bytes: dict[Path, str | None] = {}
        self._rows: dict[tuple[Path, OwnFiles], str | None] = {}

    def changed(self, cell: Cell, data_root: str | None, record: CellRecord) -> list[str] | None:
        """The names of the files of ``record``, which is of ``cell``, that hold other rows now.

        None where none of them can be looked at.
        """
        known, source = record.provenance, cell.task.source
        folder = source.folder(data_root)
        there = {} if folder is None else {n: p for n in sorted(known.data_files) if self._sha256(p := folder / n)}
        if not there:
            return None
        return [
            name
            for name, path in there.items()
            if self._sha256(path) != known.data_files[name]
            and not (name in known.data_rows and self._rows_sha256(path, source.files) == known.data_rows[name])
        ]

    def _sha256(self, path: Path) -> str | None:
        """As `data.Source.hashes` has it; None where there is no such file."""
        if path not in self._bytes:
            self._bytes[path] = file_sha256(path)[:16] if path.is_file() else None
        return self._bytes[path]

    def _rows_sha256(self, path: Path, files: OwnFiles | None) -> str | None:
        if files is None:
            return None
        if (path, files) not in self._rows:
            from uora_bench.data import own_rows

            self._rows[path, files] = own_rows.rows_sha256(path, files)
        return self._rows[path, files]

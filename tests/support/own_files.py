"""Tables of a user's own, in every format that is read."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FORMATS = (".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
Row = dict[str, Any]


def reviews(count: int = 40) -> list[Row]:
    """Reviews, half of them ``pos``; a text with a comma, a quote and a line break among them."""
    kinds = (('good, "very" good', "pos"), ("bad\nfilm", "neg"))
    return [{"id": i, "text": f"{kinds[i % 2][0]} {i}", "label": kinds[i % 2][1]} for i in range(count)]


def quiz(count: int = 40) -> list[Row]:
    """Sums with one digit, and a list of choices."""
    rows = [{"question": f"{i % 7} plus {i // 7}", "answer": str(i % 7 + i // 7)} for i in range(count)]
    return [{**row, "options": [row["answer"], "none", "zero"]} for row in rows]


def write(path: Path, rows: Sequence[Row]) -> Path:
    """``rows`` in the format that the suffixes of ``path`` say."""
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        kind = path.name.split(".")[1]
        if kind in ("csv", "tsv"):
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            json.dump(list(rows), file)
    return path

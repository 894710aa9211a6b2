"""Rows in local files: JSON lines, compressed or not, and parquet."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.data import hub
from uora_bench.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")


def read_rows(path: Path) -> Dataset:
    """A local file as an in-memory dataset, without the caches of the datasets library.

    A parquet file keeps the column types it was written with (images, class labels).

    Raises:
        UserError: for a file that is cut, of another format, or not UTF-8.
    """
    import pyarrow as pa
    from datasets import Dataset

    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            # no partitioning: a folder called a=b would become a column
            table = parquet.read_table(path, partitioning=None)
        else:
            table = read_lines(lambda: pa.input_stream(str(path), "gzip" if path.suffix == ".gz" else None))
        table.validate(full=True)  # text is UTF-8: arrow does not look while reading
        return Dataset(table)
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {hub.reason(error)}; {_remedy(path)}") from None


def with_classes(rows: Dataset, classes: Mapping[str, Sequence[str]]) -> Dataset:
    """``rows`` whose columns named in ``classes`` are codes of the classes that it names; the codes stay."""
    import pyarrow as pa
    from datasets import ClassLabel, Dataset

    features = rows.features.copy()
    for name in features.keys() & classes.keys():
        if features[name].dtype == "int64":
            features[name] = ClassLabel(names=list(classes[name]))
    if features == rows.features:
        return rows
    table: pa.Table = rows.data.table
    return Dataset(table.replace_schema_metadata(features.arrow_schema.metadata))


def join_rows(parts: Sequence[Dataset], what: str) -> Dataset:
    """The rows of all ``parts``, one after the other; ``what`` they are is for the message.

    Raises:
        UserError: when their columns are not of the same types, or their classes not in the same order.
    """
    from datasets import concatenate_datasets

    if len(parts) == 1:
        return parts[0]
    try:
        return concatenate_datasets(list(parts))
    except ValueError as error:
        raise UserError(f"{what} do not fit together: {hub.reason(error)}; write them with the same columns") from None


def _remedy(path: Path) -> str:
    """What to do about a file that cannot be read."""
    if ".jsonl" in path.suffixes:
        try:
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as handle:
                if handle.read(64).lstrip()[:1] == b"[":
                    return "it is one JSON array: write one object a line (jq -c '.[]' old.json > new.jsonl)"
        except (OSError, EOFError):
            pass  # cut: that is what the message says already
    return "copy or prefetch it again"


def read_lines(stream: Callable[[], Any]) -> Any:
    """The table of the JSON lines that ``stream`` opens, perhaps twice; raises `pyarrow.ArrowException`."""
    import pyarrow as pa
    from pyarrow import json as lines

    def parsed(schema: Any = None) -> Any:
        with stream() as opened:
            blocks = lines.ReadOptions(block_size=1 << 26)  # a row has to fit into one
            return lines.read_json(opened, blocks, lines.ParseOptions(explicit_schema=schema) if schema else None)

    table = parsed()
    # arrow takes a column of dates for times: in these files text is text
    times = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
    return parsed(pa.schema([(name, pa.string()) for name in times])) if times else table

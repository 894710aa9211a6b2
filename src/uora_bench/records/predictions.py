"""``<cell_id>.predictions.parquet`` beside a record: what was predicted for every item, and what is right.

One row per epoch × split × item, for the epochs that the selection rules choose. Columns: ``split`` (its role),
``epoch``, ``item`` (a hash of the row, `data.sources.row_ids`), ``prediction`` and ``reference`` as the metric is given
them, so that every score can be computed again, and ``logits`` (float16, a list per item) where a prediction is the
largest of them. The record holds the file's sha256 (`records.provenance.PredictionsFile`). No torch in here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError
from uora_bench.records.provenance import PredictionsFile
from uora_bench.records.record import CellRecord
from uora_bench.util import atomic

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SUFFIX = ".predictions.parquet"
_LEVEL = 9  # of zstandard
_LARGEST = 65504.0  # of float16


@dataclass(frozen=True)
class EpochPredictions:
    """The predictions of one split by the model of one epoch.

    ``item`` (n,) uint64; ``prediction`` and ``reference`` (n,): numbers or texts (references of a text may be lists of
    texts); ``logits`` (n, classes) or None.
    """

    split: str
    epoch: int
    item: np.ndarray
    prediction: Any
    reference: Any
    logits: np.ndarray | None = None


def predictions_path(folder: Path, cell_id: str) -> Path:
    """The file of ``cell_id`` in ``folder`` (``results/records/<experiment>``)."""
    return folder / f"{cell_id}{SUFFIX}"


def write_predictions(path: Path, parts: Sequence[EpochPredictions], limit: int) -> PredictionsFile:
    """Write ``parts`` atomically; a file of more than ``limit`` bytes without logits, or not at all.

    Returns what the record is to say of it.

    Raises:
        UserError: for predictions of a type that the format does not know.
        OSError: when the file system refuses.
    """
    data, left_out = _parquet(parts), None
    if len(data) > limit and any(part.logits is not None for part in parts):
        left_out = f"logits: with them the file has {_mb(len(data))}, more than {_mb(limit)} (predictions.max_mb)"
        data = _parquet([replace(part, logits=None) for part in parts])
    if len(data) > limit:
        return PredictionsFile(left_out=f"the file has {_mb(len(data))}, more than {_mb(limit)} (predictions.max_mb)")
    atomic.write_file(path, lambda temporary: _write(temporary, data))
    return PredictionsFile(hashlib.sha256(data).hexdigest(), len(data), left_out)


def read_predictions(record: CellRecord, folder: Path) -> list[EpochPredictions]:
    """The predictions of ``record``, which lies in ``folder``; none where it says that there are none.

    Raises:
        UserError: for a file that is not there, not the one that was written, or that holds no predictions.
    """
    data = read_checked(record, folder)
    if data is None:
        return []
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = predictions_path(folder, record.cell_id)
    try:
        # not `read_table`, which looks for a whole data set, and in one thread: the files are small, and many
        found = _parts(pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False))
    except (pa.ArrowException, ValueError, KeyError, TypeError, BufferError) as error:
        raise UserError(
            f"'{path}' holds no predictions: {str(error).splitlines()[0][:100]}; run the cell again"
        ) from None
    if any(len(set(part.item.tolist())) < len(part.item) for part in found):
        raise UserError(f"'{path}' has predictions of one item twice; run the cell again")
    return found


def read_checked(record: CellRecord, folder: Path) -> bytes | None:
    """The bytes of the predictions of ``record``, which are those that it was written with.

    None where it says that there are none. Errors as those of `read_predictions`.
    """
    known = record.provenance.predictions
    if known is None or known.sha256 is None:
        return None
    path = predictions_path(folder, record.cell_id)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the predictions '{path}': {error.strerror}; copy them with the record, or run the cell again"
        ) from None
    if hashlib.sha256(data).hexdigest() != known.sha256:
        raise UserError(f"'{path}' is not the file that its record was written with; copy both again")
    return data


def why_no_predictions(record: CellRecord) -> str:
    """Why a record has no predictions; "" where it has."""
    known = record.provenance.predictions
    if known is None:
        return "made before predictions were kept"
    return "" if known.sha256 is not None else known.left_out or "the record does not say why"


def _parquet(parts: Sequence[EpochPredictions]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.concat_tables([_table(part) for part in parts])
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", compression_level=_LEVEL)
    except pa.ArrowException as error:
        raise UserError(f"they are of a type that parquet does not know: {str(error).splitlines()[0][:200]}") from None
    made: bytes = sink.getvalue().to_pybytes()
    return made


def _table(part: EpochPredictions) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    count = len(part.item)
    columns = {
        "split": pa.array([part.split] * count),
        "epoch": pa.array(np.full(count, part.epoch, dtype=np.int32)),
        "item": pa.array(part.item),
        "prediction": _column(part.prediction),
        "reference": _column(part.reference),
    }
    if part.logits is not None:
        finite = np.isfinite(part.logits)
        half = np.where(finite, np.clip(part.logits, -_LARGEST, _LARGEST), part.logits).astype(np.float16)
        columns["logits"] = pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), half.shape[1])
    return pa.table(columns)


def _column(values: Any) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    plain = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object
    return pa.array(values if plain else list(values))


def _parts(table: pa.Table) -> list[EpochPredictions]:
    import numpy as np

    names, epochs = table["split"].combine_chunks().dictionary_encode(), _array(table["epoch"])
    splits = _array(names.indices)
    starts = np.flatnonzero((np.diff(splits, prepend=-1) != 0) | (np.diff(epochs, prepend=-1) != 0)).tolist()
    found = []
    for start, end in zip(starts, [*starts[1:], len(epochs)], strict=True):
        count, split, epoch = end - start, names.dictionary[int(splits[start])].as_py(), int(epochs[start])
        own = table.slice(start, count)
        logits = None
        if "logits" in table.column_names:
            logits = _array(own["logits"].combine_chunks().flatten()).reshape(count, -1).astype(np.float32)
        columns = (own[name] for name in ("prediction", "reference"))
        prediction, reference = (_values(column) for column in columns)
        found.append(EpochPredictions(split, epoch, _array(own["item"]), prediction, reference, logits))
    return found


def _values(column: pa.ChunkedArray) -> Any:
    """Numbers as an array, everything else as a list."""
    import pyarrow as pa

    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return _array(column) if number else column.to_pylist()


def _array(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Numbers as an array (n,); without ``to_numpy``, which imports pandas, unless some are missing."""
    import numpy as np
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    made: np.ndarray = whole.to_numpy(zero_copy_only=False) if whole.null_count else np.from_dlpack(whole)
    return made


def _mb(size: int) -> str:
    return f"{size / 1e6:.3g} MB"


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)

"""Texts to tokens, each (texts, tokenizer, options) once: kept in files that cells share, named by their content."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uora_bench.data.ragged import Ragged
from uora_bench.util import atomic, sealed
from uora_bench.util.log import LOG

FOLDER = ".tokens"  # in the folder of the runs
_FEWEST_TEXTS = 500  # fewer are tokenised as fast as a file is found
_ROWS_AT_A_TIME = 2_000  # a batch of texts that the tokenizer is given: its lists of Python integers are large


class TokenCache:
    """Tokenises, and keeps the tokens in ``folder`` (None: nowhere).

    All that decides the tokens is in a file's name, so that any number of processes may share the folder, and any file
    of it may be removed at any time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._states: dict[int, tuple[Any, str | None]] = {}  # by the tokenizer's identity, which is kept alive

    def __call__(self, processor: Any, texts: Sequence[Sequence[str]], **options: Any) -> dict[str, Ragged]:
        """``processor(*texts, **options)``, every model input but the attention mask, one sequence per row.

        ``texts``: one list of strings, or two for pairs. A file that cannot be read, or does not hold what was written,
        is made again; one that cannot be written is left out, with a word on stderr.
        """
        state = self._state(processor) if self.folder is not None and len(texts[0]) >= _FEWEST_TEXTS else None
        if state is None or self.folder is None:
            return _tokenise(processor, texts, options)
        path = self.folder / f"{_key(state, texts, options)}.npz"
        found = _read_tokens(path, len(texts[0]))
        if found is None:
            found = _tokenise(processor, texts, options)
            try:
                atomic.write_file(path, functools.partial(_write_tokens, key=path.stem, tokens=found))
            except OSError as error:
                LOG.warning(f"note: tokens are not cached in '{self.folder}': {error.strerror}")
        return found

    def _state(self, processor: Any) -> str | None:
        if id(processor) not in self._states:
            self._states[id(processor)] = processor, _state(processor)
        return self._states[id(processor)][1]


def _tokenise(processor: Any, texts: Sequence[Sequence[str]], options: dict[str, Any]) -> dict[str, Ragged]:
    parts: dict[str, list[Ragged]] = {}
    for start in range(0, len(texts[0]), _ROWS_AT_A_TIME):
        encoded = processor(*(list(t[start : start + _ROWS_AT_A_TIME]) for t in texts), **options)
        for name in processor.model_input_names:
            if name in encoded and name != "attention_mask":
                parts.setdefault(name, []).append(Ragged.of(encoded[name]))
    return {name: Ragged.join(column) for name, column in parts.items()}


def _state(processor: Any) -> str | None:
    """A hash of all that makes the tokenizer say what it says; None for one that is not of the tokenizers library."""
    backend = getattr(processor, "backend_tokenizer", None)
    if backend is None:
        return None
    versions = [importlib.metadata.version(name) for name in ("tokenizers", "transformers")]
    # truncation and padding are those of the last call; of this one they are among the options
    said = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("truncation", "padding")}
    own = [type(processor).__name__, processor.truncation_side, list(processor.model_input_names), *versions]
    return hashlib.sha256(f"{json.dumps(own)}\n{json.dumps(said)}".encode()).hexdigest()


def _key(state: str, texts: Sequence[Sequence[str]], options: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([state, options, [len(t) for t in texts]], sort_keys=True).encode())
    for column in texts:
        digest.update(json.dumps(list(column)).encode())
    return digest.hexdigest()[:32]


def _write_tokens(path: Path, key: str, tokens: dict[str, Ragged]) -> None:
    import numpy as np

    arrays = {}
    for name, column in tokens.items():
        largest = column.flat.max(initial=0)
        negative = column.flat.min(initial=0) < 0
        arrays[f"{name}.flat"] = column.flat if negative else column.flat.astype(np.min_scalar_type(largest))
        arrays[f"{name}.lengths"] = column.lengths.astype(np.int32)
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    sealed.seal(path, key)


def _read_tokens(path: Path, rows: int) -> dict[str, Ragged] | None:
    """The tokens in ``path``; None where there is no such file, or not one as it was written for ``rows`` texts."""
    import numpy as np

    try:
        if sealed.seal_problem(path, path.stem) is not None:
            return None
        with np.load(path, allow_pickle=False) as arrays:
            names = [key.removesuffix(".flat") for key in arrays.files if key.endswith(".flat")]
            found = {}
            for name in names:
                offsets = np.concatenate([[0], np.cumsum(arrays[f"{name}.lengths"], dtype=np.int64)])
                found[name] = Ragged(arrays[f"{name}.flat"].astype(np.int32), offsets)
    except Exception:  # noqa: BLE001 - whatever it is: a cache is never worth a failed cell
        return None
    return found if found and all(len(column) == rows for column in found.values()) else None

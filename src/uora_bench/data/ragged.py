"""`Ragged`: integer sequences of different lengths in one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Ragged:
    """Integer sequences of different lengths in one int32 array: 4 bytes a number, where a list takes 8 and more."""

    def __init__(self, flat: np.ndarray, offsets: np.ndarray) -> None:
        self.flat, self.offsets = flat, offsets

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int] | np.ndarray]) -> Ragged:
        """``sequences``, one after the other."""
        import numpy as np

        offsets = np.zeros(len(sequences) + 1, dtype=np.int64)
        np.cumsum([len(s) for s in sequences], out=offsets[1:])
        parts = [np.asarray(s, dtype=np.int32) for s in sequences]
        return cls(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32), offsets)

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """The sequences of all ``parts``."""
        import numpy as np

        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return cls(np.concatenate([part.flat for part in parts]), offsets)

    @property
    def lengths(self) -> np.ndarray:
        """How long each sequence is."""
        lengths: np.ndarray = self.offsets[1:] - self.offsets[:-1]
        return lengths

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        start, stop = self.offsets[index : index + 2] if index >= 0 else self.offsets[len(self) + index :][:2]
        return self.flat[start:stop]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def gather(self, indices: Iterable[int]) -> np.ndarray:
        """The sequences at ``indices``, one after the other."""
        import numpy as np

        return np.concatenate([self[int(i)] for i in indices])

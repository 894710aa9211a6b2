"""The task `tiny/digits`: scikit-learn's bundled handwritten digits.

1,797 real pictures of 8 x 8 (`sklearn.datasets.load_digits`, from UCI's optical recognition set), no download. The task
has the digits 5 to 9; its backbone is pretrained on 0 to 4, so that it never sees a picture or a class of the task.
Which split a picture is in follows from its pixels alone: no seed, and the order of the file does not matter.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

SPLITS = {"train": (0, 60), "validation": (60, 80), "test": (80, 100)}  # per cent of each class, by hash
FIRST = 5  # the lowest digit of the task, which has the label 0
SIDE, LEVELS = 8, 16  # pixels of a side; the file's grey levels are 0 to 16, 16 is ink


def rows(split: str) -> list[dict[str, Any]]:
    """Returns the rows of one split: image (bytes of a grey PGM file of 8 x 8, ink is white), label (the digit less 5).

    The contents are fixed, 60, 20 and 20 % of each class; no picture occurs twice.
    Raises ValueError for a split other than train, validation and test.
    """
    if split not in SPLITS:
        raise ValueError(f"tiny/digits has no split {split!r}; it has {', '.join(SPLITS)}")
    first, last = SPLITS[split]
    found = []
    for digit in range(FIRST, 10):
        own = [picture for label, picture in pictures() if label == digit]
        found += [(digit, p) for p in own[len(own) * first // 100 : len(own) * last // 100]]
    found.sort(key=lambda row: _rank(row[1]))  # mixes the classes, so that a slice such as train[:50%] has all of them
    return [{"image": picture, "label": digit - FIRST} for digit, picture in found]


@cache
def pictures() -> tuple[tuple[int, bytes], ...]:
    """(digit, picture) of all 1,797, in the order of a hash of the pixels."""
    import numpy as np
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * 255 / LEVELS).astype(np.uint8)
    # PGM holds the bare pixels: unlike PNG, its bytes do not depend on the version of a compressor
    header = f"P5 {SIDE} {SIDE} 255\n".encode()
    found = [(int(digit), header + g.tobytes()) for digit, g in zip(data.target, grey, strict=True)]
    return tuple(sorted(found, key=lambda row: _rank(row[1])))


def _rank(picture: bytes) -> bytes:
    return hashlib.sha256(picture).digest()

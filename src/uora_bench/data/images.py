"""Pictures: from compressed bytes or files to the numbers a vision backbone takes, a batch ahead of the model.

Pictures stay compressed (in Arrow, or on disk) until a batch is made: threads decode, resize and normalise, and what is
decoded at any time is at most the batch in use and the next. This module knows nothing of tasks and models.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.tasks import Augmentation
from uora_bench.errors import CellError, UserError
from uora_bench.util.hashes import file_sha256
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

Source = bytes | str  # a compressed picture, or the path of a file that holds one
ValueRange = tuple[float, ...]  # the two grey values that are black and white
_ROWS_AT_A_TIME = 500  # compressed pictures looked at together
_MOST_THREADS = 8
_BITS_PER_SAMPLE = 258  # a tag of TIFF
# crop_flip, own choice: a window of 50 to 100 % of the area, 3:4 to 4:3, as pretraining crops but gentler
_AREA, _RATIO = (0.5, 1.0), (3 / 4, 4 / 3)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is done to a decoded picture: resize, rescale, normalise.

    Resize to ``height`` x ``width`` (pixels) with the PIL filter ``resample``, then replace each of the 256 values of
    each channel by the number in ``table`` (3, 256), float32.

    ``resized``: the size is not the backbone's own. ``before``: the size that a picture is brought to before its middle
    is cut out, (height, width) or the shorter side alone; None: nothing is cut off.
    """

    height: int
    width: int
    resample: int
    table: np.ndarray
    resized: bool = False
    before: tuple[int, int] | int | None = None

    @classmethod
    def of(cls, processor: Any, image_size: int | None = None) -> Preparation:
        """What transformers' image ``processor`` does, for square pictures of ``image_size`` pixels (None: its own).

        Raises:
            UserError: when the processor pads, or does not make pictures of one size.
        """
        import numpy as np

        if getattr(processor, "do_pad", None):
            raise UserError(
                "the backbone's image processor has do_pad=true, which this suite does not do; use a ViT, whose "
                "processor only resizes, cuts out the middle and normalises"
            )
        size = {k: int(v) for k, v in dict(getattr(processor, "size", None) or {}).items() if v is not None}
        middle = bool(getattr(processor, "do_center_crop", None))
        final = {k: int(v) for k, v in dict(processor.crop_size).items() if v is not None} if middle else size
        known = {"height", "width"} <= set(size) or (middle and set(size) == {"shortest_edge"})
        if not getattr(processor, "do_resize", True) or not known or not {"height", "width"} <= set(final):
            raise UserError(
                f"the backbone's image processor does not resize to a height and a width (size: {size}); correct the "
                'preprocessor_config.json of a local copy: "size": {"height": 224, "width": 224}'
            )
        own = (final["height"], final["width"])
        if any(size.get(side, size.get("shortest_edge", 0)) < final[side] for side in ("height", "width")):
            raise UserError(
                f"the backbone's image processor cuts {own[0]} x {own[1]} out of smaller pictures (size: {size}); "
                "correct its preprocessor_config.json"
            )
        # the same steps at the same precision as the processor takes for every pixel
        values = np.arange(256, dtype=np.float64)
        if processor.do_rescale:
            values = values * processor.rescale_factor
        table = np.repeat(values.astype(np.float32)[None], 3, axis=0)
        if processor.do_normalize:
            mean, std = (_per_channel(getattr(processor, name), name) for name in ("image_mean", "image_std"))
            table = (table - mean[:, None]) / std[:, None]
        height, width = own if image_size is None else (image_size, image_size)
        scale = height / own[0]
        sides = {k: round(v * scale) for k, v in size.items()}
        before = (sides.get("shortest_edge") or (sides["height"], sides["width"])) if middle else None
        return cls(height, width, int(processor.resample), table, (height, width) != own, before)

    def pixels(self, image: Any, augmentation: Augmentation, seed: int | None) -> np.ndarray:
        """The RGB picture ``image`` at its final size, (height, width, 3) uint8.

        Changed at random where ``seed`` is given and ``augmentation`` says how.
        """
        import numpy as np

        box, flip = None, False
        if seed is not None and augmentation != "none":
            generator = np.random.default_rng(seed)
            flip = bool(generator.random() < 0.5)
            if augmentation == "crop_flip":
                box = _window(image.width, image.height, generator)
        if box is None and self.before is not None:
            return self._middle(image, flip)
        if box is not None or image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), self.resample, box=box)
        pixels = np.asarray(image)
        return pixels[:, ::-1] if flip else pixels

    def _middle(self, image: Any, flip: bool) -> np.ndarray:
        """The middle of ``image``, which is brought to its size before."""
        import numpy as np

        if isinstance(self.before, tuple):
            height, width = self.before
        else:
            assert self.before is not None
            short, long = sorted(image.size)
            sides = (self.before, int(self.before * long / short))
            width, height = sides if image.width <= image.height else sides[::-1]
        if image.size != (width, height):
            image = image.resize((width, height), self.resample)
        top, left = (height - self.height) // 2, (width - self.width) // 2
        pixels = np.asarray(image)[top : top + self.height, left : left + self.width]
        return pixels[:, ::-1] if flip else pixels

    def normalised(self, pixels: np.ndarray, out: np.ndarray) -> None:
        """Write ``pixels`` (height, width, 3) uint8 into ``out`` (3, height, width) as the backbone's numbers."""
        for channel in range(3):
            self.table[channel].take(pixels[..., channel], out=out[channel], mode="clip")


def _per_channel(values: Any, name: str) -> np.ndarray:
    import numpy as np

    found: np.ndarray = np.asarray(values, dtype=np.float32).reshape(-1)
    if len(found) not in (1, 3):
        raise UserError(f"the backbone's image processor has {len(found)} values of {name}; pictures have 3 channels")
    return np.broadcast_to(found, (3,))


def _window(width: int, height: int, generator: Any) -> tuple[float, float, float, float]:
    """A random window (left, upper, right, lower) of a picture, in pixels."""
    area = width * height * generator.uniform(*_AREA)
    ratio = (width / height) * _RATIO[0] ** generator.uniform(-1.0, 1.0)  # 3:4 to 4:3, evenly on a log scale
    w, h = min((area * ratio) ** 0.5, width), min((area / ratio) ** 0.5, height)
    left, upper = generator.uniform(0.0, width - w), generator.uniform(0.0, height - h)
    return left, upper, min(left + w, width), min(upper + h, height)


def decode(source: Source, value_range: ValueRange | None = None) -> Any:
    """The picture as a PIL image in RGB, turned upright where its EXIF data says so.

    Transparency is dropped; of a grey picture ``value_range`` is black and white, None: what the file says.

    Raises:
        ValueError, or what PIL raises: for a picture that is broken, or does not say what its values mean.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "RGB":
            return image.copy()
        shift = _surplus_bits(image) if value_range is None else 0
        if shift:  # PIL would clip it to white
            return Image.fromarray((np.asarray(image) >> shift).clip(0, 255).astype(np.uint8)).convert("RGB")
        if value_range is not None and _is_grey(image):
            return Image.fromarray(_in_bytes(np.asarray(image), *value_range)).convert("RGB")
        if "transparency" in image.info:
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")


def _is_grey(image: Any) -> bool:
    return image.mode in ("L", "I", "F") or image.mode.startswith("I;16")


def _surplus_bits(image: Any) -> int:
    """How many bits the values of a grey picture have beyond 8, as its file says; 0 for any other picture."""
    if image.mode == "L" or not _is_grey(image):
        return 0
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(
            f"its grey values are {kind} numbers, and the file does not say which of them are black and white: say it "
            "with task.value_range=[black,white], e.g. [0,1]"
        )
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0] if image.format == "TIFF" else 16
    return int(bits) - 8


def _in_bytes(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """``values`` from ``black`` to ``white`` as 0 to 255."""
    import numpy as np

    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    return np.rint((values.astype(np.float64) - black) / (white - black) * 255).clip(0, 255).astype(np.uint8)


def header_fault(source: Source, value_range: ValueRange | None = None) -> str | None:
    """Why `decode` cannot take ``source``, from its first bytes; None when they look right. Decodes nothing."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if value_range is None:
                _surplus_bits(image)
            return None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - PIL's plugins raise whatever a broken file leads them into
        return _reason(error)


def fault_of(row: int, rows: int, name: str | None, error: Exception) -> str:
    """What to say of a picture that cannot be decoded."""
    called = f", '{name}'" if name else ""
    why = f"cannot be decoded: {_reason(error)}; replace or remove it"
    return f"the picture in row {row} (from 0, of {rows}{called}) {why}"


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no picture in a known format"
    return str(error) or type(error).__name__


# --- columns of pictures ------------------------------------------------------------------------------------------


def is_picture(kind: pa.DataType) -> bool:
    """Whether an Arrow column of type ``kind`` can hold pictures: bytes, or the datasets library's {bytes, path}."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def sources(rows: Dataset, column: str) -> Iterator[tuple[Source | None, str | None]]:
    """(bytes or the path of a file, the name it has if any) of every picture of ``rows``; None for a null."""
    for part in rows.select_columns([column]).with_format("arrow").iter(_ROWS_AT_A_TIME):
        yield from _unpacked(part[column])


def _unpacked(column: pa.ChunkedArray) -> list[tuple[Source | None, str | None]]:
    unpacked = []
    for value in column.to_pylist():
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        unpacked.append((path if data is None else data, path))
    return unpacked


def hashes(rows: Dataset, column: str) -> list[str | None]:
    """The sha256 of every picture's compressed bytes, wherever they are.

    Raises:
        UserError: for a file that cannot be read.
    """
    found: list[str | None] = []
    for source, path in sources(rows, column):
        try:
            if isinstance(source, str):
                found.append(file_sha256(source))
            else:
                found.append(None if source is None else hashlib.sha256(source).hexdigest())
        except OSError as error:
            raise UserError(f"cannot read picture '{path}': {error.strerror or error}") from None
    return found


# --- batches ------------------------------------------------------------------------------------------------------


def threads() -> int:
    """How many threads decode: one per core that this process may use, at most 8."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return max(1, min(_MOST_THREADS, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))


@functools.cache
def pool() -> ThreadPoolExecutor:
    """The threads that decode."""
    return ThreadPoolExecutor(threads(), thread_name_prefix="decode")


@dataclass(frozen=True, eq=False)
class _Job:
    """A batch in the making; ``out`` is whole when all of ``parts`` are done."""

    indices: np.ndarray
    out: np.ndarray
    parts: list[Future[None]]

    def result(self) -> np.ndarray:
        for part in self.parts:
            part.result()
        return self.out


class Loader:
    """Batches of the pictures in ``column`` of ``rows``, (n, 3, height, width) float32, decoded by threads.

    Where the order of the batches is known (`along`), the next one is decoded while one is used; nothing that was
    decoded is kept longer. What a batch holds depends on its indices and on ``draw`` alone, never on threads, order or
    on which process asks.
    """

    def __init__(
        self,
        rows: Dataset,
        column: str,
        preparation: Preparation,
        augmentation: Augmentation = "none",
        value_range: ValueRange | None = None,
    ) -> None:
        self._rows = rows.select_columns([column]).with_format("arrow")
        self._column, self.preparation, self._augmentation = column, preparation, augmentation
        self._value_range = value_range
        self._draw: int | None = None
        self._order: Iterator[np.ndarray] = iter(())
        self._ahead: _Job | None = None

    def along(self, batches: Iterable[Sequence[int] | np.ndarray], draw: int | None) -> Loader:
        """A loader of the same pictures for one pass in the order of ``batches``.

        Each picture is augmented by a seed of its own, made of ``draw`` and its row number (None: not augmented).
        """
        import numpy as np

        fresh = Loader.__new__(Loader)
        fresh.__dict__.update(self.__dict__)
        fresh._draw = draw
        fresh._order = (np.asarray(indices) for indices in batches)
        fresh._ahead = fresh._next()
        return fresh

    def batch(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The pictures at ``indices``.

        Raises:
            CellError: for a picture that cannot be decoded, with its row number.
        """
        import numpy as np

        wanted = np.asarray(indices)
        if self._ahead is None or not np.array_equal(self._ahead.indices, wanted):
            return self._start(wanted).result()  # not what was announced, e.g. a look at the first rows
        job, self._ahead = self._ahead, self._next()
        return job.result()

    def _next(self) -> _Job | None:
        indices = next(self._order, None)
        return None if indices is None else self._start(indices)

    def _start(self, indices: np.ndarray) -> _Job:
        import numpy as np

        preparation = self.preparation
        found = _unpacked(self._rows[indices.tolist()][self._column]) if len(indices) else []
        out = np.empty((len(indices), 3, preparation.height, preparation.width), dtype=np.float32)
        size = max(1, -(-len(indices) // (4 * threads())))
        parts = []
        for start in range(0, len(indices), size):
            part = slice(start, start + size)
            parts.append(pool().submit(self._fill, found[part], indices[part], out[part]))
        return _Job(indices, out, parts)

    def _fill(self, found: list[tuple[Source | None, str | None]], indices: np.ndarray, out: np.ndarray) -> None:
        for (source, path), index, numbers in zip(found, indices.tolist(), out, strict=True):
            seed = None if self._draw is None else derive(self._draw, index)
            try:
                if source is None:
                    raise ValueError("it is null")
                pixels = self.preparation.pixels(decode(source, self._value_range), self._augmentation, seed)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - PIL's plugins raise whatever a broken file leads them into
                raise CellError(fault_of(index, len(self._rows), path, error)) from None
            self.preparation.normalised(pixels, numbers)

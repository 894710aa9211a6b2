"""Made-up pictures, rows of them, and a task of pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pil
from transformers import ViTImageProcessorPil

from uora_bench.config.compose import compose
from uora_bench.tasks import create_task

CIFAR = ("task=vision/cifar10",)


def task_of(*words: str) -> Any:
    return create_task(compose([*(words or CIFAR), "method=lora", "recipe=none"]).cell.task)


def picture(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Pil.Image:
    generator = np.random.default_rng(seed)
    return Pil.fromarray(generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA").convert(mode)


def packed(image: Pil.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def rows_of(count: int = 20, classes: int = 10, **columns: Any) -> Dataset:
    """Rows as CIFAR-10's: the classes in turn, all pictures different."""
    made = {"img": [{"bytes": packed(picture(i)), "path": f"{i}.png"} for i in range(count)]}
    labels = {"label": [i % classes for i in range(count)]}
    features = Features({"img": Image(), "label": Value("int64")})
    return Dataset.from_dict({**made, **labels, **columns}, features=features)


def processor(side: int = 24, **changes: Any) -> Any:
    return ViTImageProcessorPil(**{"size": {"height": side, "width": side}, **changes})


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)

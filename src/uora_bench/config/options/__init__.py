"""The options of every built-in method and task family: frozen dataclasses that import without torch.

YAML in configs/ holds values, their sources and comments. The dataclasses here hold types and ranges, and they answer
what can be asked of an option before a model exists (`uora_bench.config.preflight` asks it).
"""

from __future__ import annotations

import importlib
from typing import TypeVar

from uora_bench.config.options.base import AdapterOptions, MethodOptions, TaskOptions
from uora_bench.errors import UserError, nearest

__all__ = ["AdapterOptions", "MethodOptions", "TaskOptions", "method_options", "task_options"]

T = TypeVar("T")
_HERE = "uora_bench.config.options."
_METHODS = {
    "lora": "low_rank.LoRAOptions",
    "lora_fa": "low_rank.LoRAOptions",
    "alpha_lora": "low_rank.AlphaLoRAOptions",
    "vera": "vectors.VeRAOptions",
    "uora": "vectors.UORAOptions",
    "tied_lora": "tied.TiedLoRAOptions",
    "bitfit": "baselines.BitFitOptions",
    "full": "baselines.FullOptions",
    "head_only": "baselines.HeadOnlyOptions",
    "peft": "peft.PeftOptions",
}
_TASKS = {
    "text_classification": "tasks.TextClassificationOptions",
    "data_to_text": "tasks.DataToTextOptions",
    "instruct": "tasks.InstructOptions",
    "image_classification": "tasks.ImageClassificationOptions",
}


def method_options(name: str) -> type[MethodOptions]:
    """The dataclass of the options of method ``name``: a built-in one, else the `Config` of the method's own file."""
    if name in _METHODS:
        return _named(_METHODS[name], MethodOptions)
    from uora_bench.config.registry import only_subclass

    return only_subclass(f"uora_bench.methods.{name}", MethodOptions)


def task_options(family: str) -> type[TaskOptions]:
    """The dataclass of the options of a task of ``family``: a built-in one, else the one in the family's own file.

    Raises:
        UserError: when there is no such family.
    """
    if family in _TASKS:
        return _named(_TASKS[family], TaskOptions)
    from uora_bench.config.registry import only_subclass

    try:
        return only_subclass(f"uora_bench.tasks.{family}", TaskOptions)
    except ModuleNotFoundError:
        raise UserError(f"task.family: no family '{family}'{nearest(family, _TASKS)}") from None


def _named(path: str, base: type[T]) -> type[T]:
    module, _, name = path.partition(".")
    found: type[T] = getattr(importlib.import_module(_HERE + module), name)
    assert issubclass(found, base)
    return found

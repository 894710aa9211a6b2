"""Adapter methods, one file each; they know nothing of tasks or of the trainer.

``base`` is the wall they stand behind, ``functional`` the maths of the forward pass, ``projections`` the frozen shared
pairs of the vector methods, ``refresh`` UORA's rewriting of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uora_bench.config import registry

if TYPE_CHECKING:
    from uora_bench.config.options import MethodOptions
    from uora_bench.methods.base import Method


def method_class(name: str) -> type[Method]:
    """The `Method` sub-class of ``methods/<name>.py``; raises `UserError` for an unknown name."""
    from uora_bench.methods.base import Method

    return registry.only_subclass("methods", registry.check_choice("method", name), Method)  # type: ignore[type-abstract]


def create_method(options: MethodOptions, seed: int) -> Method:
    """The method that ``options`` describe, for a cell of ``seed``."""
    return method_class(options.name)(options, seed)

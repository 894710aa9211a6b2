"""Adapter methods, one file each; they know nothing of tasks or of the trainer.

``base`` is the wall they stand behind, ``functional`` the maths of the forward pass, ``projections`` the frozen shared
pairs of the vector methods, ``refresh`` UORA's rewriting of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uora_bench.config import registry
from uora_bench.errors import UserError

if TYPE_CHECKING:
    from uora_bench.config.options import MethodOptions
    from uora_bench.methods.base import Method


def method_class(name: str) -> type[Method]:
    """The `Method` sub-class of ``methods/<name>.py``, of the package or of a plug-in.

    Raises:
        UserError: for an unknown name, or a class that has another.
    """
    from uora_bench.methods.base import Method

    found = registry.only_subclass("methods", registry.check_choice("method", name), Method)  # type: ignore[type-abstract]
    own = getattr(found, "name", None)
    if own != name:
        raise UserError(
            f"methods/{name}.py: its class {found.__name__} has name = {own!r}, and a method is called as its file is: "
            f"write name = {name!r}, or rename the file"
        )
    return found


def create_method(options: MethodOptions, seed: int) -> Method:
    """The method that ``options`` describe, for a cell of ``seed``; raises as `method_class`."""
    return method_class(options.name)(options, seed)

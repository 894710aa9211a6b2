"""Taking an adapted model apart: the plain modules go back to where they were, merged or as they were."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from uora_bench.errors import CellError
from uora_bench.methods.base import AdapterLayer


def strip(model: Any, names: Set[str]) -> None:
    """Put each wrapped module back where it was and drop what the method added.

    ``names``: those in the state dict of the plain model. A merged layer leaves its merged weight behind, another one
    the frozen one.

    Raises:
        CellError: when the model is then not the plain one.
    """
    for path, module in list(model.named_modules()):
        parent_path, _, leaf = path.rpartition(".")
        if isinstance(module, AdapterLayer):
            setattr(model.get_submodule(parent_path), leaf, module.base)
        elif hasattr(module, "get_base_layer"):  # a layer of PEFT's own
            setattr(model.get_submodule(parent_path), leaf, module.get_base_layer())
    kept = {name.split(".", 1)[0] for name in names}
    for child, module in list(model.named_children()):
        if child not in kept and module.state_dict():
            delattr(model, child)
    left = set(model.state_dict()) ^ names
    if left:
        raise CellError(f"the model without its adapter is not the plain one: '{min(left)}' is in only one of them")

"""Task heads: what a task puts on a backbone, and how it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from uora_bench.errors import CellError, UserError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class HeadSpec:
    """The head a task puts on a backbone: the transformers auto class and its configuration."""

    auto_class: Literal["AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModelForImageClassification"]
    config: dict[str, Any]


def head_parameters(model: Any) -> dict[str, Any]:
    """Named parameters of the task head, in the model's order."""
    prefixes = tuple(f"{name}." for name in model.head_modules)
    return {n: p for n, p in model.named_parameters() if prefixes and n.startswith(prefixes)}


def check_head(model: Any, names: Sequence[str]) -> None:
    """Raise `UserError` for a name of the head that ``model`` does not have."""
    known = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
    for name in names:
        if name not in known:
            top = [n for n in known if "." not in n]
            raise UserError(f"backbone.head: the model with the task's head has no module '{name}'{nearest(name, top)}")


def widen_head(model: Any) -> None:
    """Turn a half-precision head to float32, and its inputs too where autocast is off."""
    import torch

    def widen(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        device = next((i.device.type for i in inputs if isinstance(i, torch.Tensor)), "cpu")
        if torch.is_autocast_enabled(device):
            return None
        dtype = next(module.parameters()).dtype
        return tuple(i.to(dtype) if isinstance(i, torch.Tensor) and i.is_floating_point() else i for i in inputs)

    for name in model.head_modules:
        module = model.get_submodule(name)
        if any(p.dtype.itemsize < 4 for p in module.parameters()):
            module.float().register_forward_pre_hook(widen)


def initialise_head(model: Any, seed: int) -> None:
    """Draw the head's parameters anew as the library initialises such modules, from ``seed`` alone.

    Raises:
        CellError: when the library leaves one of them as it was.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in model.head_modules:
            head = model.get_submodule(name)
            # a quantised backbone may be on the GPU, whose random numbers are others
            device = next((p.device for p in head.parameters()), torch.device("cpu"))
            head.cpu()
            for parameter in head.parameters():
                parameter.data.fill_(float("nan"))  # what nobody draws must not stay what the global seed made of it
            for module in head.modules():
                if hasattr(module, "weight"):
                    # the library marks loaded weights so that they are not drawn again; the head's are to be
                    for parameter in module.parameters(recurse=False):
                        parameter.__dict__.pop("_is_hf_initialized", None)
                    module.__dict__.pop("_is_hf_initialized", None)
                    model._init_weights(module)
            for key, parameter in head.named_parameters():
                if parameter.isnan().any():
                    raise CellError(f"transformers does not say how {name}.{key} starts; it cannot be a task head")
            head.to(device)

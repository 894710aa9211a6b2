"""Adapters as PEFT writes them: a plain LoRA for every method whose branches have factors, VeRA where it fits.

PEFT's own code makes the folder: its model is built on the plain backbone, our tensors are copied in, and it saves.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from uora_bench.methods.base import AdapterLayer, Method

TASK_TYPES = {"AutoModelForSequenceClassification": "SEQ_CLS", "AutoModelForCausalLM": "CAUSAL_LM"}
Factors = dict[str, tuple["Tensor", "Tensor"]]


@dataclass(frozen=True)
class BaseModel:
    """What an adapter folder says of the model it belongs to: ``name`` is a Hub id or a folder.

    ``head``: the modules of the task head; ``auto_class``: transformers' class of the model; ``dropout``: the method's.
    """

    name: str
    revision: str | None
    head: tuple[str, ...]
    auto_class: str
    dropout: float


@dataclass(frozen=True)
class VeraTensors:
    """One pair A (r × in), B (out × r) for all, and d (r,), b (out,) of every target."""

    A: Tensor
    B: Tensor
    vectors: dict[str, tuple[Tensor, Tensor]]


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, no warning is shown: they are of what is meant here. Raises `UserError` where PEFT is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import peft  # noqa: F401
        except ImportError:
            raise UserError("format=peft needs the package peft: pip install peft") from None
        yield


def refuse(method: Method, trains: bool, adds: bool) -> None:
    """Raise `UserError` for a method that trains something a PEFT adapter cannot hold.

    ``trains``, ``adds``: whether it trains weights of the backbone, and weights of its own.
    """
    if trains:
        raise UserError(
            f"method={method.name} trains the backbone's own weights, which no PEFT adapter holds; use format=merged"
        )
    if not method.layers and adds:
        raise UserError(f"method={method.name} does not write a PEFT adapter; use format=merged or native")
    if not method.layers:
        raise UserError(
            f"method={method.name} has no adapter, a PEFT folder would hold the head alone; use format=merged"
        )


def lora_factors(method: Method) -> Factors:
    """(A (r × in), B (out × r)) of every adapted module by its path, ΔW = B A.

    Raises:
        UserError: when an update is not of low rank.
    """
    try:
        return {path: _whole(layer) for path, layer in method.layers.items()}
    except UserError as error:
        raise UserError(f"method={method.name}: {error}; use format=merged") from None


def _whole(layer: AdapterLayer) -> tuple[Tensor, Tensor]:
    """(A, B) of a whole module: branches on slices of its output have zero rows elsewhere in B.

    Branches with the same A share its rows, so that their ranks do not add up.
    """
    import torch

    groups: list[tuple[Tensor, Tensor]] = []
    for kind, branch in layer.branches.items():
        A, B = (t.detach() for t in branch.factors())
        whole = next((w for a, w in groups if a.shape == A.shape and torch.equal(a, A)), None)
        if whole is None:
            whole = B.new_zeros(layer.out_features, B.shape[1])
            groups.append((A, whole))
        whole[slice(*layer.slices[kind])] = B
    return torch.cat([a for a, _ in groups]), torch.cat([w for _, w in groups], dim=1)


def vera_tensors(method: Method) -> VeraTensors:
    """The shared pair and the vectors of a method that PEFT's VeRA can hold as they are.

    Raises:
        UserError: when it cannot, saying why.
    """
    from uora_bench.methods.vera import VectorBranch

    def no(reason: str) -> UserError:
        return UserError(f"as=vera: {reason}; leave it out for a LoRA adapter, which is as exact")

    if not all(isinstance(branch, VectorBranch) for branch in method.branches.values()):
        raise no(f"method={method.name} is not of VeRA's form Λ_b B Λ_d A with one frozen pair")
    branches: dict[str, Any] = dict(method.branches)
    pairs = {id(branch.pair): branch.pair for branch in branches.values()}
    if len(pairs) > 1:
        raise no(f"PEFT's VeRA has one pair for all targets, this cell has {len(pairs)} (method.sharing)")
    ((pair),) = pairs.values()
    vectors = {}
    for path, layer in method.layers.items():
        if list(layer.slices.values()) != [(0, layer.out_features)]:
            raise no(f"PEFT's VeRA adapts whole modules, this cell parts of {path} ({', '.join(layer.slices)})")
        branch = layer.branches[next(iter(layer.slices))]
        vectors[path] = (branch.d.detach(), branch.b.detach())
    return VeraTensors(pair.A, pair.B, vectors)


def save_lora(model: Any, factors: Factors, base: BaseModel, folder: Path) -> None:
    """Write ``factors`` and the head of the plain ``model`` as a LoRA adapter of scale 1; ``model`` is used up."""
    import torch
    from peft import LoraConfig

    ranks = {path: A.shape[0] for path, (A, _) in factors.items()}
    most = max(ranks.values())
    other = {path: r for path, r in ranks.items() if r != most}
    config = LoraConfig(
        r=most,
        lora_alpha=most,  # scale α/r = 1: whatever scale there was is in B
        rank_pattern=other,
        alpha_pattern=dict(other),
        lora_dropout=base.dropout,
        init_lora_weights=False,
        **_common(model, factors, base),
    )
    wrapped = _wrap(model, config, base)
    with torch.no_grad():
        for path, (A, B) in factors.items():
            layer = wrapped.base_model.model.get_submodule(path)
            layer.lora_A["default"].weight.copy_(A)
            layer.lora_B["default"].weight.copy_(B)
    wrapped.peft_config["default"].init_lora_weights = True
    _save(wrapped, folder)


def save_vera(model: Any, tensors: VeraTensors, base: BaseModel, folder: Path) -> None:
    """Write ``tensors`` and the head of the plain ``model`` as a VeRA adapter that holds its matrices."""
    import torch
    from peft import VeraConfig

    config = VeraConfig(
        r=tensors.A.shape[0],
        save_projection=True,  # drawn elsewhere, and rewritten where UORA refreshed them
        vera_dropout=base.dropout,
        **_common(model, tensors.vectors, base),
    )
    wrapped = _wrap(model, config, base)
    with torch.no_grad():
        shared = wrapped.base_model
        shared.vera_A["default"].copy_(tensors.A)
        shared.vera_B["default"].copy_(tensors.B)
        for path, (d, b) in tensors.vectors.items():
            layer = shared.model.get_submodule(path)
            layer.vera_lambda_d["default"].copy_(d)
            layer.vera_lambda_b["default"].copy_(b)
    _save(wrapped, folder)


def name_base(folder: Path, base: BaseModel) -> None:
    """Write the base model's name and revision into the ``adapter_config.json`` of ``folder``."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base.name, "revision": base.revision}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _common(model: Any, modules: Mapping[str, Any], base: BaseModel) -> dict[str, Any]:
    return {
        "target_modules": _names(model, set(modules)),
        "fan_in_fan_out": all(type(model.get_submodule(p)).__name__ == "Conv1D" for p in modules),
        "modules_to_save": list(base.head) or None,
        "task_type": TASK_TYPES.get(base.auto_class),
        "revision": base.revision,
    }


def _names(model: Any, paths: set[str]) -> list[str]:
    """Last names (query, value) where they mean exactly ``paths``, else the paths themselves."""
    last = {path.rsplit(".", 1)[-1] for path in paths}
    meant = {name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in last}
    return sorted(last if meant == paths else paths)


def _wrap(model: Any, config: Any, base: BaseModel) -> Any:
    from peft import get_peft_model

    model.name_or_path = base.name  # where PEFT takes base_model_name_or_path from
    wrapped: Any = get_peft_model(model, config)
    # PEFT adds the names that heads usually have; those this model has are enough
    saved = wrapped.peft_config["default"]
    saved.modules_to_save = list(base.head) or None
    saved.target_modules = sorted(saved.target_modules)  # a set: the file would change from call to call
    return wrapped


def _save(wrapped: Any, folder: Path) -> None:
    # without a look at the Hub for the vocabulary's size: no embedding was resized
    wrapped.save_pretrained(str(folder), save_embedding_layers=False)

"""A method on any model of Linear and Conv1D modules, for the user's own training loop."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config import groups, registry, synonyms
from uora_bench.config.cell import build_method
from uora_bench.config.options import MethodOptions
from uora_bench.errors import CellError, UserError, nearest
from uora_bench.util import atomic
from uora_bench.util.schema import plain

if TYPE_CHECKING:
    from torch import nn

    from uora_bench.methods.base import Method
    from uora_bench.models.targets import Target

WEIGHTS, SETTINGS = "adapter.safetensors", "adapter.json"
_SCHEMA = 1


def inject(
    model: nn.Module,
    method: str,
    *,
    target_modules: Sequence[str] | str | None = None,
    train: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> Method:
    """Freeze ``model`` and put the adapters of ``method`` on its linear maps, in place.

    ``method``: a name of ``uora-bench list methods``, or of a plug-in; ``method=peft`` is PEFT's own business.
    ``options``: its options (``rank=8``), with the defaults of its YAML file for the others; PEFT's names of them
    (``r``, ``lora_alpha``) are understood. ``target_modules``: endings of module names (``["q_proj", "v_proj"]``), a
    regular expression that a whole name must match, or ``"all-linear"`` (every linear map but the output layer); None
    takes PEFT's choice for the model's ``config.model_type``. ``train``: names of modules that stay trainable as they
    are, such as a new head. ``seed`` decides the adapter's random numbers, and nothing else does.

    The result's ``parameters()`` are the trained ones without those of ``train``; ``merge()`` folds the adapters into
    the weights. A method that acts on its own after each step (UORA) must be told of them: ``method.bind(optimizer)``
    once, ``method.before_forward(step, first)`` before each forward pass, ``method.after_step(step)`` after each step
    (counted from 1); `trainer_callback` does all of it.

    Raises:
        UserError: for an unknown method or option, targets that match nothing or are not linear maps.
    """
    import torch

    from uora_bench.methods import create_method
    from uora_bench.methods.base import size_of
    from uora_bench.util.seeds import derive

    _check_model(model)
    made = create_method(_options(method, options), seed)
    targets = _targets(model, target_modules) if target_modules is not None or made.config.adapts != () else []
    sizes = {name: size_of(p) for name, p in model.named_parameters()}
    expected = made.count([t.shape for t in targets], sizes)
    made.inject(model, targets, torch.Generator().manual_seed(derive(seed, "adapter")))
    trained = sum(p.numel() for p in made.parameters())
    if expected is not None and trained != expected:
        raise CellError(f"{method} trains {trained} parameters on this model, and its closed form says {expected}")
    for name in train:
        try:
            module = model.get_submodule(name)
        except AttributeError:
            known = [n for n, _ in model.named_modules() if n]
            raise UserError(f"train: there is no module '{name}'{nearest(name, known)}") from None
        module.requires_grad_(True)
    return made


def save_adapter(method: Method, folder: str | Path) -> Path:
    """Write what `load_adapter` needs to ``folder``: the adapter's tensors, and the options, targets and seed."""
    from safetensors.torch import save_file

    folder = Path(folder)
    tensors = {name: t.detach().cpu().contiguous() for name, t in method.adapter_state().items()}
    settings = {
        "schema": _SCHEMA,
        "method": plain(method.config),
        "seed": method.seed,
        "target_modules": sorted(method.layers),
    }
    atomic.write_file(folder / WEIGHTS, lambda path: save_file(tensors, path))
    atomic.write_text(folder / SETTINGS, json.dumps(settings, indent=1) + "\n")
    return folder


def load_adapter(model: nn.Module, folder: str | Path) -> Method:
    """Put the adapter that `save_adapter` wrote to ``folder`` on ``model``, which must be like the one it was made for.

    Raises:
        UserError: when there is no adapter, or it does not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        if settings["schema"] != _SCHEMA:
            raise ValueError(f"schema {settings['schema']}")
        values, seed, paths = dict(settings["method"]), int(settings["seed"]), list(settings["target_modules"])
        name, version = str(values.pop("name")), values.pop("version")
        values.pop("target_modules", None)  # by kind, and the paths say more
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"'{folder}' holds no adapter of save_adapter: {' '.join(str(error).split())[:200]}") from None
    pattern = "|".join(map(re.escape, paths))
    method = inject(model, name, target_modules=f"(?:{pattern})" if paths else None, seed=seed, **values)
    if method.config.version != version:
        raise UserError(
            f"the adapter in '{folder}' is of version {version} of {name}, and this is {method.config.version}"
        )
    method.load_adapter_state(tensors)
    return method


def trainer_callback(method: Method) -> Any:
    """A `transformers.TrainerCallback` that tells ``method`` of every optimizer step of a `transformers.Trainer`."""
    from transformers import TrainerCallback

    class _Steps(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            optimizer = given["optimizer"]
            method.bind(getattr(optimizer, "optimizer", optimizer), state.max_steps)

        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            method.before_forward(state.global_step + 1, True)

        def on_substep_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            method.before_forward(state.global_step + 1, False)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            method.after_step(state.global_step + 1)

    return _Steps()


def _check_model(model: object) -> None:
    """Raise `UserError` for what no method can be put on."""
    from torch import nn
    from torch.nn.parameter import is_lazy

    from uora_bench.methods.base import AdapterLayer

    if not isinstance(model, nn.Module):
        raise UserError(f"model must be an instance of torch.nn.Module, not {type(model).__name__}")
    there = next((name for name, module in model.named_modules() if isinstance(module, AdapterLayer)), None)
    if there is not None:
        raise UserError(
            f"the model has an adapter already, on '{there}', which a second one would freeze; begin with a fresh model"
        )
    lazy = next((name for name, p in model.named_parameters() if is_lazy(p)), None)
    if lazy is not None:
        raise UserError(f"'{lazy}' has no shape yet (a lazy module); give the model a batch first")


def _options(method: str, given: dict[str, Any]) -> MethodOptions:
    """The defaults of the method's YAML with ``given`` laid over them."""
    registry.check_choice("method", method)
    if method == "peft":
        raise UserError("method 'peft' is the PEFT library itself: call peft.get_peft_model on the model")
    values = groups.compose_groups({"method": method})["method"]
    for name, value in given.items():
        key, value = synonyms.of_yaml(f"method.{name}" if f"method.{name}" in _known(values) else name, value, method)
        own = key.removeprefix("method.")
        if own not in values or own in ("name", "version", "target_modules"):
            raise UserError(f"method '{method}' has no option '{name}'{nearest(own, values)}")
        values[own] = value
    return build_method({**values, **({"target_modules": None} if "target_modules" in values else {})})


def _known(values: dict[str, Any]) -> set[str]:
    return {f"method.{name}" for name in values}


def _targets(model: nn.Module, wanted: Sequence[str] | str | None) -> list[Target]:
    """The linear maps of ``model`` that ``wanted`` names, in the order of its modules."""
    from torch import nn

    from uora_bench.models.targets import Target, TargetShape, is_linear, linear_shape

    linear = {name: module for name, module in model.named_modules() if name and is_linear(module)}
    # attention of torch itself takes the weight of its output map and never calls the module
    attention = {id(m.out_proj): name for name, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)}
    if wanted is None:
        wanted = _library_choice(model)
    if wanted == "all-linear":
        output = getattr(model, "get_output_embeddings", lambda: None)()
        chosen = [name for name, module in linear.items() if module is not output and id(module) not in attention]
    elif isinstance(wanted, str):
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            raise UserError(f"target_modules: {wanted!r} is no regular expression: {error}") from None
        chosen = [name for name in linear if pattern.fullmatch(name)]
    else:
        chosen = [n for n in linear if any(n == ending or n.endswith(f".{ending}") for ending in wanted)]
        for ending in wanted:
            if not any(n == ending or n.endswith(f".{ending}") for n in linear):
                leaves = {n.rsplit(".", 1)[-1] for n in linear}
                raise UserError(f"target_modules: no linear map is called '{ending}'{nearest(ending, leaves)}")
    if not chosen:
        raise UserError(f"target_modules={wanted!r} matches no linear map of this model")
    places: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        places.setdefault(id(module), []).append(name)
    found = []
    for name in chosen:
        if id(linear[name]) in attention:
            raise UserError(
                f"target_modules: '{name}' is never called, torch.nn.MultiheadAttention takes its weight alone; leave "
                "it out"
            )
        if len(same := places[id(linear[name])]) > 1:
            raise UserError(
                f"target_modules: '{name}' is one module in {len(same)} places ({', '.join(same)}), and an adapter "
                "would be in one of them; give each place a module of its own (they may share the weight)"
            )
        rows, columns = linear_shape(linear[name])
        numbers = [int(part) for part in name.split(".") if part.isdecimal()]
        shape = TargetShape(columns, rows, name.rsplit(".", 1)[-1], numbers[0] if numbers else 0)
        found.append(Target(name, shape, 0, rows))
    return found


def _library_choice(model: nn.Module) -> list[str]:
    """What PEFT adapts in models of this type when nobody says."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as known

    kind = str(getattr(getattr(model, "config", None), "model_type", ""))
    if kind not in known:
        raise UserError("target_modules: nobody has chosen them for this model; give endings of names, or 'all-linear'")
    return list(known[kind])

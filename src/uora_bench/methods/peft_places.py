"""Where PEFT puts its layers on a model of ours, and what it left there: modules, tensors, dtypes, random numbers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from uora_bench.config.options.peft import Tuner
from uora_bench.errors import UserError
from uora_bench.methods.base import Target, linear_shape

# their start needs values of the weights, but what they train does not depend on them: on meta, any weights will do
_READ_WEIGHTS = ("frod", "shira")
_KNOWS_TIES = ("trainable_tokens",)  # adapts both modules of a shared weight
_MAY_LEAVE_OUT = ("exclude_modules", "layers_to_transform", "layers_pattern")


def head_prefixes(model: Any) -> tuple[str, ...]:
    """The beginnings of names inside the task head."""
    return tuple(f"{name}." for name in getattr(model, "head_modules", ()))


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers, by name, each tensor once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def refuse_slices(model: nn.Module, targets: Sequence[Target]) -> None:
    """Raise `UserError` for a target that is a part of a fused projection: PEFT adapts whole modules."""
    for target in targets:
        width, _ = linear_shape(model.get_submodule(target.path))
        if target.stop - target.start != width:
            raise UserError(
                f"PEFT adapts whole modules, and '{target.shape.kind}' is a part of {target.path}; set "
                "method.target_modules=[qkv] for the whole fused projection"
            )


def places(tuner: Tuner, model: nn.Module, targets: Sequence[Target]) -> Any:
    """What PEFT's ``target_modules`` shall be: exact module paths, the user's own words, or None (PEFT's choice)."""
    given = tuner.fields.get("target_modules")
    outside = [(n, m) for n, m in model.named_modules() if not n.startswith(head_prefixes(model)) and n]
    if given == "all-linear":  # PEFT's shorthand, but for dense layers of the head; it leaves the output layer out
        find: Any = getattr(model, "get_output_embeddings", lambda: None)
        output = find()
        linear = [(n, m) for n, m in outside if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
        return [n for n, m in linear if m is not output]
    if given is not None or tuner.prompts:
        return given
    if tuner.kind == "ln_tuning":
        return [n for n, m in outside if type(m).__name__.endswith("Norm")]
    if not tuner.takes_modules:
        return None
    paths = list(dict.fromkeys(t.path for t in targets))
    if tuner.kind == "lily":
        # it shares among modules of one name, so it has to be told names; the last match decides, so longest last
        return sorted({re.split(r"\.\d+\.", p)[-1] for p in paths}, key=lambda name: (len(name), name))
    return paths


def follows(tuner: Tuner, model: nn.Module, where: Any, targets: Sequence[Target]) -> dict[str, Any]:
    """The fields of PEFT's configuration that follow from the model, the targets and ``where`` (`places`)."""
    values: dict[str, Any] = {} if where is None else {"target_modules": where}
    values["fan_in_fan_out"] = any(type(m).__name__ == "Conv1D" and _inside(n, where) for n, m in model.named_modules())
    if tuner.kind == "ia3" and tuner.takes_modules and "feedforward_modules" not in tuner.fields:
        # the paper scales a feed-forward's hidden activations: the input of its second map
        values["feedforward_modules"] = [t.path for t in targets if t.shape.kind == "down"]
    return values


def check(tuner: Tuner, model: nn.Module, targets: Sequence[Target]) -> None:
    """Raise `UserError` when PEFT adapted the head, a weight that serves two modules, or others than the targets."""
    found = {n for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    if tuner.kind not in _KNOWS_TIES:
        _refuse_tied(model, found)
    for name in sorted(found):
        if f"{name}.".startswith(head_prefixes(model)):
            raise UserError(f"peft.target_modules also means {name}, which is the task head's; be more exact")
    if not tuner.takes_modules:
        return
    wanted = {t.path for t in targets}
    left_out = set() if any(tuner.fields.get(k) for k in _MAY_LEAVE_OUT) else wanted - found
    for name in sorted(found - wanted):
        raise UserError(f"peft.type={tuner.kind} takes modules by their name, which {name} shares; add its kind too")
    for name in sorted(left_out):
        raise UserError(f"peft.type={tuner.kind} does not adapt {name} ({type(model.get_submodule(name)).__name__})")


def _refuse_tied(model: nn.Module, found: Set[str]) -> None:
    """An update of one of two modules that share a weight is no update of that weight: it could never be merged."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    for name in sorted(found):
        base: Any = model.get_submodule(name)
        for parameter in base.get_base_layer().parameters():
            others = [n for n in owners[id(parameter)] if not f"{n}.".startswith(f"{name}.")]
            if others:
                raise UserError(
                    f"peft.target_modules: {name} shares its weight with {others[0]}, so its update could not be "
                    "merged; leave it out (PEFT's all-linear does)"
                )


class Before:
    """The tensors of a model before PEFT touched it, and what those of the modules at ``where`` held."""

    def __init__(self, model: nn.Module, where: Any) -> None:
        self.tensors = {id(t): t for _, t in named_tensors(model)}
        self.modules = {id(m): m for m in model.modules()}
        self.dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        self.hashes = {id(t): digest(t) for n, t in named_tensors(model) if _inside(n.rpartition(".")[0], where)}

    def keep_mode(self, model: nn.Module) -> None:
        """Put new modules into the mode the model is in: PEFT leaves them in training mode."""
        for module in model.modules():
            if id(module) not in self.modules:
                module.training = model.training

    def added(self, model: nn.Module) -> tuple[set[str], dict[str, str]]:
        """Names of what is new, newly trained or changed outside the head; and digests of what is new and frozen."""
        names, frozen = set(), {}
        for name, tensor in named_tensors(model):
            if name.startswith(head_prefixes(model)):
                continue
            if id(tensor) not in self.tensors:
                names.add(name)
                if not tensor.requires_grad:
                    frozen[name] = digest(tensor)
            elif tensor.requires_grad or digest(tensor) != self.hashes.get(id(tensor), digest(tensor)):
                names.add(name)
        return names, frozen


def _inside(module: str, where: Any) -> bool:
    if isinstance(where, str):
        return re.fullmatch(where, module) is not None
    return any(module == place or module.endswith(f".{place}") for place in where or ())


def digest(tensor: Tensor) -> str:
    """A hash of the tensor's bytes; '' without storage (meta)."""
    if tensor.is_meta:
        return ""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(flat.numpy().tobytes(), digest_size=16).hexdigest()


def widen(model: nn.Module, before: Before) -> None:
    """Give what PEFT added the dtype to train in: float32 on half-precision weights, float64 on float64 ones."""
    wanted = torch.promote_types(before.dtype, torch.float32)
    everything = wanted == torch.float64  # what PEFT leaves in half precision and frozen, its layers cast themselves
    for module in model.modules():
        store: Any
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is None or id(tensor) in before.tensors or not tensor.is_floating_point():
                    continue
                if (tensor.requires_grad or everything) and tensor.dtype.itemsize < wanted.itemsize:
                    if isinstance(tensor, nn.Parameter):
                        tensor.data = tensor.data.to(wanted)
                    else:
                        store[name] = tensor.to(wanted)
                    if type(module).__name__.endswith("Norm"):
                        _cast_around(module, before.dtype)


def _cast_around(norm: nn.Module, dtype: torch.dtype) -> None:
    """Let a float32 copy of a half-precision norm take and give what the original did."""
    if norm.__dict__.get("_casts"):
        return
    norm.__dict__["_casts"] = True

    def into(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x.float() if isinstance(x, Tensor) else x for x in inputs)

    def out_of(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return output if torch.is_autocast_enabled(output.device.type) else output.to(dtype)

    norm.register_forward_pre_hook(into)
    norm.register_forward_hook(out_of)


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Inside, PyTorch's global stream on the CPU starts from a number of ``generator``; after it, it is as before."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        yield


@contextmanager
def on_meta(kind: str, model: nn.Module, where: Any) -> Iterator[bool]:
    """Yield whether ``model`` has no weights; inside, a type that reads some finds arbitrary ones at ``where``."""
    is_meta = any(p.is_meta for p in model.parameters())
    if is_meta and kind in _READ_WEIGHTS:
        generator = torch.Generator().manual_seed(0)
        for name, module in list(model.named_modules()):
            if _inside(name, where):
                for key, p in list(module._parameters.items()):
                    if p is not None:
                        drawn = torch.randn(p.shape, dtype=p.dtype, generator=generator)
                        module._parameters[key] = nn.Parameter(drawn, requires_grad=False)
    yield is_meta
    if is_meta:
        model.to("meta")

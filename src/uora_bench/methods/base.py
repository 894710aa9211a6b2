"""The wall between methods and everything else: `Branch`, `AdapterLayer`, `Method`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from uora_bench.config.options import MethodOptions
from uora_bench.config.options.base import Forward
from uora_bench.errors import UserError
from uora_bench.methods.forward_paths import Term, choose, few_tokens, fused_linear, weight_linear
from uora_bench.methods.functional import autocast_dtype
from uora_bench.models.targets import Target, TargetShape, linear_shape


class Branch(nn.Module):
    """The adapter of one target. Sub-classes give `delta` and `delta_weight`; both describe the same linear map."""

    def delta(self, x: Tensor) -> Tensor:
        """ΔW x for x (…, in); result (…, out), in the adapter's dtype or autocast's."""
        raise TypeError(f"{type(self).__name__} defines no delta")

    def delta_weight(self) -> Tensor:
        """ΔW, (out × in), in the adapter's dtype."""
        raise TypeError(f"{type(self).__name__} defines no delta_weight")

    def factors(self) -> tuple[Tensor, Tensor]:
        """(A, B) of shapes (r × in) and (out × r) with ΔW = B A exactly: what a plain LoRA adapter can hold.

        Raises:
            UserError: when the update has no such form, saying why.
        """
        raise UserError("its update is not of low rank")

    def term(self, start: int, stop: int) -> Term | None:
        """The same map for `weight_linear`, on these rows of the wrapped one; None: only `delta` is exact."""
        return None

    def adapt(self, x: Tensor, y: Tensor) -> Tensor:
        """The adapted output (…, out) in the dtype of y, for x (…, in) and the frozen map's own y = W0 x + bias."""
        return y + self.delta(x).to(y.dtype)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(W, bias) of the one linear map that equals `adapt`, for this branch's rows (out × in); dtypes as given."""
        delta = self.delta_weight()
        return (weight.to(delta.dtype) + delta).to(weight.dtype), bias


class AdapterLayer(nn.Module):
    """A frozen ``nn.Linear`` or transformers ``Conv1D`` with a `Branch` on its whole output or on named slices of it.

    The wrapped module keeps its place under ``base``; ``merge`` folds the branches into its weight and ``unmerge`` puts
    the original tensors back, bit by bit (they are kept, not recomputed).
    """

    base: Any  # Linear or Conv1D: has weight and bias
    branches: Any  # ModuleDict of Branch

    def __init__(self, base: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.branches = nn.ModuleDict()
        self.slices: dict[str, tuple[int, int]] = {}
        self.dropout = nn.Dropout(dropout) if dropout > 0 else None
        # Conv1D (GPT-2) keeps its weight as (in × out).
        self.transposed = type(base).__name__ == "Conv1D"
        self.forward_path: Forward = "factored"
        self.ran: tuple[Forward, ...] = ()  # the paths of the passes in training: never auto
        self.out_features, self.in_features = linear_shape(base)
        self._few = 0  # up to so many tokens `auto` is the factored path
        self.turned_off = False  # the frozen map alone answers (`Method.turned_off`)
        self._original: tuple[Tensor, Tensor | None] | None = None

    def add(self, target: Target, branch: Branch) -> None:
        """Put ``branch`` on the rows of ``target``.

        Raises:
            UserError: when another branch sits on one of these rows (q beside the fused qkv).
        """
        for kind, (start, stop) in self.slices.items():
            if start < target.stop and target.start < stop:
                raise UserError(
                    f"method.target_modules: '{kind}' and '{target.shape.kind}' overlap in {target.path}; take one"
                )
        self.branches[target.shape.kind] = branch
        self.slices[target.shape.kind] = (target.start, target.stop)
        self._few = min(few_tokens(stop - start, self.in_features) for start, stop in self.slices.values())

    @property
    def merged(self) -> bool:
        """Whether the branches are merged into the weight now."""
        return self._original is not None

    @property
    def quantised(self) -> bool:
        """Whether the frozen weight is held as packed codes, into which nothing can be merged."""
        return not self.base.weight.is_floating_point()

    def forward(self, x: Tensor) -> Tensor:
        """The adapted output (…, out) for x (…, in); of the merged weight alone after `merge`."""
        if self.merged or self.turned_off:
            return self.base(x)
        path, terms = self._path(x)
        if self.training and path not in self.ran:
            self.ran += (path,)
        if terms:
            weight = self.base.weight.T if self.transposed else self.base.weight
            if path == "fused":
                return fused_linear(x, weight, self.base.bias, terms, self._cast_weight(x))
            return weight_linear(x, weight, self.base.bias, terms, path == "delta_weight")
        y = self.base(x)
        if self.dropout is not None:
            x = self.dropout(x)
        if len(self.branches) == 1:
            ((kind, branch),) = self.branches.items()
            if self.slices[kind] == (0, self.out_features):
                return branch.adapt(x, y)
        pieces, at = [], 0
        for kind, branch in sorted(self.branches.items(), key=lambda item: self.slices[item[0]]):
            start, stop = self.slices[kind]
            if start > at:
                pieces.append(y[..., at:start])
            pieces.append(branch.adapt(x, y[..., start:stop]))
            at = stop
        if at < self.out_features:
            pieces.append(y[..., at:])
        return torch.cat(pieces, dim=-1)

    def _path(self, x: Tensor) -> tuple[Forward, list[Term]]:
        """The path of this pass, and its terms where it is not the factored one."""
        drops = self.dropout is not None and self.training
        if self.forward_path == "factored" or drops or self.quantised or torch.compiler.is_compiling():
            return "factored", []
        # as `choose` says, which takes longer: a model that writes has few tokens in each pass
        if (
            self.forward_path == "auto"
            and x.numel() <= self._few * self.in_features
            and autocast_dtype(x) is not torch.bfloat16
        ):
            return "factored", []
        terms = [branch.term(*self.slices[kind]) for kind, branch in self.branches.items()]
        known = [term for term in terms if term is not None]
        if len(known) < len(terms):
            return "factored", []
        path = choose(x, self.base.weight, known) if self.forward_path == "auto" else self.forward_path
        return path, known if path != "factored" else []

    def _cast_weight(self, x: Tensor) -> Tensor:
        """W0 (out × in) in autocast's dtype, else its own; from the wrapped module where it keeps that."""
        dtype = autocast_dtype(x) or self.base.weight.dtype
        keeps = getattr(self.base, "cast_weight", None)
        cast: Tensor = self.base.weight.detach().to(dtype) if keeps is None else keeps(dtype)
        return cast.T if self.transposed else cast

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """W_merged − W0 of the whole wrapped map, (out × in)."""
        weight, _ = self._merged()
        base = self._original[0] if self._original is not None else self.base.weight
        base = base.T if self.transposed else base
        return weight - base.to(weight.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the branches into the frozen weight (and bias); a second call changes nothing.

        Raises:
            UserError: for a quantised weight, which would have to be rounded again.
        """
        if self.merged:
            return
        if self.quantised:
            raise UserError("the frozen weights are quantised, so the adapter cannot be merged into them exactly")
        weight, bias = self._merged()
        old_bias = self.base.bias.data if self.base.bias is not None else None
        self._original = (self.base.weight.data, old_bias)
        self.base.weight.data = (weight.T if self.transposed else weight).contiguous()
        if bias is not None:
            self.base.bias.data = bias

    @torch.no_grad()
    def unmerge(self) -> None:
        """Put the original weight and bias back."""
        if self._original is None:
            return
        self.base.weight.data, bias = self._original
        if bias is not None:
            self.base.bias.data = bias
        self._original = None

    def _merged(self) -> tuple[Tensor, Tensor | None]:
        weight: Tensor
        bias: Tensor | None
        weight, bias = self._original or (self.base.weight, self.base.bias)
        weight = (weight.T if self.transposed else weight).detach().clone()
        bias = bias.detach().clone() if bias is not None else None
        for kind, branch in self.branches.items():
            rows = slice(*self.slices[kind])
            new_weight, new_bias = branch.merged(weight[rows], bias[rows] if bias is not None else None)
            weight[rows] = new_weight
            if bias is not None and new_bias is not None:
                bias[rows] = new_bias
        return weight, bias


@dataclass(frozen=True)
class Auxiliary:
    """A second optimisation that the trainer runs beside the first, on the held-out part of the training set.

    One auxiliary step: the next batch of ``batch_size`` rows, its mean loss, its gradient, one Adam step on
    ``param_groups`` (no schedule), and every other gradient of that batch forgotten. It follows the training update of
    optimizer step s (from 1) of the run, or e of its epoch: with ``phase="run"`` when s is a multiple of ``every``,
    with ``phase="epoch"`` when e − 1 is (so at the first step of each epoch). ``shuffle``: another order in each pass
    over the rows; else always theirs. ``betas``: Adam's; each of ``param_groups`` has its ``lr``.
    """

    every: int
    batch_size: int
    phase: Literal["run", "epoch"]
    shuffle: bool
    betas: tuple[float, float]
    param_groups: list[dict[str, Any]]


class Method(ABC):
    """A way to fine-tune. One instance belongs to one cell; its life: ``__init__`` → `inject` → `bind` → training.

    A sub-class sets ``name``, and as ``Config`` the dataclass of its options (`uora_bench.config.options`); the values
    are in ``configs/method/<name>.yaml``.
    """

    name: ClassVar[str]
    Config: ClassVar[type[MethodOptions]]
    config: MethodOptions
    # What a method may not share with the others, it declares; the contract test holds it to the declaration.
    starts_elsewhere: str = ""  # why a fresh adapter already changes the model; empty: ΔW = 0 at the start, to the bit
    starts_alike: str = ""  # why every seed gives its new tensors the same start; empty: the seed decides

    def __init__(self, options: MethodOptions, seed: int) -> None:
        """``options`` are of the class ``Config``; ``seed`` is the cell's, from which a method derives its streams."""
        self.config = options
        self.seed = seed
        self.layers: dict[str, AdapterLayer] = {}
        self.branches: dict[str, Branch] = {}

    @property
    def mergeable(self) -> bool:
        """Whether `merge` folds something into the weights."""
        return bool(self.layers) and not any(layer.quantised for layer in self.layers.values())

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int | None:
        """Trained parameters without the head, in closed form: as the options say, unless a method says it here.

        ``shapes``: of the targets; ``sizes``: the number of entries of every parameter of the backbone, by name,
        without the head. None: there is no closed form, and the number is read off the model.
        """
        return self.config.count(shapes, sizes)

    @abstractmethod
    def inject(self, model: nn.Module, targets: Sequence[Target], generator: torch.Generator) -> None:
        """Freeze ``model``, wrap ``targets``, initialise what is trained (random numbers from ``generator`` only).

        Raises:
            UserError: when the method does not fit these targets or this model.
        """

    def param_groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """The optimizer's groups for the adapter, without what `auxiliary` trains; the head's are the trainer's."""
        parameters = self.parameters()
        return [{"params": parameters, "lr": lr, "weight_decay": weight_decay}] if parameters else []

    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters without the head, each once, in a fixed order."""
        return list({id(p): p for b in self.branches.values() for p in b.parameters() if p.requires_grad}.values())

    def bind(self, optimizer: torch.optim.Optimizer, total_steps: int | None = None) -> None:  # noqa: B027
        """Called once before training: which optimizer trains the parameters, and for how many steps."""

    def before_forward(self, step: int, first: bool) -> None:  # noqa: B027
        """Called before each training forward: the optimizer step it is of (from 1), and whether it is its first."""

    def regulariser(self) -> Tensor | None:
        """A term of the method's own that training adds to the mean loss of each step; None: none."""
        return None

    def after_step(self, step: int) -> dict[str, Tensor | float]:
        """Act after optimizer step ``step`` (from 1), its gradients still there.

        Returns:
            Scalars to log by name, left on their device.
        """
        return {}

    def auxiliary(self) -> Auxiliary | None:
        """The method's own second optimisation, if it has one; asked after `inject`."""
        return None

    def snapshot(self) -> dict[str, Any]:
        """What the record keeps of each epoch: plain values that change in training (refreshes so far, α's spread)."""
        return {}

    def adapter_state(self) -> dict[str, Tensor]:
        """Every tensor that, with the frozen backbone, gives the adapted model: what `adapter.safetensors` holds."""
        return {f"{name}.{key}": p for name, b in self.branches.items() for key, p in b.named_parameters()}

    def load_adapter_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put tensors of `adapter_state` back.

        Raises:
            UserError: when a tensor is missing, left over, or has another shape.
        """
        own = self.adapter_state()
        for key in own.keys() ^ tensors.keys():
            raise UserError(f"the adapter file does not fit this cell: '{key}' is only in one of them")
        for key, tensor in own.items():
            if tensor.shape != tensors[key].shape:
                raise UserError(
                    f"the adapter file does not fit this cell: '{key}' is {tuple(tensors[key].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
        for key, tensor in own.items():
            tensor.data.copy_(tensors[key])

    def state(self) -> dict[str, Any]:
        """Copies of all that a resume needs beside the options and the seed: tensors and plain values only."""
        return {"adapter": {k: v.detach().clone() for k, v in self.adapter_state().items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back; raises as `load_adapter_state`."""
        self.load_adapter_state(state["adapter"])

    def seed_tensors(self) -> set[str]:
        """Names in `adapter_state` that the seed alone gives back, so that nobody needs to ship them."""
        return set()

    def report(self) -> dict[str, Any]:
        """What the record keeps of the method after training: plain values."""
        return {}

    def forward_paths(self) -> dict[str, int]:
        """How many wrapped maps took which path in training: factored, fused, merged_weight or delta_weight.

        Several joined by + (``delta_weight+fused``), where it was not the same for batches of all sizes.
        """
        return dict(Counter("+".join(sorted(layer.ran)) for layer in self.layers.values() if layer.ran))

    @contextmanager
    def turned_off(self) -> Iterator[None]:
        """Within it the model is the one that `inject` was given, to the bit, but for its head; call it unmerged.

        Raises:
            UserError: when the method trains the backbone's own tensors, which nothing turns off.
        """
        in_branches = {id(p) for branch in self.branches.values() for p in branch.parameters()}
        if any(id(p) not in in_branches for p in self.parameters()):
            raise UserError(f"method={self.name} trains tensors of the backbone, which cannot be turned off")
        try:
            for layer in self.layers.values():
                layer.turned_off = True
            yield
        finally:
            for layer in self.layers.values():
                layer.turned_off = False

    def merge(self) -> None:
        """Fold every layer's adapter into the frozen weights; raises as `AdapterLayer.merge`."""
        for layer in self.layers.values():
            layer.merge()

    def unmerge(self) -> None:
        """Restore the frozen weights bit by bit."""
        for layer in self.layers.values():
            layer.unmerge()

    def _wrap(self, model: nn.Module, targets: Sequence[Target], dropout: float, make: Any) -> None:
        """Freeze ``model`` and put ``make(target, dtype, device)`` on every target."""
        freeze(model)
        for target in targets:
            layer = self.layers.get(target.path)
            if layer is None:
                parent_path, _, leaf = target.path.rpartition(".")
                parent = model.get_submodule(parent_path)
                layer = AdapterLayer(getattr(parent, leaf), dropout)
                layer.forward_path = getattr(self.config, "forward", "factored")
                setattr(parent, leaf, layer)
                self.layers[target.path] = layer
            weight = layer.base.weight
            # adapters train in at least float32, whatever the frozen weights are stored in
            dtype = torch.promote_types(weight.dtype, torch.float32)
            branch = make(target, dtype, weight.device)
            self._check_branch(branch, target, dtype, weight.device)
            layer.add(target, branch)
            self.branches[target.name] = branch
            layer.train(layer.base.training)

    def _check_branch(self, branch: Branch, target: Target, dtype: torch.dtype, device: torch.device) -> None:
        """Raise `UserError` for a parameter of ``branch`` of another dtype or device than it was to be made with."""
        for name, parameter in branch.named_parameters():
            found, wanted = (parameter.dtype, parameter.device), (dtype, device)
            if found != wanted:
                is_, must = (f"{kind} on {place}".removeprefix("torch.") for kind, place in (found, wanted))
                raise UserError(
                    f"method={self.name}: parameter '{name}' of the branch on {target.path} is {is_}, and must be "
                    f"{must}; give the tensor the dtype= and device= that the branch is to be made with"
                )


def backbone_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Named parameters of ``model`` outside its task head (``model.head_modules``, set where the model is loaded)."""
    head = tuple(f"{name}." for name in getattr(model, "head_modules", ()))
    return (
        {n: p for n, p in model.named_parameters() if not n.startswith(head)}
        if head
        else dict(model.named_parameters())
    )


def size_of(parameter: Tensor) -> int:
    """How many numbers a parameter stands for: those of a quantised one are packed, several to a byte."""
    packed = getattr(parameter, "quant_state", None)
    return int(torch.Size(packed.shape).numel()) if packed is not None else parameter.numel()


def freeze(model: nn.Module) -> None:
    """Stop gradients to every parameter of ``model``; the trainer opens the head again."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)

"""FLOPs of a pass in closed form: products of matrices only, two per multiplication and addition, as torch's counter.

A product of (t × i) with (i × o) takes 2·t·i·o forward, and the same again backward for each of its sides that wants a
gradient: a frozen weight wants none, nor does the input of the first block where nothing before it is trained. Which
products a model has, and which sides want a gradient, is read off one forward pass with tensors that have no content;
how their number grows with ``rows`` and ``width`` of a batch is a polynomial. An adapter's passes through a weight
(`methods.forward_paths`) have formulas of their own, since ``forward=auto`` chooses by the size of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from uora_bench.errors import UserError
from uora_bench.methods.base import AdapterLayer
from uora_bench.methods.forward_paths import Term, choose_path, keeps_product, through_weight

_WIDTHS = (8, 16, 24)  # three points fix a polynomial of degree two


class Flops(NamedTuple):
    """Of a forward pass, and of the backward pass after it."""

    forward: int
    backward: int

    def plus(self, other: Flops, times: int = 1) -> Flops:
        """The sum of these and ``times`` the ``other`` operations."""
        return Flops(self.forward + times * other.forward, self.backward + times * other.backward)


class Growth(NamedTuple):
    """c0 + c1·rows + c2·rows·width + c3·rows·width²."""

    coefficients: tuple[Fraction, ...]

    def at(self, rows: int, width: int) -> int:
        """The value for ``rows`` inputs of ``width`` tokens."""
        c = self.coefficients
        return int(c[0] + rows * (c[1] + width * (c[2] + width * c[3])))


@dataclass(frozen=True)
class Layer:
    """One wrapped map: its factored pass, how many tokens it is given, and what its passes through a weight take."""

    factored: tuple[Growth, Growth]
    tokens: Growth
    path: str  # as configured, auto included; factored where no other is possible
    drops: bool  # in training its input is dropped in part, which leaves the factored pass
    terms: tuple[Term, ...]
    out: int
    inside: int
    dtype: torch.dtype
    wants_input: bool

    def flops(self, rows: int, width: int, cast: torch.dtype | None, idle: bool = False) -> Flops:
        """FLOPs on ``rows`` inputs of ``width`` tokens; ``cast``: autocast's dtype, ``idle``: in evaluation."""
        tokens, path, drops = self.tokens.at(rows, width), self.path, self.drops and not idle
        if path == "auto" and not drops:
            path = choose_path(tokens, self.inside, cast, self.dtype, self.terms)
        if path == "factored" or drops:
            return Flops(*(growth.at(rows, width) for growth in self.factored))
        if path == "fused":
            return fused_flops(tokens, self.out, self.inside, self.terms, self.wants_input)
        return weight_flops(tokens, self.out, self.inside, self.terms, path == "delta_weight", self.wants_input)


@dataclass(frozen=True)
class PassFlops:
    """What one forward and backward pass of a model takes. ``cast``: autocast's dtype, None without it."""

    rest: tuple[Growth, Growth]
    layers: tuple[Layer, ...]
    cast: torch.dtype | None

    def at(self, rows: int, width: int) -> Flops:
        """Of a batch of ``rows`` inputs, each padded to ``width`` tokens (of pictures any)."""
        found = Flops(*(growth.at(rows, width) for growth in self.rest))
        for layer in self.layers:
            found = found.plus(layer.flops(rows, width, self.cast))
        return found

    def inference(self, rows: int, width: int) -> int:
        """Of a forward pass in evaluation, with the adapter apart."""
        passed = (layer.flops(rows, width, self.cast, idle=True).forward for layer in self.layers)
        return self.rest[0].at(rows, width) + sum(passed)

    def merged(self, rows: int, width: int) -> int:
        """Of a forward pass once the adapter is merged: each wrapped map is a plain one again."""
        plain = (2 * layer.tokens.at(rows, width) * layer.out * layer.inside for layer in self.layers)
        return self.rest[0].at(rows, width) + sum(plain)


def weight_flops(tokens: int, out: int, inside: int, terms: Sequence[Term], separate: bool, wants_input: bool) -> Flops:
    """Of `weight_linear` with ``terms`` on an (out × inside) map, for ``tokens`` inputs."""
    whole = 2 * tokens * out * inside
    forward, backward = whole, whole if wants_input else 0
    for term in terms:
        rank, rows = len(term.A), term.stop - term.start
        product, through = 2 * rank * rows * inside, 2 * tokens * rows * inside
        forward += product + (through if separate else 0)
        if wants_input:
            backward += (0 if keeps_product(rank, rows, inside, tokens) else product) + (through if separate else 0)
        backward += _gradient_flops(tokens, rows, inside, rank, term)
    return Flops(forward, backward)


def fused_flops(tokens: int, out: int, inside: int, terms: Sequence[Term], wants_input: bool) -> Flops:
    """Of `fused_linear` with ``terms`` on an (out × inside) map, for ``tokens`` inputs."""
    whole = 2 * tokens * out * inside
    forward, backward = whole, whole if wants_input else 0
    for term in terms:
        rank, rows = len(term.A), term.stop - term.start
        A, B, u, v, alpha = _learnt(term)
        of_A, of_B = 2 * tokens * rank * inside, 2 * tokens * rank * rows
        forward += of_A + of_B
        backward += of_B * ((A or wants_input) + (B or u or v)) + of_A * (A + wants_input)
        backward += (2 * rows * rank if u and term.v is not None else 0) + (2 * tokens * rows if alpha else 0)
    return Flops(forward, backward)


def _learnt(term: Term) -> Sequence[bool]:
    return [t is not None and t.requires_grad for t in term.tensors]


def _gradient_flops(tokens: int, rows: int, inside: int, rank: int, term: Term) -> int:
    A, B, u, v, alpha = _learnt(term)
    products = int(A) + int(B or u or v)
    of_u = 2 * rows * rank if u and term.v is not None else 0
    if not alpha and (not products or not through_weight(tokens, rows, inside, rank, products)):
        return 2 * tokens * rank * (rows + inside) * products + of_u
    return 2 * tokens * rows * inside + 2 * rank * rows * inside * products + of_u


# --- which products a model has -----------------------------------------------------------------------------------


def pass_flops(
    model: Any,
    loss: Callable[[Any, dict[str, Any]], Any],
    batch: Callable[[int, int], dict[str, Any]],
    has_width: bool = True,
    cast: torch.dtype | None = None,
) -> PassFlops:
    """The growth of a pass of ``model`` with the size of its batch, ``batch(rows, width)``, under ``loss(model, …)``.

    A model with tensors of no content takes milliseconds. Layers take the path they would take in the model's mode.

    Raises:
        UserError: where the number of products is no such polynomial.
    """
    layers = [m for m in model.modules() if isinstance(m, AdapterLayer)]
    paths = [layer.forward_path for layer in layers]
    points = [(1, w) for w in _WIDTHS] + [(2, _WIDTHS[0]), (2, _WIDTHS[1])] if has_width else [(1, 0), (2, 0), (3, 0)]
    found: list[_Products] = []
    try:
        for layer in layers:
            layer.forward_path = "factored"
        for point in points:
            with _Products(layers) as products:
                loss(model, batch(*point))
            found.append(products)
    finally:
        for layer, path in zip(layers, paths, strict=True):
            layer.forward_path = path

    def grown(values: Sequence[int]) -> Growth:
        growth = _growth(points, values, has_width)
        if growth.at(*points[-1]) != values[-1]:
            raise UserError("the products of this model are no polynomial of the batch's rows and width")
        return growth

    def both(key: Any) -> tuple[Growth, Growth]:
        totals = [one.totals.get(key, Flops(0, 0)) for one in found]
        return grown([t.forward for t in totals]), grown([t.backward for t in totals])

    made = []
    for layer in layers:
        if layer not in found[0].inputs:
            continue  # in no pass
        terms = [branch.term(*layer.slices[kind]) for kind, branch in layer.branches.items()]
        weighs = not layer.quantised and all(t is not None for t in terms)
        made.append(
            Layer(
                both(layer),
                grown([one.inputs[layer][0] for one in found]),
                layer.forward_path if weighs else "factored",
                layer.dropout is not None and layer.training,
                tuple(t for t in terms if t is not None),
                layer.out_features,
                layer.in_features,
                layer.base.weight.dtype,
                found[0].inputs[layer][1],
            )
        )
    return PassFlops(both(None), tuple(made), cast)


def _growth(points: Sequence[tuple[int, int]], values: Sequence[int], has_width: bool) -> Growth:
    if not has_width:
        return Growth((Fraction(2 * values[0] - values[1]), Fraction(values[1] - values[0]), Fraction(0), Fraction(0)))
    per_row = values[3] - values[0]  # the same width, one row more
    fixed = values[0] - per_row
    (a, b, c), (y1, y2, y3) = _WIDTHS, (Fraction(v - fixed) for v in values[:3])
    first, second = (y2 - y1) / (b - a), (y3 - y2) / (c - b)
    square = (second - first) / (c - a)
    linear = first - square * (a + b)
    return Growth((Fraction(fixed), y1 - linear * a - square * a * a, linear, square))


@dataclass(eq=False)
class _Products(TorchFunctionMode):
    """Sums the products of matrices in the passes under it, those inside an adapter's layer apart (key: the layer)."""

    layers: Sequence[AdapterLayer]
    totals: dict[Any, Flops] = field(default_factory=dict)
    inputs: dict[Any, tuple[int, bool]] = field(default_factory=dict)  # tokens, and whether they want a gradient
    _inside: Any = None
    _hooks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __enter__(self) -> _Products:
        for layer in self.layers:
            self._hooks.append(layer.register_forward_pre_hook(self._begin))
            self._hooks.append(layer.register_forward_hook(self._end))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def _begin(self, layer: Any, args: Any) -> None:
        x, self._inside = args[0], layer
        known, wants = self.inputs.get(layer, (0, False))
        self.inputs[layer] = (known + x.numel() // x.shape[-1], wants or x.requires_grad)

    def _end(self, layer: Any, args: Any, output: Any) -> None:
        self._inside = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        rule = _RULES.get(func)
        if rule is not None:
            known = self.totals.get(self._inside, Flops(0, 0))
            self.totals[self._inside] = known.plus(rule(result, *args, **kwargs))
        return result


def _wants(tensor: Any) -> bool:
    return torch.is_grad_enabled() and isinstance(tensor, torch.Tensor) and tensor.requires_grad


def _product(size: int, left: Any, right: Any) -> Flops:
    return Flops(size, size * (_wants(left) + _wants(right)))


def _matmul(result: Any, left: Any, right: Any, **_: Any) -> Flops:
    if right.ndim < 2:
        return Flops(0, 0)  # of a matrix and a vector: torch's counter leaves it out too
    return _product(2 * result.numel() * left.shape[-1], left, right)


def _reversed(result: Any, left: Any, right: Any, **_: Any) -> Flops:
    return _matmul(result, right, left)


def _linear(result: Any, input: Any, weight: Any, bias: Any = None) -> Flops:
    return _product(2 * result.numel() * input.shape[-1], input, weight)


def _addmm(result: Any, _: Any, left: Any, right: Any, **__: Any) -> Flops:
    return _matmul(result, left, right)


def _einsum(result: Any, equation: str, *operands: Any) -> Flops:
    if len(operands) != 2 or "." in equation:
        return Flops(0, 0)
    sizes: dict[str, int] = {}
    for names, tensor in zip(equation.replace(" ", "").split("->")[0].split(","), operands, strict=True):
        sizes |= dict(zip(names, tensor.shape, strict=True))
    return _product(2 * math.prod(sizes.values()), *operands)


def _convolution(result: Any, input: Any, weight: Any, *_: Any, **__: Any) -> Flops:
    return _product(2 * result.numel() * weight[0].numel(), input, weight)


def _attention(result: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Flops:
    """FLOPs of attention: all scores, whatever the mask, and the weighted sums.

    A fused backward pass that recomputes scores, or computes unused gradients, needs more.
    """
    scores = 2 * math.prod(query.shape[:-1]) * key.shape[-2]
    inner, outer = scores * query.shape[-1], scores * value.shape[-1]
    inside = inner * (_wants(query) + _wants(key))
    return Flops(inner + outer, inside + outer * ((_wants(query) or _wants(key)) + _wants(value)))


_RULES: dict[Any, Callable[..., Flops]] = {
    F.linear: _linear,
    F.conv2d: _convolution,
    torch.conv2d: _convolution,
    F.scaled_dot_product_attention: _attention,
    torch.einsum: _einsum,
    **dict.fromkeys((torch.addmm, torch.baddbmm, torch.Tensor.addmm, torch.Tensor.baddbmm), _addmm),
    **dict.fromkeys(
        (torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.bmm,
         torch.Tensor.__matmul__), _matmul,
    ),
    torch.Tensor.__rmatmul__: _reversed,
}  # fmt: skip

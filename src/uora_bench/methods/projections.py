"""The frozen random pairs (A, B) of the vector methods: how they are drawn, shared and held."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from uora_bench.config.options.vectors import Init, Sharing
from uora_bench.models.targets import Target


class ProjectionPair(nn.Module):
    """A (r × in) and B (out × r) as buffers: frozen, moved with the model, one object for all layers that share it."""

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.register_buffer("A", A)
        self.register_buffer("B", B)

    A: Tensor
    B: Tensor


def draw(rows: int, columns: int, init: Init, gain: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """A random (rows × columns) matrix, drawn on the CPU.

    ``kaiming_uniform``: U(±√(6/columns)) (gain √2, fan-in = columns: VeRA with PyTorch's default gain);
    ``xavier_uniform``: U(±√(6/(rows+columns))); ``uniform``: U(−1, 1); ``normal``: N(0, 1); ``orthogonal``: the
    orthonormal factor of that shape in the thin SVD of a standard normal matrix (UORA, authors' code);
    ``orthogonal_qr``: PyTorch's QR routine. All times ``gain``.
    """
    matrix = torch.empty(rows, columns, dtype=dtype)
    if init == "orthogonal":
        left, _, right = torch.linalg.svd(matrix.normal_(generator=generator), full_matrices=False)
        matrix = right if rows < columns else left
    elif init == "orthogonal_qr":
        nn.init.orthogonal_(matrix, generator=generator)
    elif init == "normal":
        matrix.normal_(generator=generator)
    else:
        bound = {
            "kaiming_uniform": math.sqrt(6.0 / columns),
            "xavier_uniform": math.sqrt(6.0 / (rows + columns)),
            "uniform": 1.0,
        }[init]
        matrix.uniform_(-bound, bound, generator=generator)
    return (matrix * gain).contiguous()


def draw_pair(
    rank: int, in_features: int, out_features: int, init: Init, gain: float, seed: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """A (r × in), then B (out × r), from one CPU generator seeded with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    A = draw(rank, in_features, init, gain, generator, dtype)
    B = draw(out_features, rank, init, gain, generator, dtype)
    return A, B


def pair_key(target: Target, sharing: Sharing) -> str:
    """The name of the pair that ``target`` uses: one for all targets, one per (in, out), or one each."""
    if sharing == "all":
        return "shared"
    if sharing == "shape":
        return f"{target.shape.in_features}x{target.shape.out_features}"
    return target.name


def make_pairs(
    targets: Sequence[Target],
    rank: int,
    init: Init,
    gain: float,
    sharing: Sharing,
    seed_of: Callable[[str], int],
    dtype: torch.dtype,
) -> dict[str, ProjectionPair]:
    """One pair per `pair_key`, as large as the largest in and out of its targets; smaller targets use its leading part.

    ``seed_of``: the seed of a pair, by its key. Drawn on the CPU, in ``dtype``.
    """
    widths: dict[str, tuple[int, int]] = {}
    for target in targets:
        key = pair_key(target, sharing)
        i, o = widths.get(key, (0, 0))
        widths[key] = (max(i, target.shape.in_features), max(o, target.shape.out_features))
    return {
        key: ProjectionPair(*draw_pair(rank, i, o, init, gain, seed_of(key), dtype)) for key, (i, o) in widths.items()
    }

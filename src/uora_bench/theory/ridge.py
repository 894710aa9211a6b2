"""Ridge estimators as they are computed: in the smaller of points and features, batched, and once for all α.

With rows of points X (m × p), targets y and penalty γ, the ridge vector is (XᵀX/m + γI)⁻¹ Xᵀy/m, and the α-fine-tuned
vector, αw̃ plus the ridge adapter on the residual y − αXw̃, is

    w_α = base + α · pull,   base = Q Xᵀy/m,   pull = γ Q w̃,   Q = (XᵀX/m + γI)⁻¹:

affine in α, so that two right-hand sides of one system give every α. For m < p, K = XXᵀ/m + γI (m × m) gives the same:
base = Xᵀ K⁻¹ y/m,  pull = w̃ − Xᵀ K⁻¹ X w̃/m.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def adapter(points: Array, targets: Array, source: Array, gamma: float) -> tuple[Array, Array]:
    """(base, pull) of w_α = base + α·pull.

    Args:
        points: (..., m, p).
        targets: (..., m, c), c outputs.
        source: (..., p, c), the frozen w̃; or (p, c), the same for all of the batch.
        gamma: the penalty γ > 0.

    Returns:
        Two arrays (..., p, c).
    """
    count, features = points.shape[-2:]
    outputs = targets.shape[-1]
    source = np.broadcast_to(source, (*points.shape[:-2], *source.shape[-2:]))
    across = np.swapaxes(points, -1, -2)
    if count < features:
        kernel = points @ across / count
        _add_to_diagonal(kernel, gamma)
        right = np.concatenate([targets, points @ source], axis=-1)
        found = across @ np.linalg.solve(kernel, right) / count
        return found[..., :outputs], source - found[..., outputs:]
    gram = across @ points / count
    _add_to_diagonal(gram, gamma)
    right = np.concatenate([across @ targets / count, gamma * source], axis=-1)
    found = np.linalg.solve(gram, right)
    return found[..., :outputs], found[..., outputs:]


def fit(points: Array, targets: Array, gamma: float) -> Array:
    """The ridge vector, (..., p, c), of points (..., m, p) and targets (..., m, c)."""
    nothing = np.zeros((*points.shape[:-2], points.shape[-1], targets.shape[-1]))
    return adapter(points, targets, nothing, gamma)[0]


def _add_to_diagonal(matrices: Array, value: float) -> None:
    index = np.arange(matrices.shape[-1])
    matrices[..., index, index] += value

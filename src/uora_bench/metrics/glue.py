"""Owns the official GLUE scores as a pure function.

The scores per task are those of the GLUE benchmark (Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform
for Natural Language Understanding", 2018, arXiv:1804.07461; ICLR 2019), table 1.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from uora_bench.config.metrics import SCORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

TASKS = tuple(name.removeprefix("glue/") for name in SCORES if name.startswith("glue/"))


def glue_scores(task: str, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Compute the official scores of one GLUE task over N examples.

    With p_i the predictions, r_i the references, and TP, TN, FP, FN counted with class 1 as the positive one:

    * accuracy = #{i: p_i = r_i} / N, in 0..1 (all tasks but cola and stsb);
    * f1 = 2 TP / (2 TP + FP + FN), in 0..1 (mrpc, qqp);
    * matthews_correlation = (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)), in -1..1 (cola);
    * pearson = cov(p, r) / (std(p) std(r)), in -1..1, and spearmanr = the same over average ranks (stsb).

    Where an equation is 0/0 the score is 0.0, never NaN and never a warning:

    * f1 when class 1 appears in neither column (scikit-learn's ``zero_division=0``);
    * matthews_correlation when either column holds one class only (scikit-learn's convention), even if all agree;
    * pearson and spearmanr when either column is constant, which includes N = 1: a constant predictor carries no rank
      information, so it earns what an unrelated one earns on average, and a NaN could not be averaged or recorded.

    Args:
        task: one of ``TASKS``; "mnli" is the matched set.
        predictions: one-dimensional, on the host. stsb: any real dtype, computed in float64. Other tasks: integer (or
            bool) class numbers, 0..2 for the two mnli tasks and 0..1 elsewhere. Floats are refused, not truncated.
        references: as predictions. GLUE marks the hidden labels of its test sets by -1; they are refused.

    Returns:
        The keys ``SCORES["glue/" + task]`` in that order, with plain Python floats.

    Raises:
        ValueError: unknown task, no examples, lengths that differ, a column that is not one-dimensional, class numbers
            of a wrong dtype or range, a stsb value that is not finite, hidden labels. One line each.
    """
    pred, ref = _columns(task, predictions, references)
    if task == "stsb":
        return correlations(pred, ref)
    if task == "cola":
        from sklearn.metrics import matthews_corrcoef

        # scikit-learn has 0.0 for a single class too, but may warn about its confusion matrix on the way.
        undefined = _constant(pred) or _constant(ref)
        return {"matthews_correlation": 0.0 if undefined else float(matthews_corrcoef(ref, pred))}
    scores = {"accuracy": float((pred == ref).mean())}
    if "f1" in SCORES[f"glue/{task}"]:
        from sklearn.metrics import f1_score

        scores["f1"] = float(f1_score(ref, pred, pos_label=1, average="binary", zero_division=0.0))
    return scores


def correlations(pred: np.ndarray, ref: np.ndarray) -> dict[str, float]:
    """``pearson`` and ``spearmanr`` (−1 to 1) of two columns (n,) of finite float64, 0.0 where one is constant."""
    import numpy as np
    from scipy import stats

    if _constant(pred) or _constant(ref):
        return {"pearson": 0.0, "spearmanr": 0.0}
    # Dividing by a power of two changes no digit of a correlation, and keeps sums of huge finite values from overflow.
    # Ranks need no such help, and would see ties where tiny values become zero.
    scaled_pred, scaled_ref = (np.ldexp(x, -np.frexp(np.abs(x).max())[1]) for x in (pred, ref))
    with warnings.catch_warnings():  # a nearly constant column has a score, if an ill-conditioned one
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        pearson = float(stats.pearsonr(scaled_pred, scaled_ref).statistic)
        return {"pearson": pearson, "spearmanr": float(stats.spearmanr(pred, ref).statistic)}


def _constant(column: np.ndarray) -> bool:
    return bool((column == column[0]).all())


def _columns(task: str, predictions: ArrayLike, references: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both columns checked, as int64 (stsb: float64); raises what ``glue_scores`` says."""
    if task not in TASKS:
        raise ValueError(f"unknown GLUE task {task!r}; valid: {', '.join(TASKS)}")
    pred, ref = _column(task, "predictions", predictions), _column(task, "references", references)
    if len(pred) != len(ref):
        raise ValueError(f"glue/{task}: {len(pred)} predictions but {len(ref)} references")
    if not len(pred):
        raise ValueError(f"glue/{task}: no examples to score")
    # STS-B scores lie in 0..5; a whole column of -1 would otherwise pass for a constant one and quietly score 0.0.
    if task == "stsb" and (ref == -1).all():
        raise ValueError("glue/stsb: every reference is -1, as in a test set with hidden labels")
    return pred, ref


def _column(task: str, role: str, values: ArrayLike) -> np.ndarray:
    import numpy as np

    column = np.asarray(values)
    where = f"glue/{task} {role}"
    if column.ndim != 1:
        raise ValueError(f"{where}: expected one dimension, got shape {column.shape}")
    # An empty list has the dtype float64, so the dtype of a column that holds nothing says nothing.
    if len(column) and column.dtype.kind not in ("biuf" if task == "stsb" else "biu"):
        raise ValueError(f"{where}: expected {'numbers' if task == 'stsb' else 'integers'}, got dtype {column.dtype}")
    if task == "stsb":
        column = column.astype(np.float64)
        good, wanted = np.isfinite(column), "a finite number"
    else:
        top = 2 if task.startswith("mnli") else 1
        column = column.astype(np.int64)
        good, wanted = (column >= 0) & (column <= top), f"a class in 0..{top} (-1 marks hidden test labels)"
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{where}: {column[row]} in row {row} is not {wanted}")
    return column

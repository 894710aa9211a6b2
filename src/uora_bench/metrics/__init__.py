"""Owns the list of metric names, the scores each one reports, and the lazy way to a metric object.

A name is "family/task". Each family is one module of this package that offers ``make(task)``; it is imported only when
``load`` is called, because importing ``evaluate`` takes seconds and most commands never score anything.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from uora_bench.errors import UserError

if TYPE_CHECKING:
    import evaluate

# The table lives here rather than in the family modules so that names can be checked, and the columns of a result
# known, without paying for their imports.
SCORES: dict[str, tuple[str, ...]] = {
    "e2e/e2e": ("bleu", "nist", "meteor", "rouge_l", "cider"),
    "glue/cola": ("matthews_correlation",),
    "glue/sst2": ("accuracy",),
    "glue/mrpc": ("accuracy", "f1"),
    "glue/stsb": ("pearson", "spearmanr"),
    "glue/qqp": ("accuracy", "f1"),
    "glue/mnli": ("accuracy",),
    "glue/mnli_mismatched": ("accuracy",),
    "glue/qnli": ("accuracy",),
    "glue/rte": ("accuracy",),
    "glue/wnli": ("accuracy",),
    "lm/likelihood": ("loss", "perplexity"),
    "vision/accuracy": ("accuracy",),
}

# printed as they are, whatever factor the primary score of their task is printed with
UNSCALED = frozenset({"nist", "cider", "loss", "perplexity"})


def load(name: str) -> evaluate.Metric:
    """Return a fresh metric object for a name such as "glue/mrpc"; nothing is downloaded.

    The object follows the ``evaluate.Metric`` interface (``add``, ``add_batch``, ``compute``), and its ``compute``
    returns exactly the keys ``SCORES[name]`` with plain float values; that of "e2e/e2e" leaves out a METEOR it cannot
    have, and its ``absent`` says why. Two objects never share state, so any number of them may be in use at once, in
    one process or in several.

    Raises:
        UserError: the name is not a key of ``SCORES``; the message, one line, gives the nearest name that is.
    """
    if name not in SCORES:
        # cutoff 0, unlike errors.nearest: a bare "rte" is far from "glue/rte" by ratio, yet that is what was meant.
        nearest = difflib.get_close_matches(str(name), SCORES, n=1, cutoff=0.0)[0]
        raise UserError(f"unknown metric {name!r}; did you mean {nearest!r}?")
    family, task = name.split("/", 1)
    return importlib.import_module(f"{__name__}.{family}").make(task)

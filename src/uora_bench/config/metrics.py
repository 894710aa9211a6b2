"""The names of the built-in metrics and the values that each one gives.

With this table a task's metric is checked, and the columns of a result are known, before any library is imported.
"""

from __future__ import annotations

from uora_bench.config.cell import MetricSpec
from uora_bench.errors import UserError, nearest

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
    "text/classes": ("accuracy", "macro_f1"),
    "text/regression": ("pearson", "spearmanr", "mse"),
    "text/choices": ("accuracy",),
    "qa/squad": ("exact_match", "f1"),
    "math/gsm8k": ("exact_match", "exact_match_last"),
    "answers/number": ("accuracy",),
    "answers/letter": ("accuracy",),
    "answers/word": ("accuracy",),
    "choices/likelihood": ("acc", "acc_norm"),
    "summarisation/rouge": ("rouge_1", "rouge_2", "rouge_l", "rouge_1_best", "rouge_2_best", "rouge_l_best"),
    "translation/corpus": ("bleu", "chrf"),  # and sacrebleu's signature, which is a text
    "text/generation": ("exact_match", "f1", "rouge_l", "bleu", "chrf"),
}
AUTO = "text/auto"  # one of text/…, by what is to be predicted; its primary value ``auto`` is then the first
_ANY = "auto"

# printed as they are, whatever factor the primary score of their task is printed with
UNSCALED = frozenset({"nist", "cider", "loss", "perplexity", "mse"})
_LOWER_IS_BETTER = frozenset({"loss", "perplexity", "mse"})


def check_metric(metric: MetricSpec) -> None:
    """Raise `UserError` for a built-in metric that there is not, or a primary value that it does not give.

    Any other name is one of `evaluate.load`, which only `uora_bench.metrics.load_metric` can look up.
    """
    name, primary = metric.name, metric.primary
    if name == AUTO:
        known = {value for other, values in SCORES.items() if other.startswith("text/") for value in values}
        if primary not in {_ANY, *known}:
            raise UserError(f"task.metric.primary: no '{primary}'{nearest(primary, known)}")
    elif primary == _ANY:
        raise UserError(f"task.metric.primary: name the value of {metric.public_name} that chooses and is printed")
    elif name in SCORES:
        if primary not in SCORES[name]:
            raise UserError(f"task.metric.primary: {name} has no '{primary}'{nearest(primary, SCORES[name])}")
        if metric.higher_is_better == (primary in _LOWER_IS_BETTER):
            right = str(not metric.higher_is_better).lower()
            raise UserError(f"task.metric.higher_is_better: for {primary} of {name} it is {right}; set it so")
    elif metric.script is None and name.split("/")[0] in {known.split("/")[0] for known in SCORES}:
        raise UserError(f"task.metric.name: no metric '{name}'{nearest(name, SCORES)}")


def settled(metric: MetricSpec, name: str) -> MetricSpec:
    """``metric``, or where it is `AUTO` the built-in one of that ``name`` with its direction and scale.

    Raises:
        UserError: when that does not give the primary value asked for.
    """
    if metric.name != AUTO:
        return metric
    primary = SCORES[name][0] if metric.primary == _ANY else metric.primary
    if primary not in SCORES[name]:
        raise UserError(f"task.metric.primary: {name} has no '{primary}'{nearest(primary, SCORES[name])}")
    scale = 1.0 if primary in UNSCALED else metric.scale
    return MetricSpec(name, primary, primary not in _LOWER_IS_BETTER, scale)


def higher_is_better(metric: MetricSpec, value: str) -> bool:
    """The direction of the value of that name; of one that nothing is known of, that more of it is better."""
    return metric.higher_is_better if value == metric.primary else value not in _LOWER_IS_BETTER


def check_value(metric: MetricSpec, value: str, higher: bool | None, where: str) -> None:
    """Raise `UserError` for a ``value`` that a built-in ``metric`` does not give, or a wrong direction ``higher``.

    ``where``: what names them, for the message. Of other metrics nothing is known.
    """
    if metric.name not in SCORES:
        return
    if value not in {metric.primary, *SCORES[metric.name]}:
        raise UserError(f"{where}: {metric.name} has no '{value}'{nearest(value, SCORES[metric.name])}")
    if higher is not None and higher == (value in _LOWER_IS_BETTER):
        raise UserError(f"{where}: higher_is_better of {value} is {str(not higher).lower()}; leave it out")


def scale_of(metric: MetricSpec, value: str) -> float:
    """What the value of that name is multiplied by where it is printed; another's value has the unit it came with."""
    if value == metric.primary:
        return metric.scale
    return metric.scale if metric.name in SCORES and value not in UNSCALED else 1.0

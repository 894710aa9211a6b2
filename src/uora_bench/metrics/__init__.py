"""Metrics: `load_metric` gives one by name, an object that is called as an `evaluate.Metric` is.

The built-in ones (`uora_bench.config.metrics`) are pure functions, one module per family, and import no `evaluate`,
which costs seconds; it is imported only for a metric that is not built in. docs/metrics/README.md has the measurement.
"""

from __future__ import annotations

import copy
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from uora_bench.config import plugins
from uora_bench.config.cell import MetricSpec
from uora_bench.config.metrics import SCORES
from uora_bench.errors import CellError, UserError, nearest


class Metric(Protocol):
    """What a task is scored by; every `evaluate.Metric` is one."""

    def compute(self, *, predictions: Any, references: Any) -> Any:
        """The values, by name, of columns of equal length: one prediction and one reference per example."""


@dataclass(frozen=True)
class BuiltIn:
    """A function ``scores``, built in or a plug-in's, under the interface of `evaluate.Metric`."""

    scores: Callable[..., dict[str, Any]]

    def compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        """The values by name, as the function behind this metric computes them."""
        return self.scores(predictions, references, **options)


def load_metric(name: str) -> Metric:
    """The metric called ``name``: built in (a key of ``SCORES``), of a plug-in, or what `evaluate.load` finds.

    A plug-in's is ``metrics/<name>.py`` with a function ``compute``. `evaluate.load` finds a file (``./my_metric.py``),
    a folder with a file of its own name (``./my_metric``), or a metric of the Hub (``accuracy``), which without a
    network must be in the cache of `evaluate`. A built-in metric gives plain floats under the keys ``SCORES[name]``,
    that of translations sacrebleu's ``signature`` too; that of "e2e/e2e" leaves out a METEOR it cannot have and names
    the reason under ``absent``.

    Raises:
        UserError: there is no such metric, it cannot be loaded, or it wants more than predictions and references.
    """
    family, _, task = name.partition("/")
    if name not in SCORES:
        plugin = plugins.owner("metrics", name)
        return _foreign(name) if plugin is None else _of_plugin(plugin, name)
    if family == "glue":
        from uora_bench.metrics.glue import glue_scores

        return BuiltIn(partial(glue_scores, task))
    if family == "e2e":
        from uora_bench.metrics.e2e import e2e_scores

        return BuiltIn(e2e_scores)
    if family == "lm":
        from uora_bench.metrics.lm import likelihood_scores

        return BuiltIn(likelihood_scores)
    if family == "text":
        from uora_bench.metrics import text

        made = {"classes": text.class_scores, "choices": text.choice_scores, "regression": text.regression_scores}
        return BuiltIn({**made, "generation": text.generation_scores}[task])
    if family == "choices":
        from uora_bench.metrics.choices import likelihood_choice_scores

        return BuiltIn(likelihood_choice_scores)
    if family == "summarisation":
        from uora_bench.metrics.summaries import rouge_scores

        return BuiltIn(rouge_scores)
    if family == "translation":
        from uora_bench.metrics.translation import translation_scores

        return BuiltIn(translation_scores)
    if family == "vision":
        from uora_bench.metrics.vision import accuracy

        return BuiltIn(accuracy)
    from uora_bench.metrics import answers

    return BuiltIn(
        {
            "qa/squad": answers.squad_scores,
            "math/gsm8k": answers.gsm8k_scores,
            "answers/number": answers.number_scores,
            "answers/letter": answers.letter_scores,
            "answers/word": answers.word_scores,
        }[name]
    )


def lacking(name: str) -> dict[str, str]:
    """The values of the metric ``name`` that this machine cannot compute, each with the reason.

    Nothing is loaded. Only METEOR of "e2e/e2e" needs more than packages of the suite.
    """
    if name == "e2e/e2e":
        from uora_bench.metrics.meteor import MeteorError, find

        try:
            find()
        except MeteorError as reason:
            return {"meteor": str(reason)}
    return {}


def _of_plugin(plugin: plugins.Plugin, name: str) -> Metric:
    compute = getattr(plugin.load("metrics", name), "compute", None)
    if not callable(compute):
        raise UserError(
            f"task.metric.name: metrics/{name}.py of plug-in '{plugin.name}' has no function "
            "compute(predictions, references)"
        )

    def scores(predictions: Any, references: Any) -> Any:
        # copies: the references are those of all epochs, and a function of somebody else's may sort them in place
        return compute(predictions=copy.deepcopy(predictions), references=copy.deepcopy(references))

    return BuiltIn(scores)


def _foreign(name: str) -> Metric:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")  # read when `evaluate` is imported
    import evaluate

    script = MetricSpec(name, "").script
    if script is None and (Path(name) / f"{Path(name).name}.py").is_file():  # `evaluate.load` would take it first
        raise UserError(f"task.metric.name: '{name}' is a folder here, too; write './{name}' if it is meant")
    # in memory under an id of its own and with a seed: no file that two processes share, no number that a draw decides
    options: dict[str, Any] = {"keep_in_memory": True, "experiment_id": uuid.uuid4().hex, "seed": 0}
    try:
        metric = evaluate.load(name if script is None else str(script), **options)
    except (Exception, SystemExit) as error:
        if script is None and isinstance(error, FileNotFoundError):
            ours = [p.stem for plugin in plugins.active() for p in (plugin.folder / "metrics").glob("[!_]*.py")]
            near = nearest(name, ours) if ours else ""
            hint = near if "did you mean" in near else nearest(name if "/" in name else f"glue/{name}", SCORES)
            raise UserError(
                f"task.metric.name: no metric '{name}' built in, in a plug-in, in the cache or on the Hub{hint}"
            ) from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if script is not None and "'NoneType' object is not callable" in reason:  # what `evaluate` says then
            reason = "it defines no evaluate.Metric; a plain function compute belongs into a plug-in's metrics/"
        raise UserError(f"task.metric.name: '{name}' cannot be loaded: {reason}") from error
    features = metric.features if isinstance(metric.features, list) else [metric.features]
    if set(features[0]) != {"predictions", "references"}:
        raise UserError(
            f"task.metric.name: '{name}' is computed from {', '.join(features[0])}; a task has predictions and "
            "references only"
        )
    return metric


def checked_scores(metric: MetricSpec, found: Any) -> dict[str, Any]:
    """What a metric gave, as a record holds it: plain values, and under ``absent`` the reason of each one without.

    Raises:
        UserError: the primary value is not among them, or is no number.
        CellError: the primary value is not finite.
    """
    if not isinstance(found, Mapping):
        raise UserError(f"task.metric.name: '{metric.name}' gave a {type(found).__name__}, not values by name")
    values = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}  # of numpy
    known = values.get("absent")
    absent: dict[str, str] = (
        {_printable(k): _printable(v) for k, v in known.items()} if isinstance(known, Mapping) else {}
    )
    primary = values.get(metric.primary)
    if isinstance(primary, float) and not math.isfinite(primary * metric.scale):
        raise CellError(f"task.metric.primary: {metric.name} gave {primary} for '{metric.primary}'")
    if not _is_number(primary):
        reason = f" ({absent[metric.primary]})" if metric.primary in absent else ""
        numbers = ", ".join(_printable(n) for n, value in values.items() if _is_number(value)) or "none"
        raise UserError(
            f"task.metric.primary: {metric.name} gave no number '{metric.primary}'{reason}; those it gave: {numbers}"
        )
    scores: dict[str, Any] = {}
    for name, value in values.items():
        try:
            json.dumps([name, value], allow_nan=False, ensure_ascii=False).encode()
            if not isinstance(name, str):
                raise TypeError
            scores[name] = value
        except (TypeError, ValueError):  # not JSON, or text that is not Unicode
            absent[_printable(name)] = f"no value that a record can hold: {_printable(value)}"
    return {**scores, "absent": absent} if absent else scores


def _printable(value: Any) -> str:
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()[:150]
    except ValueError:
        return "a number of too many digits"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""`SearchSpec`: ``search:`` of an experiment, which makes its cells the trials of a search; and points of a range.

A search is a grid like any other: lists of values multiply, and a range (``{log_uniform: [1e-4, 1e-1]}``) gives as many
points as the search has trials. So its trials are planned, launched, resumed and recorded as cells are.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from uora_bench.errors import UserError
from uora_bench.grid.table_spec import Rule

RANGES = ("uniform", "log_uniform")
_MOST = 10_000  # trials of a row: every one is a cell
_NO_SETTINGS = ("task", "seed")  # lists that make no other trials
_DIGITS = 3  # of a drawn value: what a recipe prints, and the same on every machine


@dataclass(frozen=True)
class SearchSpec:
    """A search.

    ``trials``: of every row on every task; ``row``: the keys that tell rows apart, everything else that varies is
    searched; ``unequal``: why rows have other numbers of trials (without it they are refused); ``sampler`` and
    ``seed``: how points of ranges are drawn; ``rule``: whose epoch is scored; ``choose``: the best trial, or the one of
    the smallest values among those ``within`` so many points of it; ``steps``: most training steps of one row on one
    task, all trials together; ``recipe``: the choice of method m is recipe m/<recipe> (the search's name where None);
    ``{key}`` in it stands for the row's value of that key.
    """

    trials: Annotated[int, Ge(1), Le(_MOST)]
    row: tuple[str, ...] = ("method", "backbone")
    unequal: str = ""
    sampler: Literal["random", "latin_hypercube"] = "latin_hypercube"
    seed: Annotated[int, Ge(0)] = 0
    rule: Rule = "last"
    choose: Literal["best", "smallest_within"] = "best"
    within: Annotated[float, Gt(0)] = 1.0
    steps: Annotated[int, Ge(1)] | None = None
    recipe: str | None = None


def is_range(value: Any) -> bool:
    """Whether ``value`` of an axis is a range rather than a value."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in RANGES


def combinations(axes: Mapping[str, list[Any]], search: SearchSpec | None) -> Iterator[dict[str, Any]]:
    """Every combination of the values of ``axes``, with every point of its ranges.

    Raises:
        UserError: for a range outside a search, beside other values of its key, or without two ends.
    """
    for key, near in _misspelt(axes) if search is not None else ():
        raise UserError(f"{key}: there is no such range; did you mean '{near}'?")
    ranges = {key: values[0] for key, values in axes.items() if any(is_range(v) for v in values)}
    for key in ranges:
        if search is None:
            raise UserError(
                f"{key}: {dict(ranges[key])} is a range, which only an experiment with `search:` draws from"
            )
        if len(axes[key]) > 1:
            raise UserError(f"{key}: give one range or a list of values, not both")
    lists = {key: values for key, values in axes.items() if key not in ranges}
    points = _points(ranges, search, _beside(lists, search)) if search is not None and ranges else [{}]
    for values in itertools.product(*lists.values()):
        for point in points:
            yield {**dict(zip(lists, values, strict=True)), **point}


def _misspelt(axes: Mapping[str, list[Any]]) -> Iterator[tuple[str, str]]:
    """The keys whose values look like ranges of another name, and what that is near to."""
    for key, values in axes.items():
        names = [next(iter(one)) for one in values if isinstance(one, Mapping) and len(one) == 1 and not is_range(one)]
        yield from ((key, near[0]) for name in names if (near := get_close_matches(name, RANGES, cutoff=0.8)))


def _beside(lists: Mapping[str, list[Any]], search: SearchSpec) -> int:
    """How many settings of searched lists every point of the ranges is tried with."""
    searched = [len(values) for key, values in lists.items() if key not in (*search.row, *_NO_SETTINGS)]
    settings = math.prod(searched)
    if search.trials % settings:
        raise UserError(
            f"search.trials is {search.trials}, and its lists of values give {settings} settings beside each point of "
            f"a range; make it a multiple of {settings}"
        )
    return settings


def _points(ranges: Mapping[str, Mapping[str, Any]], search: SearchSpec, settings: int) -> list[dict[str, Any]]:
    """``search.trials`` points, fewer where each is tried with several ``settings``.

    All rows of a search that have the same ranges have the same points of the unit cube, each in its own.
    """
    import numpy as np

    generator, count = np.random.default_rng(search.seed), search.trials // settings
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for key in sorted(ranges):
        kind, (low, high) = next(iter(ranges[key].items()))[0], _ends(key, ranges[key])
        shares = generator.random(count)
        if search.sampler == "latin_hypercube":  # one point in each of as many equal parts (McKay et al. 1979)
            shares = (generator.permutation(count) + shares) / count
        for point, share in zip(found, shares, strict=True):
            value = low * (high / low) ** share if kind == "log_uniform" else low + (high - low) * share
            point[key] = float(f"{value:.{_DIGITS}g}")
    return found


def _ends(key: str, given: Mapping[str, Any]) -> tuple[float, float]:
    kind, ends = next(iter(given.items()))
    low, high = 0.0, 0.0
    if isinstance(ends, (list, tuple)) and len(ends) == 2 and not any(isinstance(end, bool) for end in ends):
        with contextlib.suppress(TypeError, ValueError):
            low, high = (float(end) for end in ends)  # YAML takes 1e-4 for text
    reach = high / low if kind == "log_uniform" and low > 0 else high - low
    if not low < high or not math.isfinite(reach) or (kind == "log_uniform" and low <= 0):
        above = " above 0" if kind == "log_uniform" else ""
        raise UserError(f"{key}: write a range as {{{kind}: [low, high]}}, two numbers{above}, the lower one first")
    return low, high

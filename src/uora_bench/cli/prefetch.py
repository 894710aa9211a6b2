"""``uora-bench prefetch experiment=NAME data.root=<folder>`` (or ``task=… backbone=…``): data and models for later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from uora_bench.data.prefetch import needs

_CHECKS = ("false", "true", "full")


def _act(given: Given) -> int:
    from uora_bench.config import synonyms
    from uora_bench.data.prefetch import prefetch

    check = (given.every("check") or ["false"])[-1]
    if check not in _CHECKS:
        raise UserError(f"check={check} must be true (names and sizes) or full (sha256){nearest(check, _CHECKS)}")
    request = _needs(synonyms.canonical_once(given.passed))
    return prefetch(request) if check == "false" else _report(request, check == "full")


def _report(request: needs.PrefetchRequest, full: bool) -> int:
    from uora_bench.data import offline

    manifest = offline.Manifest.read(request.root)
    found = [p for need in request.needs for p in need.problems(manifest, full)]
    for problem in found:
        print(f"{problem}; fetch it: {request.command}")
    if not found:
        print(f"complete: '{request.root}' has all that {request.label} needs")
    return 1 if found else 0


def _needs(words: list[str]) -> needs.PrefetchRequest:
    """What the grid (``experiment=…``) or the cell that ``words`` describe needs."""
    from uora_bench.data.prefetch import needs

    if any(word.startswith("experiment=") for word in words):
        from uora_bench.grid.expand import expand

        cells = [(i.cell, i.settings) for i in expand(words).items if i.cell is not None and i.settings is not None]
        return needs.needs_of(cells, words)
    from uora_bench.config.compose import compose
    from uora_bench.config.preflight import preflight

    composed = compose(words)
    preflight(composed.cell, library=False)
    return needs.needs_of([(composed.cell, composed.settings)], words)


COMMAND = Command(
    "prefetch",
    "fetch data and models for machines without a network",
    _act,
    "run the same command again to resume",
    keys=(Key("check", "fetch nothing, say what is missing; full: every sha256", shown="true|full", flag=True),),
    passed=(keys.DATA_ROOT, keys.EXPERIMENT, *keys.CELL, keys.ANY),
    lists=("experiment",),
    examples=(
        "prefetch experiment=uora_glue data.root=data",
        "prefetch task=glue/rte backbone=roberta_base data.root=data",
    ),
    codes={1: "something is missing (check)"},
    prints=False,
)

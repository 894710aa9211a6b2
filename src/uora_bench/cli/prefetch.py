"""``uora-bench prefetch experiment=NAME data.root=<folder>`` (or ``task=… backbone=…``): data and models for later."""

from __future__ import annotations

import sys

from uora_bench.cli import exits
from uora_bench.data import offline
from uora_bench.data.prefetch import needs, prefetch
from uora_bench.data.prefetch.check import problems
from uora_bench.errors import UserError

_CHECKS = {"--check": False, "--check=full": True}


def main(words: list[str] | None = None) -> int:
    """Fetch, or check, what ``words`` describe. Returns the exit code: 0 done or complete, 1 something is missing (only
    with ``--check``), 2 the user's mistake or nothing to be had."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "the same command goes on where it stopped")


def _main(words: list[str]) -> int:
    checks = [word for word in words if word.startswith("--check")]
    if unknown := [check for check in checks if check not in _CHECKS]:
        raise UserError(f"unknown option '{unknown[0]}'; it is --check (names and sizes) or --check=full (sha256)")
    request = _needs([word for word in words if word not in checks])
    if checks:
        return _report(request, any(_CHECKS[check] for check in checks))
    return prefetch(request)


def _report(request: needs.Request, full: bool) -> int:
    manifest = offline.Manifest.read(request.root)
    found = [p for need in request.needs for p in problems(need, manifest, full)]
    for problem in found:
        print(f"{problem}; fetch it: {request.command}")
    if not found:
        print(f"complete: '{request.root}' has all that {request.label} needs")
    return 1 if found else 0


def _needs(words: list[str]) -> needs.Request:
    """What the grid (``experiment=…``) or the cell that ``words`` describe needs."""
    if any(word.startswith("experiment=") for word in words):
        from uora_bench.grid.expand import expand

        cells = [(i.cell, i.settings) for i in expand(words).items if i.cell is not None and i.settings is not None]
        return needs.needs_of(cells, words)
    from uora_bench.config.compose import compose
    from uora_bench.config.preflight import preflight

    composed = compose(words)
    preflight(composed.cell, library=False)
    return needs.needs_of([(composed.cell, composed.settings)], words)

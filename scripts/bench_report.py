"""results/bench/README.md: every result of ``make bench`` as a table, with its setting and where it was measured.

    python scripts/bench_report.py results/bench

A case of a result is a row, its numbers are columns; what has only counts is left out. A ratio is shown with what was
written beside it: the quartiles, or the least and the most.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
ABOUT_IT = {"setting", "provenance", "runs", "words"}  # what is said above the table, and what single runs gave
SPREADS = (("{}_q25", "{}_q75"), ("{}_lowest", "{}_highest"))
MADE_ELSEWHERE = "simulated_"  # results of simulations, which docs/statistics.md and docs/searches.md explain
HEAD = """# Speed, as measured

Made by `make bench` from the files here. [docs/speed.md](../../docs/speed.md) says what they mean. A ratio is a median
over rounds in which all cases took turns, with its quartiles, or its least and most, in brackets. Seconds of two files
cannot be compared: the machines differ, and so does what else they did.
"""


def script_of(result: str) -> Path:
    """The script that makes the result of this name: the longest one whose name it begins with."""
    known = sorted(SCRIPTS.glob("bench_*.py"), key=lambda path: -len(path.stem))
    return next(path for path in known if result.startswith(path.stem.removeprefix("bench_")))


def first_sentence(script: Path) -> str:
    """What a script says of itself."""
    return (ast.get_docstring(ast.parse(script.read_text("utf-8"))) or "").split("\n\n")[0].replace("\n", " ")


def number(name: str, value: Any) -> str:
    """A number of the column ``name``: bytes in GB, the rest in four digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value / 1e9:.2f} GB"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def with_spread(name: str, numbers: Mapping[str, Any]) -> str:
    """The value of ``name`` with the two numbers beside it that say how it is spread."""
    for low, high in SPREADS:
        if low.format(name) in numbers:
            return f"{numbers[name]:.2f} ({numbers[low.format(name)]:.2f} – {numbers[high.format(name)]:.2f})"
    return number(name, numbers[name])


def is_spread(value: Any) -> bool:
    """Whether ``value`` is a median with its least and most."""
    return isinstance(value, dict) and set(value) == {"median", "least", "most"}


def columns(node: Mapping[str, Any]) -> dict[str, str]:
    """What one case has of its own, by column."""
    besides = {side.format(name) for name in node for pair in SPREADS for side in pair}
    own = {}
    for name, value in node.items():
        if is_spread(value):
            own[name] = f"{value['median']:.2f} ({value['least']:.2f} – {value['most']:.2f})"
        elif name not in besides and name not in ABOUT_IT and not isinstance(value, (dict, list)):
            own[name] = with_spread(name, node)
    return own


def rows(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Each case below ``node``: its name, and its numbers by column."""
    if isinstance(node, list):
        for one in node:
            yield from rows(one, path) if isinstance(one, dict) else ()
    elif isinstance(node, dict) and not is_spread(node):
        own = columns(node)
        if any(isinstance(node[name], float) or is_spread(node[name]) for name in own):  # something was measured
            yield " ".join(path) or "–", own
        for name, child in node.items():
            if name not in ABOUT_IT:
                yield from rows(child, path if name in ("cases", "cells", "layers") else (*path, name))


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """One table for all cases in a row that have the same columns."""
    at: list[str] | None = None
    for name, own in rows(result):
        if list(own) != at:
            at = list(own)
            yield f"\n| case | {' | '.join(word.replace('_', ' ') for word in at)} |\n| --- |{' ---: |' * len(at)}\n"
        yield f"| {name} | {' | '.join(own.values())} |\n"


def where(provenance: Mapping[str, Any]) -> str:
    """The machine, the versions and the commit of a result."""
    hardware, versions, commit = provenance["hardware"], provenance["versions"], provenance["git"]["commit"]
    used = f"{hardware['processor']}, {hardware['cores']} cores"
    taken = f"torch {versions['torch']}, transformers {versions['transformers']}"
    return f"{used}; {taken}; commit {commit[:12] if commit else 'not known'}"


def page(folder: Path) -> str:
    """The whole page, of the results in ``folder``."""
    parts = [HEAD]
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith(MADE_ELSEWHERE):
            continue
        result = json.loads(path.read_text("utf-8"))
        script = script_of(path.stem)
        setting = ", ".join(f"{k} {v}" for k, v in result.get("setting", {}).items() if not isinstance(v, list))
        said = [
            first_sentence(script),
            f"Measured on {where(result['provenance'])}.",
            f"Setting: {setting}." if setting else "",
        ]
        parts.append(f"\n## {path.stem}\n\n`scripts/{script.name}` → `{path.name}`. {' '.join(filter(None, said))}\n")
        parts += tables(result)
    return "".join(parts)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("give the folder of the results: python scripts/bench_report.py results/bench")
    (Path(sys.argv[1]) / "README.md").write_text(page(Path(sys.argv[1])), encoding="utf-8")

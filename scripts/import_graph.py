"""The layers of uora_bench, sizes of its packages, the arrows between them, and circles; exit code 1 on a circle.

Reads every import of every module, those inside functions and those for type checkers too.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import grimp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "uora_bench"
Arrow = tuple[str, str]  # importer, imported


def read() -> grimp.ImportGraph:
    """The imports among the modules of the package."""
    return grimp.build_graph(PACKAGE, cache_dir=None)


def layers() -> list[list[str]]:
    """The layers of pyproject.toml, the highest first, each with its independent packages."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = (c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def arrows(graph: grimp.ImportGraph) -> set[Arrow]:
    """Every import of one module by another."""
    return {(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)}


def package(module: str) -> str:
    """The first-level package of a module, or the module itself at the root."""
    return ".".join(module.split(".")[:2])


def folder(graph: grimp.ImportGraph) -> Callable[[str], str]:
    """A function from a module to the folder it lies in, sub-packages apart; at the root the module itself."""
    packages = {module for module in graph.modules if graph.find_children(module)}

    def of(module: str) -> str:
        return module if module in packages or module.count(".") < 2 else module.rpartition(".")[0]

    return of


def between(found: Iterable[Arrow], group: Callable[[str], str]) -> Counter[Arrow]:
    """How many imports lead from one group of modules to another."""
    pairs = ((group(one), group(other)) for one, other in found)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def circles(found: Iterable[Arrow]) -> list[list[str]]:
    """Sets of names each of which leads to each other one of its set."""
    found = list(found)
    names = sorted({name for arrow in found for name in arrow})
    at = {name: i for i, name in enumerate(names)}
    rows, columns = [at[one] for one, _ in found], [at[other] for _, other in found]
    matrix = csr_array(([True] * len(found), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(matrix, connection="strong")
    sets = [[name for name in names if labels[at[name]] == label] for label in range(max(labels, default=-1) + 1)]
    return [one for one in sets if len(one) > 1]


def fewest(found: Iterable[Arrow], group: Callable[[str], str]) -> list[Arrow]:
    """Of groups that import each other, the imports in the direction that has fewer; of others, all."""
    found = sorted(arrow for arrow in found if group(arrow[0]) != group(arrow[1]))
    counts = between(found, group)
    both = [arrow for arrow in found if (group(arrow[1]), group(arrow[0])) in counts]
    return [
        (one, two) for one, two in both or found if counts[group(one), group(two)] <= counts[group(two), group(one)]
    ] or found


def every_circle(graph: grimp.ImportGraph) -> dict[str, list[str]]:
    """What the circles are of (files, packages, sub-packages) -> each circle, with the imports to remove first."""
    found = arrows(graph)
    made = {"files": [" ↔ ".join(circle) for circle in circles(found)]}
    for kind, group in (("packages", package), ("sub-packages", folder(graph))):
        made[kind] = []
        for circle in circles(between(found, group)):
            inside = fewest((a for a in found if {group(a[0]), group(a[1])} <= set(circle)), group)
            made[kind].append("\n      ".join([" ↔ ".join(circle), *(f"{one} → {two}" for one, two in inside)]))
    return made


def short(name: str) -> str:
    return name.removeprefix(f"{PACKAGE}.")


def main() -> int:
    graph, order = read(), layers()
    files: Counter[str] = Counter(short(package(module)) for module in graph.modules)
    lines: Counter[str] = Counter()
    for path in (ROOT / "src" / PACKAGE).rglob("*.py"):
        inside = path.relative_to(ROOT / "src" / PACKAGE)
        lines[inside.parts[0].removesuffix(".py")] += len(path.read_text("utf-8").splitlines())
    print("layers, the highest first: modules, lines")
    for layer in order:
        print("  " + " | ".join(f"{name} {files[name]}, {lines[name]:,}" for name in layer))
    print(f"  all {files.total()}, {lines.total():,}")
    print("\nimports between packages")
    rank = {name: i for i, layer in enumerate(order) for name in layer}
    counts = {(short(one), short(two)): n for (one, two), n in between(arrows(graph), package).items()}
    for (one, two), count in sorted(counts.items(), key=lambda entry: (rank.get(entry[0][0], -1), entry)):
        against = one in rank and two in rank and rank[one] >= rank[two]
        print(f"  {one} → {two} {count}{'  (against the layers)' if against else ''}")
    print("\ncircles")
    found = every_circle(graph)
    for kind, those in found.items():
        print("\n    ".join([f"  of {kind}: {len(those) or 'none'}", *those]))
    return int(any(found.values()))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    from uora_bench.util import streams

    streams.guard()  # … | head
    sys.exit(main())

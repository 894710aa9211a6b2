"""Writes results/paper/*.csv, a file per paper, from a collected list of published numbers.

    python scripts/published.py ../shared/papers/reference_results.csv [--out results/paper]

The list has the columns of `uora_bench.report.published`; every row must have a source. Rows keep their order and text.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from uora_bench.cli import exits  # noqa: E402
from uora_bench.report import published  # noqa: E402
from uora_bench.util import atomic  # noqa: E402


def files(source: Path) -> dict[str, str]:
    """File name -> content, by the paper of each row of ``source``; raises as `published.read_published_file`."""
    published.read_published_file(source)  # says what is wrong with a row
    with open(source, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    papers: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        papers.setdefault(name(row["paper"]), []).append(row)
    return {f"{paper}.csv": _text(own) for paper, own in sorted(papers.items())}


def name(paper: str) -> str:
    """``VB-LoRA (secondary)`` -> ``vb_lora``."""
    return re.sub(r"[^a-z0-9]+", "_", paper.replace("(secondary)", "").strip().lower()).strip("_")


def _text(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, published.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "paper")
    given = parser.parse_args()
    for file, text in files(given.source).items():
        given.out.mkdir(parents=True, exist_ok=True)
        atomic.write_text(given.out / file, text)
        print(f"{given.out / file}: {text.count(chr(10)) - 1} numbers")
    return 0


if __name__ == "__main__":
    sys.exit(exits.run(main, "run the script again"))

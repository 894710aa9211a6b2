"""``uora-bench page``: results/report/index.html, tables, figures and a page per cell in one file.

The file loads nothing: style, script, data and figures are inside it. It says only what records and the papers' CSV
files say, so that the same records give the same bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.grid.table_spec import Rule
from uora_bench.report import write
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.util import atomic
from uora_bench.util.words import count

NO_FIGURES = "No figures: matplotlib is not installed (pip install 'uora_bench[figures]')"


def command(wanted: list[str], results: Path, rule: Rule | None, kinds: Sequence[RecordKind] = ()) -> int:
    """Write ``results``/report/index.html of the experiments ``wanted`` (none: of all).

    ``kinds``: of records other than trained cells; no page has them.

    Raises:
        UserError: for an unknown experiment, or a folder without any record.
    """
    from uora_bench.report.page import render

    names = _names(wanted, results, kinds)
    figures = importlib.util.find_spec("matplotlib") is not None
    page = render.build(names, results, write.published_library(), rule, figures, "" if figures else NO_FIGURES)
    path = results / "report" / "index.html"
    atomic.write_text(path, page.html)
    if not figures:
        print(NO_FIGURES)
    size = len(page.html.encode("utf-8"))
    counted = ((len(names), "experiment"), (page.records, "record"), (page.figures, "figure"))
    what = ", ".join(count(number, noun) for number, noun in counted)
    print(f"{path}: {what}, {size / 1e6:.2f} MB")
    return 0


def _names(wanted: list[str], results: Path, kinds: Sequence[RecordKind]) -> list[str]:
    root = results / "records"
    if not any(root.glob("*/*.json")):
        raise write.nothing_recorded(results)
    for name in wanted:
        if owner(name, kinds) is not None:
            raise UserError(f"the page has cells that were trained; '{name}' is in the tables and figures")
    return list(dict.fromkeys(wanted)) or write.experiments(results, kinds)

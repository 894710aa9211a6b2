"""What the documentation site shows beside docs/: results and notes of the repository, and links between all of them.

Pages keep the links that work in a checkout (`../results/README.md`). For the site, a link to one of its pages is
pointed at it, and a link to a file that is not part of the site becomes the path of that file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
# files outside docs/ that are pages or pictures of the site, under their own paths
OUTSIDE = (
    "results/README.md", "results/bench/README.md", "results/paper/README.md", "results/tables/*.md",
    "results/figures/*.svg", "CHANGELOG.md", "CONTRIBUTING.md",
)  # fmt: skip
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# <!-- table: name | column | column -->: these columns of the first table of results/tables/<name>.md
_TABLE = re.compile(r"^<!-- table: (\w+) \| (.+) -->$", re.MULTILINE)


def outside() -> dict[str, Path]:
    """Path in the site -> file, of everything in `OUTSIDE`."""
    found = (path for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern)))
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def with_tables(markdown: str) -> str:
    """``markdown`` with tables of results in the place of their markers.

    Raises:
        ValueError: for a table or a column that is not there.
    """
    return _TABLE.sub(lambda match: first_table(match[1], [one.strip() for one in match[2].split("|")]), markdown)


def first_table(name: str, columns: list[str]) -> str:
    """The title and the named columns of the first table of results/tables/<name>.md, without footnote marks."""
    text = (ROOT / "results" / "tables" / f"{name}.md").read_text("utf-8")
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"results/tables/{name}.md has no table")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[0].splitlines()]
    places = [rows[0].index(column) for column in columns]
    lines = ["| " + " | ".join(re.sub(r"<sup>.*?</sup>", "", row[i]) for i in places) + " |" for row in rows]
    title = text.partition("\n")[0].lstrip("# ")
    return "\n".join([f"**{title}**", "", *lines])


def with_links(markdown: str, source: str, known: Collection[str]) -> str:
    """``markdown`` of the page ``source`` (its path in the site) with links for the site.

    ``known``: paths of the site's files. Code blocks and links to other servers stay; so does a link to what does not
    exist, which the strict build reports.
    """
    folder = PurePosixPath("" if source in outside() else "docs") / PurePosixPath(source).parent

    def replaced(match: re.Match[str]) -> str:
        picture, text, link = match.groups()
        name, _, anchor = link.partition("#")
        if not name or re.match(r"[a-z]+:", name):
            return match[0]
        target = PurePosixPath(os.path.normpath(folder / name))
        inside = target.relative_to("docs") if target.is_relative_to("docs") else target
        for one in (inside, inside / "README.md"):
            if one.as_posix() in known:
                new = os.path.relpath(one, PurePosixPath(source).parent)
                return f"{picture}[{text}]({new}{'#' + anchor if anchor else ''})"
        if not (ROOT / target).exists():
            return match[0]
        return text if str(target) in text else f"{text} (`{target}`)"

    parts = _FENCE.split(markdown)
    return "".join(part if index % 2 else _LINK.sub(replaced, part) for index, part in enumerate(parts))

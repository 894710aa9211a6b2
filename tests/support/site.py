"""The documentation site without MkDocs: its navigation, and the pages that it will have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.paths import ROOT
from tests.support.scripts import script


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose one Python object (how headings become anchors) is not needed."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def configuration() -> dict[str, Any]:
    """mkdocs.yml."""
    return yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), _Loader)


def navigation() -> list[str]:
    """The pages of the navigation, in order."""
    return list(_pages(configuration()["nav"]))


def _pages(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for one in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(one)


def pages() -> dict[str, str]:
    """Path in the site -> Markdown, of every page: those of docs/, the generated ones, and those beside docs/."""
    docs = ROOT / "docs"
    found = {path.relative_to(docs).as_posix(): path.read_text("utf-8") for path in sorted(docs.rglob("*.md"))}
    made = script("build_reference").pages()
    beside = {
        name: path.read_text("utf-8") for name, path in script("site_pages").outside().items() if name.endswith("md")
    }
    return found | {name: text for name, text in made.items() if name.endswith(".md")} | beside

"""What MkDocs calls while it builds the site (`hooks:` in mkdocs.yml)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build_reference
import site_pages
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages and those outside docs/."""
    for name, text in build_reference.pages().items():
        files.append(File.generated(config, name, content=text))
    for name, path in site_pages.outside().items():
        content = path.read_text("utf-8") if path.suffix == ".md" else path.read_bytes()
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put tables of results in their places, and point links at the pages of the site."""
    known = {file.src_uri for file in files}
    return site_pages.with_links(site_pages.with_tables(markdown), page.file.src_uri, known)

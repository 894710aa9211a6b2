"""The documentation site: every page can be reached, links lead somewhere, and error messages on it are real ones."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
import yaml

import uora_bench
from tests.support import site
from tests.support.paths import ROOT
from tests.support.scripts import script
from uora_bench.cli import main as cli
from uora_bench.config import registry
from uora_bench.config.compose import compose

PAGES = site.pages()
# pages that no entry of the navigation names, and the page that links to all of them
LINKED = {"results/tables/": "results/tables/README.md"}


def test_every_page_is_in_the_navigation_or_linked_from_a_page_that_is() -> None:
    named = site.navigation()
    assert len(named) == len(set(named)) > 60
    assert [page for page in named if page not in PAGES] == []
    left = sorted(set(PAGES) - set(named))
    for folder, page in LINKED.items():
        assert page in named
        links = {folder + link for link in re.findall(r"\]\(([^)#]+)", PAGES[page])}
        left = [one for one in left if one not in links]
    assert left == []


def test_links_for_the_site_lead_to_its_pages() -> None:
    """In pages of docs/ and beside it; code blocks, other servers and files outside the site are left alone."""
    known = {*PAGES, "reference/record.schema.json", *script("site_pages").outside()}
    change = script("site_pages").with_links
    assert change("[a](../results/README.md#x)", "tables.md", known) == "[a](results/README.md#x)"
    assert change("[a](../docs/speed.md)", "results/README.md", known) == "[a](../speed.md)"
    assert change("[a](../configs/config.yaml)", "tables.md", known) == "a (`configs/config.yaml`)"
    assert change("![a](../../results/figures/theory_risk_gamma.svg)", "methods/uora.md", known).startswith(
        "![a](../res"
    )
    for same in ("[a](missing.md)", "[a](https://x.org/../y)", "[a](#b)", "```\n[a](../results/README.md)\n```"):
        assert change(same, "tables.md", known) == same


def test_the_table_on_the_first_page_is_the_committed_one() -> None:
    made = script("site_pages").with_tables(PAGES["index.md"])
    assert "<!-- table" not in made
    committed = (ROOT / "results" / "tables" / "minilm_glue.md").read_text("utf-8")
    vera = next(line for line in made.splitlines() if line.startswith("| VeRA |"))
    assert all(cell in committed for cell in vera.split(" | ")[1:-1])
    with pytest.raises(ValueError, match="is not in list"):
        script("site_pages").first_table("minilm_glue", ["no such column"])


@pytest.mark.parametrize("page", ["index.md", "start.md", "reproduce.md"])
def test_commands_on_the_first_pages_can_be_read(page: str) -> None:
    """By the command's own table of keys, or as a cell."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    typed = [words[1:] for words in lines if words[:1] == ["uora-bench"]]
    assert len(typed) >= 2
    for words in typed:
        for word in words:
            if word.startswith("experiment="):
                registry.check_choice("experiment", word.partition("=")[2])
        if words[0] in cli.MODULES:
            cli.load_command(words[0]).read(words[1:])
        else:
            compose(words)


def test_the_citation_and_the_changelog_have_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == uora_bench.__version__
    headings = re.findall(r"^## \[(.+?)\]", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert headings[:2] == ["Unreleased", uora_bench.__version__]
    named = {one["value"].removeprefix("arXiv:") for paper in citation["references"] for one in paper["identifiers"]}
    assert named == {"2505.20154", "2310.11454", "2311.09578", "2510.21345"}


def messages() -> str:
    """Every text in the package, with … where a value stands."""
    found = []
    for path in (ROOT / "src" / "uora_bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(one.value if isinstance(one, ast.Constant) else "…" for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_messages_in_the_troubleshooting_page_are_those_of_the_code() -> None:
    named = re.findall(r"^### `(.+)`$", PAGES["troubleshooting.md"], re.MULTILINE)
    assert len(named) > 12
    text = messages()
    assert [one for one in named if one not in text] == []

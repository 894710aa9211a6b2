"""The pages of docs/ keep up with the code: a page per method, its options and defaults, links, papers, counts."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.scripts import script
from uora_bench.config import registry
from uora_bench.config.compose import compose
from uora_bench.contract.models import backbone_config, make_method
from uora_bench.methods.base import backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets

PAGES = ROOT / "docs" / "methods"
METHODS = registry.choices("method")
RESULTS = [ROOT / "results" / "README.md", ROOT / "results" / "paper" / "README.md"]
DOCUMENTS = [ROOT / "README.md", *RESULTS, *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {ROOT / "docs" / name for name in script("build_reference").pages()}  # in the site alone
ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})")


def page(method: str) -> str:
    return (PAGES / f"{method}.md").read_text("utf-8")


@cache
def values(method: str) -> dict[str, Any]:
    """The configuration that ``method`` composes to without a recipe."""
    return compose([f"method={method}", "recipe=none"]).values


def options(method: str) -> dict[str, Any]:
    return {k: v for k, v in values(method)["method"].items() if k not in ("name", "version")}


def prose(text: str) -> str:
    """``text`` without fenced code and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a page as rows of cells, the header first."""
    found = re.findall(r"(?:^[ ]*\|.*\|[ ]*\n)+", text, flags=re.MULTILINE)
    rows = [[re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in table.splitlines()] for table in found]
    return [[[cell.strip() for cell in row] for i, row in enumerate(table) if i != 1] for table in rows]


def option_rows(text: str) -> list[dict[str, str]]:
    """The rows of all tables whose first column is called `option`, by the names of their columns."""
    chosen = [t for t in tables(text) if t[0][0].lower() == "option"]
    return [dict(zip(map(str.lower, t[0]), row, strict=True)) for t in chosen for row in t[1:]]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(method: str) -> None:
    assert (PAGES / f"{method}.md").is_file(), f"write docs/methods/{method}.md"
    assert f"{method}.md" in (PAGES / "README.md").read_text("utf-8"), f"add {method} to docs/methods/README.md"


def test_every_page_is_of_a_method() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} - {"README"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_page_names_every_option_and_no_other(method: str) -> None:
    text = page(method)
    missing = [name for name in options(method) if f"`{name}`" not in text]
    assert missing == []
    named = [name for row in option_rows(text) for name in re.findall(r"`([^`]+)`", row["option"])]
    assert bool(named) == bool(options(method)), "a page with options has a table with the columns option and default"
    assert sorted(set(named)) == sorted(named)
    assert set(named) <= set(options(method))


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_in_the_table_are_those_of_the_yaml(method: str) -> None:
    own = options(method)
    for row in option_rows(page(method)):
        if "default" in row:
            (name,) = re.findall(r"`([^`]+)`", row["option"])
            # YAML 1.1 reads 1e-5 as text, and 1.0e-5 as a number
            assert yaml.safe_load(row["default"].strip("`")) == own[name], name


@pytest.mark.parametrize("method", METHODS)
def test_keys_on_a_page_exist(method: str) -> None:
    known = values(method)
    for group, key in re.findall(r"(?<![.\w])(method|trainer|task|backbone)\.(\w+)", page(method)):
        assert key in known[group], f"{group}.{key}"


@pytest.mark.parametrize("method", METHODS)
def test_page_table_and_yaml_name_the_same_paper(method: str) -> None:
    lines = (ROOT / "configs" / "method" / f"{method}.yaml").read_text("utf-8").splitlines()
    comment = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    row = next((line for line in (PAGES / "README.md").read_text("utf-8").splitlines() if f"({method}.md)" in line), "")
    found = [ARXIV.findall(text)[:1] for text in (comment, page(method).split("\n## ")[0], row)]
    assert len({numbers[0] for numbers in found if numbers}) <= 1, found


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if target in GENERATED:
            continue
        assert target.exists(), f"{document.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{document.name} links to {link}"


def test_tests_and_scripts_that_a_page_names_exist() -> None:
    """Also in commands and code spans; `<name>` stands for any."""
    named = {(document, name.rstrip(".")) for document in DOCUMENTS
             for name in re.findall(r"\b(?:tests|scripts)/[\w./<>-]+", document.read_text("utf-8"))}  # fmt: skip
    assert len(named) > 10
    assert [f"{d.name}: {name}" for d, name in sorted(named) if "<" not in name and not (ROOT / name).exists()] == []


def test_the_tags_of_the_pages_are_explained() -> None:
    legend = {row[0].strip("[]") for t in tables((PAGES / "README.md").read_text("utf-8")) for row in t[1:]}
    for path in PAGES.glob("*.md"):
        tags = re.findall(
            r"\[(paper|official code|secondary|inferred|recalled|unknown|ours)\b", prose(path.read_text("utf-8"))
        )
        assert set(tags) <= legend
    assert {"paper", "official code", "secondary", "inferred", "recalled", "unknown", "ours"} <= legend


def test_the_counts_in_the_overview_are_those_of_the_methods() -> None:
    """On RoBERTa-base, query and value, at the rank that stands beside the number."""
    config = backbone_config("roberta_base")
    head = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2})
    model = backbones.skeleton(config, head)
    sizes = {name: p.numel() for name, p in backbone_parameters(model).items()}
    checked = 0
    for name, cell in re.findall(
        r"^\| \[`(\w+)`\]\(\w+\.md\) \|.*\| ([^|]*\d) \|[^|]*\|$", (PAGES / "README.md").read_text("utf-8"),
        flags=re.MULTILINE,
    ):  # fmt: skip
        rank = re.search(r"r = (\d+)", cell)
        method = make_method(name, **({"rank": int(rank[1])} if rank else {}))
        shapes = [t.shape for t in find_targets(model, config, method.config.adapts)]
        printed = int(cell.split()[-1].replace(",", ""))
        assert method.count(shapes, sizes) == printed, name
        assert f"{printed:,}" in page(name), name
        checked += 1
    assert checked >= 9

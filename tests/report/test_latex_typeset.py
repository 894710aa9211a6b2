"""pdflatex typesets every table: those of the committed records, and the widest and longest ones full of numbers.

CI installs pdflatex from Debian where it is missing (as root: 18 packages, 160 MB); elsewhere these tests are skipped,
with the reason, where there is none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.filled_grids import LIBRARY, filled
from tests.support.paths import ROOT
from uora_bench.report import latex, table, write
from uora_bench.report.model import Table
from uora_bench.theory import report as theory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REQUIRED = bool(os.environ.get("CI") or os.environ.get("UORA_TEST_LATEX"))
DEBIAN = "texlive-latex-recommended"  # it has booktabs; texlive-latex-base has not
GLUE = {"accuracy": 0.9, "matthews_correlation": 0.6, "pearson": 0.9}
FULL: dict[str, tuple[dict[str, float], dict[str, str]]] = {
    "lora_table2": (GLUE, {}),
    "vera_table2": (GLUE, {}),
    "lora_table3": ({"bleu": 0.7, "nist": 8.5, "meteor": 0.4, "rouge_l": 0.7, "cider": 2.4}, {}),
    "vera_table4": ({"loss": 1.1}, {}),
    "tied_lora": ({"exact_match": 0.8, "f1": 0.9, "rouge_l": 0.3, "acc_norm": 0.8, "bleu": 0.4}, {}),
    "uora_vision": ({"accuracy": 0.8}, {"seed": "0,1"}),
}


def run(*command: str, folder: Path | None = None, seconds: int = 280) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=seconds)


@pytest.fixture(scope="module")
def pdflatex() -> str:
    """The program, with what the tables need; where it must be there it is installed, or its absence a failure."""
    found = shutil.which("pdflatex")
    if found is None and REQUIRED:
        problem = debian.install(lambda: shutil.which("pdflatex"), DEBIAN)
        if problem:
            pytest.fail(f"no pdflatex here: {problem}")
        found = shutil.which("pdflatex")
    if found is None:
        pytest.skip(f"no pdflatex here (Debian: apt-get install {DEBIAN})")
    return found


def typeset(pdflatex: str, folder: Path, tables: list[Table]) -> str:
    """The log of a paper that reads the files of ``tables``, a page each; its PDF is ``paper.pdf``."""
    for path, text in write.files(tables, folder).items():
        path.write_text(text, encoding="utf-8")
    names = [made.name for made in tables] + sorted(path.stem for path in folder.glob("*_comparisons.tex"))
    body = "\n".join(rf"\input{{{name}}}\clearpage" for name in names)
    packages = "".join(rf"\usepackage{{{name}}}" for name in latex.PACKAGES)
    paper = rf"""\documentclass{{article}}
\usepackage[a4paper,margin=2.2cm]{{geometry}}{packages}
\begin{{document}}
{body}
\end{{document}}
"""
    (folder / "paper.tex").write_text(paper, encoding="utf-8")
    done = run(pdflatex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex", folder=folder)
    assert done.returncode == 0, done.stdout[-1500:]
    return (folder / "paper.log").read_text(encoding="latin-1")


def check(log: str, tables: list[Table]) -> None:
    """A page for each table, and nothing that runs off a page or out of a font."""
    pages = re.search(r"Output written on paper.pdf \((\d+) pages", log.replace("\n", ""))
    assert pages is not None
    # a file of comparisons begins a page, and holds one or more tables, as many to a page as fit
    compared = [latex.comparisons(made).count(r"\begin{table}") for made in tables]
    files = sum(count > 0 for count in compared)
    assert len(tables) + files <= int(pages[1]) <= len(tables) + sum(compared)
    assert "Missing character" not in log
    assert "Float too large" not in log
    assert [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(points) > 1] == []


def test_every_table_of_the_committed_records_compiles(pdflatex: str, tmp_path: Path) -> None:
    tables = write.all_tables(ROOT / "results", kinds=(theory,))
    assert len(tables) >= 20
    check(typeset(pdflatex, tmp_path, tables), tables)


def test_tables_full_of_numbers_compile_and_fit_the_page(pdflatex: str, tmp_path: Path) -> None:
    tables = []
    for name, (scores, axes) in FULL.items():
        tables.append(table.build(filled(tmp_path / name, name, scores, **axes), LIBRARY))
    check(typeset(pdflatex, tmp_path, tables), tables)


def test_a_broken_table_does_not_compile(pdflatex: str, tmp_path: Path) -> None:
    (made,) = write.all_tables(ROOT / "results", names=["tiny_e2e"])
    path = tmp_path / "paper.tex"
    text = latex.render(made).replace(r"\bottomrule", r"\bottomrul")
    path.write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{text}\end{{document}}"
    )
    assert run(pdflatex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex", folder=tmp_path).returncode != 0

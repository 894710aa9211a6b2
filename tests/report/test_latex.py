"""Every character of our tables has a form in LaTeX, and what means something to LaTeX is written out."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from uora_bench.config import registry
from uora_bench.grid import preset
from uora_bench.report import latex, published, write
from uora_bench.report.notes import RULES


def texts() -> list[str]:
    """All text that a table of this repository can print: presets, rules, published numbers, names."""
    found = [*RULES.values(), *(word for group in registry.GROUPS for word in registry.choices(group))]
    for name in registry.choices("experiment"):
        experiment = preset.load_experiment(name)
        found += [experiment.name, experiment.title]
        if experiment.table is not None:
            spec = experiment.table
            found += [*spec.about, *(note.text for note in spec.notes)]
            found += [column.label for column in spec.columns]
            found += [row.label for row in spec.rows]
            found += [block.label for block in spec.blocks]
    for number in published.read_published(ROOT / "results" / "paper").numbers:
        found += [number.paper, number.table, number.text, number.trainable_params]
    return found


def test_every_character_of_our_tables_has_a_form() -> None:
    known = "".join(texts())
    assert {"α", "±", "%", "_"} <= set(known)
    written = latex.escape(known)
    assert "[U+" not in written
    assert written.isascii() or all("À" <= c <= "ÿ" for c in written if not c.isascii())


def test_special_characters_are_written_out() -> None:
    assert latex.escape("50% & $1_000 #{a}~^") == r"50\% \& \$1\_000 \#\{a\}\textasciitilde{}\textasciicircum{}"
    assert latex.escape("a\\b") == r"a\textbackslash{}b"
    assert latex.escape("α ≤ 1 – −2") == r"$\alpha$ $\le$ 1 -- $-$2"
    assert latex.escape("plain text, (r=8); 'q'") == "plain text, (r=8); 'q'"


@pytest.mark.parametrize("character", ["漢", "∮", "\u200b", "\n", "ð", "\t"])
def test_a_character_without_a_form_becomes_its_code(character: str) -> None:
    assert latex.escape(f"a{character}b") == f"a[U+{ord(character):04X}]b"


def test_a_row_label_is_not_taken_for_an_option_of_the_row_before() -> None:
    assert latex._line(["[a]", "1"]).startswith("{}[a] & 1")
    assert latex._line(["*", "1"]).startswith("{}* & 1")
    assert latex._line(["", "1"]) == r" & 1 \\"


def test_every_table_is_complete_and_its_rows_have_as_many_cells_as_its_heading() -> None:
    for table in write.all_tables(ROOT / "results", names=["lora_table2", "vera_table4", "tiny_e2e", "tied_lora"]):
        text = latex.render(table)
        body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]
        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1
        columns = text.split(r"\begin{tabular}{@{}")[1].split("@{}}")[0]
        assert rows[0].replace(r"\&", "").count("&") == len(columns) - 1
        assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_published_numbers_keep_their_digits() -> None:
    (made,) = write.all_tables(ROOT / "results", names=["vera_table2"])
    text = latex.render(made)
    assert " 62.0 & " in text
    assert "62.0\\textsuperscript" not in text  # a footnote to all of the line stands at its name
    assert r"published\textsuperscript{a} & 125M & 94.8" in text
    assert r"90.2$_{\pm 1.0}$" in text
    assert r"$\Delta$ &" not in text  # nothing of ours is there to subtract from
    assert "parameters" in text
    assert "memory" not in text

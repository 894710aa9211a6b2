"""The loader of published numbers takes nothing without a source, and results/paper is what was collected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from uora_bench.errors import UserError
from uora_bench.report import published
from uora_bench.report.published import Library

PAPER = ROOT / "results" / "paper"
HEADING = ",".join(published.COLUMNS)
GOOD = "P,LoRA,Table 1,base,RTE,accuracy,80.0,1.10,0.3M,arXiv 1,high"


def write(folder: Path, *rows: str, heading: str = HEADING) -> Path:
    path = folder / "p.csv"
    path.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return path


# --- the loader -----------------------------------------------------------------------------------------------------


def test_a_number_keeps_its_value_its_digits_and_its_source(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "P,LoRA,Table 1,base,CoLA,matthews_corr,62.0,,,a page,low")
    first, second = published.read_published(tmp_path).numbers
    assert (first.value, first.std, first.text, first.trainable_params) == (80.0, 1.1, "80.0 ± 1.10", "0.3M")
    assert (second.value, second.std, second.text, second.trainable_params) == (62.0, None, "62.0", "")
    assert (second.source, second.confidence) == ("a page", "low")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD.replace("arXiv 1", ""), r"p.csv line 2 \(LoRA, RTE\) has no source; a number without one is not used"),
        (GOOD.replace("arXiv 1", "  "), "has no source"),
        (GOOD.replace("high", "sure"), "has confidence 'sure'"),
        (GOOD.replace("high", "hihg"), "has confidence 'hihg'.*high"),
        (GOOD.replace("high", ""), "has confidence ''"),
        (GOOD.replace("80.0", "about 80"), "value 'about 80' is no number"),
        (GOOD.replace("80.0", "nan"), "value 'nan' is no number"),
        (GOOD.replace("80.0", "inf"), "value 'inf' is no number"),
        (GOOD.replace("80.0", ""), "has no value"),
        (GOOD.replace("1.10", "±1"), "std '±1' is no number"),
        (GOOD.replace("P,", ",", 1), "has no paper"),
        (GOOD.replace("LoRA", " "), "has no method"),
        (GOOD.replace("RTE", ""), "has no task"),
        (GOOD + ",more", "another number of fields"),
        (GOOD.removesuffix(",high"), "another number of fields"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused(tmp_path: Path, row: str, said: str) -> None:
    write(tmp_path, row)
    with pytest.raises(UserError, match=said) as found:
        published.read_published(tmp_path)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "heading", [HEADING.replace(",source", ""), HEADING + ",note", HEADING.replace("value,std", "std,value"), ""]
)
def test_other_columns_are_refused(tmp_path: Path, heading: str) -> None:
    write(tmp_path, GOOD, heading=heading)
    with pytest.raises(UserError, match="must have the columns paper,method"):
        published.read_published(tmp_path)


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_a_folder_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no published numbers in"):
        published.read_published(tmp_path / name)


# --- looking a number up --------------------------------------------------------------------------------------------


def library(tmp_path: Path) -> Library:
    rows = (
        GOOD,
        GOOD.replace("base", "large").replace("80.0", "90.0"),
        "P,LoRA,Table 1,base,E2E,BLEU,70.4,,,arXiv 1,high",
        "P,LoRA,Table 1,base,E2E,NIST,8.8,,,arXiv 1,high",
        "P,LoRA,curve,base,RTE,best accuracy (step 5),81,,,code,high",
        "P,LoRA,curve,base,RTE,final accuracy (step 9),80,,,code,high",
    )
    write(tmp_path, *rows)
    return published.read_published(tmp_path)


def test_a_number_is_found_by_its_names(tmp_path: Path) -> None:
    numbers = library(tmp_path).table("P", "Table 1")
    found = published.find_published(numbers, "LoRA", "large", "RTE", None)
    assert found is not None
    assert found.value == 90.0
    found = published.find_published(numbers, "LoRA", None, "E2E", "NIST")
    assert found is not None
    assert found.value == 8.8
    assert published.find_published(numbers, "lora", "base", "RTE", None) is None
    assert published.find_published(numbers, "LoRA", "base", "E2E", "METEOR") is None


def test_an_ambiguous_name_is_an_error(tmp_path: Path) -> None:
    numbers = library(tmp_path).table("P", "Table 1")
    with pytest.raises(UserError, match=r"2 published numbers of LoRA on E2E fit \(base/BLEU, base/NIST\)"):
        published.find_published(numbers, "LoRA", "base", "E2E", None)
    with pytest.raises(UserError, match=r"base/accuracy, large/accuracy"):
        published.find_published(numbers, "LoRA", None, "RTE", None)


def test_a_star_in_a_metric_stands_for_anything(tmp_path: Path) -> None:
    numbers = library(tmp_path).table("P", "curve")
    found = published.find_published(numbers, "LoRA", "base", "RTE", "best accuracy (step *)")
    assert found is not None
    assert found.value == 81
    with pytest.raises(UserError, match="2 published numbers"):
        published.find_published(numbers, "LoRA", "base", "RTE", "*accuracy*")


def test_an_unknown_table_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no published number of 'P Table 2'.*P Table 1"):
        library(tmp_path).table("P", "Table 2")


# --- results/paper --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(PAPER.glob("*.csv")), ids=lambda path: path.stem)
def test_a_file_holds_the_numbers_of_one_paper_and_is_named_for_it(path: Path) -> None:
    (paper,) = {number.paper for number in published.read_published_file(path)}
    assert path.stem == re.sub(r"[^a-z0-9]+", "_", paper.removesuffix(" (secondary)").lower())
    assert "\r" not in path.read_bytes().decode("utf-8")


def test_the_page_lists_every_file_with_the_count_of_its_numbers() -> None:
    page = (PAPER / "README.md").read_text("utf-8")
    listed = {name: int(count) for name, count in re.findall(r"^\| `(\w+\.csv)` \| (\d+) \|", page, re.MULTILINE)}
    assert listed == {path.name: len(published.read_published_file(path)) for path in PAPER.glob("*.csv")}


def test_the_page_says_what_is_unknown_and_names_every_column_and_confidence() -> None:
    page = (PAPER / "README.md").read_text("utf-8")
    unknown = page.split("## Unknown")[1].split("\n## ")[0]
    for paper in ("UORA", "Tied-LoRA", "α-LoRA", "VeRA", "LoRA"):
        assert f"**{paper}**" in unknown
    for word in (*published.COLUMNS, *published.CONFIDENCE):
        assert f"`{word}`" in page


def test_the_disagreements_that_the_page_prints_are_in_the_files() -> None:
    table = (PAPER / "README.md").read_text("utf-8").split("## Where sources disagree")[1].split("\n\n")[1]
    numbers = published.read_published(PAPER).numbers
    values = {round(n.value, 4) for n in numbers} | {round(n.value * 100, 4) for n in numbers}
    values |= {n.std for n in numbers if n.std is not None}
    values |= {
        float(n.trainable_params.rstrip("MK")) for n in numbers if re.fullmatch(r"[\d.]+[MK]?", n.trainable_params)
    }
    printed = [float(text) for text in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", table)]
    assert len(printed) > 20
    assert [value for value in printed if value not in values] == []

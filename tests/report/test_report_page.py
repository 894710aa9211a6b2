"""The report page: the same bytes for the same records, all that a record promises, nothing from elsewhere."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import made_up_report as made_up
from uora_bench.errors import UserError
from uora_bench.grid.table_spec import Column, RowSpec, TableSpec
from uora_bench.records.record import RuleScore
from uora_bench.report import explain, figures, page, table
from uora_bench.report.collect import Collection
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.model import Block
from uora_bench.report.page import cells, pareto, render
from uora_bench.report.page import data as page_data

EMPTY = {"meta", "link", "input", "img", "br", "hr"}  # elements without an end


class Reader(HTMLParser):
    """``elements``: (name, attributes, text in it), in the order of their beginnings."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))
        if tag not in EMPTY:
            self._open.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        for n in self._open:
            self.elements[n][2].append(data)

    def texts(self, tag: str, css: str = "") -> list[str]:
        """The text of every ``tag`` of the class ``css``."""
        chosen = [e for e in self.elements if e[0] == tag and (not css or css in e[1].get("class", "").split())]
        return [" ".join("".join(text).split()) for _, _, text in chosen]


def data_of(html: str) -> dict[str, Any]:
    """The data in the page, as the script reads it."""
    (text,) = re.findall(r'<script type="application/gzip" id="data">([A-Za-z0-9+/=]*)</script>', html)
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(text)))
    return found


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def html(results: Path) -> str:
    return render.assemble([made_up.make(results)], results, False, "").html


@pytest.fixture(scope="module")
def read(html: str) -> Reader:
    return Reader(html)


@pytest.fixture(scope="module")
def data(html: str) -> dict[str, Any]:
    return data_of(html)


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)


def test_the_same_records_give_the_same_bytes_without_torch(results: Path, html: str) -> None:
    assert html  # the records are there
    code = (
        "import sys, pathlib; from uora_bench.report import page; from uora_bench.report.page import render; "
        f"print(render.build(['{made_up.NAME}'], pathlib.Path(sys.argv[1]), None, None, False, '').html); "
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    pages = []
    for seed in ("1", "2"):  # sets come in another order
        done = subprocess.run(
            [sys.executable, "-c", code, str(results)], capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": "src", "PYTHONHASHSEED": seed, "TZ": f"UTC-{seed}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pages.append(done.stdout)
    assert pages[0] == pages[1]
    assert "2026-01-03 01:00:00 UTC" in pages[0]  # when the newest record was finished


def test_a_cell_has_all_that_its_record_says(data: dict[str, Any], results: Path) -> None:
    files = {p.stem: json.loads(p.read_text("utf-8")) for p in (results / "records" / made_up.NAME).glob("*.json")}
    assert set(data["cells"]) == set(files)
    for key, raw in files.items():
        told = data["cells"][key]
        assert told["id"] == raw["cell_id"]
        assert told["status"] == raw["status"]
        apart = {"epochs", "schema", "status", "cell_id", "experiment"}
        assert told["record"] == page_data.plain({k: v for k, v in raw.items() if k not in apart})
        assert "uora-bench method=" in told["command"]
        assert "task.splits.train=train[:64]" in told["command"]
        assert "tracker=none" in told["made"]
    done = next(c for c in data["cells"].values() if c["status"] == "done")
    assert done["epochs"]["epoch"] == [1, 2, 3]
    assert len(done["epochs"]["dev.accuracy"]) == 3
    assert done["epochs"]["method.refreshes"] == [1, 2, 3]


def test_a_number_says_where_it_comes_from(data: dict[str, Any]) -> None:
    number = next(n for n in data["numbers"].values() if (n["row"], n["column"]) == ("VeRA", "NLI"))
    assert [s[:2] for s in number["seeds"]] == [[0, 81.5], [1, 82.5], [2, 83.5]]
    assert (number["mean"], number["median"], number["std"]) == (82.5, 82.5, 1.0)
    assert (number["rule"], number["metric"], number["split"]) == ("last", "accuracy", "dev")
    for _, _, key, _, _ in number["seeds"]:
        known = data["cells"][key]["record"]["provenance"]
        assert known["git"] == made_up.GIT
        assert known["hardware"] == made_up.HARDWARE
    average = next(n for n in data["numbers"].values() if (n["row"], n["column"]) == ("VeRA", "Avg"))
    assert average["value"] == 82.5
    assert len(average["seeds"]) == 3


def test_published_numbers_are_never_among_ours(data: dict[str, Any], read: Reader) -> None:
    printed = [73.5, 99.5, 11.5]
    for kind in ("cells", "numbers"):
        assert not [v for v in leaves(data[kind]) if v in printed or v in [str(p) for p in printed]]
    assert [p["text"] for p in data["published"]] == [f"{p} ± 0.25" for p in printed]
    assert {p["source"] for p in data["published"]} == {"arXiv 2310.11454v2 <T9>"}
    ours, theirs = read.texts("tr", "ours"), read.texts("tr", "published")
    assert len(ours) == 4
    assert len(theirs) == 3
    assert not [line for line in ours for p in printed if str(p) in line]
    assert not [line for line in theirs if "72.00" in line or "82.50" in line]
    assert any("−17.00" in line for line in read.texts("tr", "delta"))


def test_failed_and_missing_cells_are_listed_with_reason_and_command(read: Reader, data: dict[str, Any]) -> None:
    (failed,) = read.texts("details", "failed")
    assert "Failed cells (1)" in failed
    assert "loss is not finite" in failed
    (missing,) = read.texts("details", "missing")
    assert "Missing cells (4)" in missing
    assert missing.count("nothing recorded yet") == 4
    assert "uora-bench method=head_only task=tiny/nli seed=2 'task.splits.train=train[:64]'" in missing
    (key,) = [k for k, c in data["cells"].items() if c["status"] == "failed"]
    assert any(a.get("href") == f"#cell/{key}" for _, a, _ in read.elements)
    assert data["cells"][key]["record"]["reason"].startswith("loss is not finite")


def test_text_of_users_is_only_text(html: str, read: Reader) -> None:
    assert "<img src=x" not in html
    assert html.count("</script>") == len(read.texts("script")) == 2
    assert not read.texts("b")
    assert any(made_up.NASTY in text for text in read.texts("h2"))
    assert "LoRA <r=8>" in read.texts("th", "label")
    assert any(made_up.NASTY in text for text in read.texts("li"))  # a footnote


def test_nothing_is_loaded_from_anywhere(html: str, read: Reader) -> None:
    for tag, attributes, _ in read.elements:
        for key in ("src", "srcset", "poster", "data", "action"):
            assert attributes.get(key, "data:").startswith("data:"), (tag, attributes)
        if tag == "link":
            assert attributes["href"].startswith("data:")
        assert not [k for k in attributes if k.startswith("on")]
    (style,) = read.texts("style")
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for t, a, _ in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "innerHTML" not in html


def test_every_link_inside_the_page_leads_somewhere(read: Reader, data: dict[str, Any]) -> None:
    ids = [a["id"] for _, a, _ in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    inside = [a["href"][1:] for t, a, _ in read.elements if t == "a" and a["href"].startswith("#")]
    known = {*ids, *(f"cell/{k}" for k in data["cells"]), *(f"number/{quote(k, safe='')}" for k in data["numbers"])}
    assert inside
    assert set(inside) <= known
    assert {a["data-number"] for _, a, _ in read.elements if "data-number" in a} == set(data["numbers"])


def test_a_folder_without_a_preset_has_a_page(
    results: Path, html: str, capsys: pytest.CaptureFixture[str], without_matplotlib: None
) -> None:
    assert html
    assert page.command([made_up.NAME], results, "best_dev") == 0
    said = capsys.readouterr().out
    written = (results / "report" / "index.html").read_text("utf-8")
    assert "1 experiment, 8 records" in said
    assert page.NO_FIGURES in said  # there and in the page
    assert page.NO_FIGURES in " ".join(Reader(written).texts("p", "remark"))
    numbers = data_of(written)["numbers"].values()
    assert {n["rule"] for n in numbers} == {"best_dev"}


def test_mistakes_are_named(results: Path, html: str, tmp_path: Path, without_matplotlib: None) -> None:
    assert html
    with pytest.raises(UserError, match=r"no records in .*results\.dir="):
        page.command([], tmp_path, None)
    with pytest.raises(UserError, match="made_up"):
        page.command(["made_upp"], results, None)


def test_figures_are_inside_with_their_data(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FigureSpec("front", "A front <1>", "Score.", "a,b\n1,2\n", lambda: None)
    monkeypatch.setattr(figures, "drawn_figures", lambda one, folder: [(spec, "<svg/>")])
    html = render.assemble([made_up.make(results)], results, True, "").html
    elements = Reader(html).elements
    assert [a["alt"] for t, a, _ in elements if t == "img"] == ["A front <1>. Score."]
    assert [a["download"] for t, a, _ in elements if a.get("download")] == ["front.csv"]
    assert data_of(html)["figures"] == {"front": {"svg": "<svg/>", "csv": "a,b\n1,2\n"}}


def test_the_page_opens_with_what_was_compared_and_the_verdicts(results: Path) -> None:
    _, collection = made_up.make(results)
    spec = replace(
        collection.experiment.table or TableSpec(), reference="LoRA <r=8>", columns=(Column("tiny/nli", "NLI"),)
    )
    collection = replace(collection, experiment=replace(collection.experiment, table=spec))
    read = Reader(render.assemble([(table.build(collection, None), collection)], results, False, "").html)
    (card,) = read.texts("article", "card")
    assert "4 rows on 1 task, 7 of 12 cells done, 1 failed" in card
    assert "Against LoRA <r=8>, paired by seed: too few pairs to tell: VeRA" in card
    assert "too few seeds: UORA; head only" in card
    assert [t for t, a, _ in read.elements if t in ("section", "figure", "details")][:2] == ["section", "figure"]


def test_experiments_without_a_record_are_one_line(results: Path, html: str) -> None:
    one, collection = made_up.make(results)
    bare = replace(
        collection, runs=tuple(replace(run, recorded=None, status="missing", reason="") for run in collection.runs)
    )
    empty = replace(table.build(bare, None), name="later")
    read = Reader(render.assemble([(one, collection), (empty, bare)], results, False, "").html)
    assert [a["data-experiment"] for t, a, _ in read.elements if "data-experiment" in a] == [made_up.NAME]
    assert "Planned, not run: later (12 cells)." in read.texts("p")
    assert not [text for text in Reader(html).texts("p") if text.startswith("Planned")]


def points(read: Reader) -> dict[str, tuple[float, float, bool]]:
    """The points of the Pareto plot by what is said of them: where they are, and whether they are on the front."""
    links = [a["aria-label"] for t, a, _ in read.elements if t == "a" and "aria-label" in a]
    circles = [a for t, a, _ in read.elements if t == "circle"]
    return {
        name: (float(a["cx"]), float(a["cy"]), a.get("class") == "best") for name, a in zip(links, circles, strict=True)
    }


def test_the_pareto_plot_has_every_row_where_its_numbers_are(read: Reader, tmp_path: Path) -> None:
    found = points(read)
    assert set(found) == {
        "LoRA <r=8>: 72.00 with 300 parameters", "VeRA: 82.50 with 2,000 parameters", "UORA: 91.00 with 40 parameters"
    }  # fmt: skip
    lora, vera, uora = (next(v for k, v in found.items() if k.startswith(name)) for name in ("LoRA", "VeRA", "UORA"))
    assert [lora[2], vera[2], uora[2]] == [False, False, True]
    # logarithmic across, linear up
    assert (lora[0] - uora[0]) / (vera[0] - uora[0]) == pytest.approx(
        math.log(300 / 40) / math.log(2000 / 40), abs=0.01
    )
    assert (lora[1] - vera[1]) / (lora[1] - uora[1]) == pytest.approx((82.5 - 72) / (91 - 72), abs=0.01)


def test_points_of_one_cost_and_score_share_their_place(tmp_path: Path) -> None:
    one, _ = made_up.make(tmp_path)
    rows = tuple(replace(row, costs=replace(row.costs, parameters=0)) for row in one.rows if row.costs.parameters)
    twin = replace(rows[0], label="twin")
    plot = pareto.plot(one, Block("", (*rows, twin)), [["a"] * 3] * 4)
    assert plot is not None
    first, *_, last = plot.dots
    assert (first.x, first.y) == (last.x, last.y)
    assert ("0" in [text for _, text in plot.across], len({dot.x for dot in plot.dots})) == (True, 1)


def test_what_is_in_no_row_has_a_page_too(tmp_path: Path) -> None:
    one, collection = made_up.make(tmp_path)
    orphan = made_up.record("bitfit", 0, 0.5)
    orphan.write(tmp_path / "records" / made_up.NAME)
    collection = replace(collection, orphans=(orphan.cell_id,))
    html = render.assemble([(one, collection)], tmp_path, False, "").html
    assert data_of(html)["cells"][orphan.cell_id]["orphan"] is True
    assert orphan.cell_id in " ".join(Reader(html).texts("details", "others"))


def test_one_cell_in_two_experiments_has_two_pages(tmp_path: Path) -> None:
    known = cells.Cells()
    _, collection = made_up.make(tmp_path)
    run = collection.runs[0]
    keys = [known.add(run, "a"), known.add(run, "b"), known.add(run, "a")]
    assert keys == [run.cell_id, f"{run.cell_id}@b", run.cell_id]


def test_the_command_of_a_warm_start_names_what_it_starts_from(tmp_path: Path) -> None:
    _, collection = made_up.make(tmp_path)
    run = collection.runs[0]
    known = replace(run.record.provenance, init_from="0123456789abcdef")
    warm = replace(run.record, cell={**run.record.cell, "init_from": "0a" * 8}, provenance=known)
    assert "init_from" not in explain.command(run)
    assert explain.command(replace(run, recorded=warm)).endswith(f" init_from=runs/{made_up.NAME}/0123456789abcdef")


def test_the_data_is_packed_the_same_every_time_and_what_json_lacks_becomes_text() -> None:
    value = page_data.plain({"a": [made_up.NASTY] * 100, "d": float("nan"), "e": 1 / 3})
    text = page_data.packed(value)
    assert text == page_data.packed(value)
    assert len(text) < len(made_up.NASTY) * 10
    assert data_of(f'<script type="application/gzip" id="data">{text}</script>') == value
    assert (value["d"], value["e"]) == ("nan", 0.333333)


def test_a_thousand_records_make_a_page_of_a_few_megabytes_in_seconds(tmp_path: Path) -> None:
    _, small = made_up.make(tmp_path)
    first = small.runs[0]
    curve = tuple(replace(first.record.epochs[0], epoch=n, train_loss=1 / (n + 3)) for n in range(1, 31))
    runs = []
    for n in range(1000):
        method, task, seed = f"method{n % 20}", f"task{n // 20 % 10}", n // 200
        score = RuleScore({"dev": {"accuracy": (n * 37 % 1000) / 1001}}, 3, "")
        report = {f"layer.{k}": {"mean": n / (k + 7), "std": k / (n + 3)} for k in range(12)}
        many = replace(
            first.record, cell_id=f"{n:016x}", scores=dict.fromkeys(("last", "best_dev"), score), epochs=curve,
            label=f"label {n}", method=report,
        )  # fmt: skip
        runs.append(replace(first, task=task, seed=seed, row={"method": method}, recorded=many, cell_id=many.cell_id))
    spec = TableSpec(
        columns=tuple(Column(f"task{n}", f"task {n}") for n in range(10)),
        rows=tuple(RowSpec(f"row {n}", {"method": f"method{n}"}) for n in range(20)),
    )
    collection = Collection(replace(small.experiment, published=None, table=spec), tuple(runs), ())
    one = table.build(collection, None)
    started = time.process_time()
    made = render.assemble([(one, collection)], tmp_path, False, "")
    assert time.process_time() - started < 10
    assert made.records == 1000
    assert len(made.html.encode("utf-8")) < 3e6


@given(st.floats(0, 9), st.floats(0.5, 6))
def test_the_ticks_of_a_logarithmic_axis_are_round_and_apart(low: float, span: float) -> None:
    found = pareto._decades(low, low + span)
    assert found
    at = [math.log10(tick) for tick in found]
    assert all(low - 1e-6 <= one <= low + span + 1e-6 for one in at)
    assert all(b - a >= 0.3 for a, b in itertools.pairwise(at))  # texts that stand apart, of an axis of 0.5 to 6

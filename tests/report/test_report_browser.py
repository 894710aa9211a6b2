"""The report page in a real Chromium, from 420 to 2560 pixels, light and dark: nothing is cut; sorting, filters, what
stands behind a number, pages of cells.

CI must have the browser, which is installed from Debian's packages where we are root; elsewhere these tests are
skipped, with the reason, where it is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import chromium
from tests.support import made_up_report as made_up
from tests.support.chromium import Browser
from uora_bench.grid.table_spec import Column
from uora_bench.report import table
from uora_bench.report.page import render
from uora_bench.report.published import Library

pytestmark = pytest.mark.slow

REQUIRED = bool(os.environ.get("CI"))
WIDTHS = (1280, 420)
LABELS = (
    "[...document.querySelectorAll('table.sortable tbody:not([hidden])')].map((b) => b.rows[0].cells[0].textContent)"
)
AS_WRITTEN = ["LoRA <r=8>", "VeRA", "UORA", "head only"]
# the lines of every row, as "label: whose | whose | …"
LINES = (
    "[...document.querySelectorAll('table.sortable tbody')].map((b) => b.rows[0].cells[0].textContent + ': ' + "
    "[...b.querySelectorAll('.whose')].map((w) => w.textContent).join(' ') + ' ' + "
    "(b.querySelector('.published .value')?.textContent ?? ''))"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium.find() is None:
        problem = chromium.install()
        if problem:
            (pytest.fail if REQUIRED else pytest.skip)(problem)
    program = chromium.find()
    assert program is not None
    with Browser(program) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with every kind of number."""
    folder = tmp_path_factory.mktemp("page")
    made = made_up.make(folder)
    path = folder / "index.html"
    path.write_text(render.assemble([made], folder, False, "").html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(autouse=True)
def quiet(browser: Browser) -> Iterator[None]:
    """No test may make a page complain, or ask for anything but the page itself."""
    for seen in (browser.complaints, browser.requests, browser.opened):
        seen.clear()
    browser.dark(False)
    yield
    loaded = browser.do("performance.getEntriesByType('resource').map((e) => e.name)")
    assert browser.complaints == []
    assert {r for r in browser.requests if not r.startswith(("data:", "about:"))} == set(browser.opened)
    assert [name for name in loaded if not name.startswith("data:")] == []


def heading(text: str) -> str:
    """A selector of the button in the heading ``text``."""
    names = ["method", "", "parameters", "size", "time", "memory", "NLI", "NLI (best)", "Avg"]
    return f"table.sortable thead th:nth-child({names.index(text) + 1}) button"


def direction(browser: Browser, text: str) -> str | None:
    found: str | None = browser.do(
        f"document.querySelector({json.dumps(heading(text))}).closest('th').getAttribute('aria-sort')"
    )
    return found


def fits(browser: Browser) -> bool:
    """Whether nothing is wider than the window."""
    wide: bool = browser.do(
        "document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
    )
    return wide


@pytest.mark.parametrize("width", WIDTHS)
def test_a_heading_sorts_by_our_numbers_and_rows_stay_whole(browser: Browser, page: str, width: int) -> None:
    browser.open(page, width)
    assert browser.do(LABELS) == AS_WRITTEN
    lines = set(browser.do(LINES))
    assert "VeRA: ours published Δ 99.5" in lines
    browser.click(heading("NLI"))
    assert direction(browser, "NLI") == "descending"
    # by 91, 82.5, 72 and nothing; VeRA's published 99.5 would be first, head only's 11.5 is not ours
    assert browser.do(LABELS) == ["UORA", "VeRA", "LoRA <r=8>", "head only"]
    browser.click(heading("NLI"))
    assert direction(browser, "NLI") == "ascending"
    assert browser.do(LABELS) == ["LoRA <r=8>", "VeRA", "UORA", "head only"]
    browser.click(heading("parameters"))
    assert direction(browser, "NLI") is None
    assert browser.do(LABELS) == ["UORA", "LoRA <r=8>", "VeRA", "head only"]  # 40, 300, 2,000: by number, not by text
    assert set(browser.do(LINES)) == lines
    for _ in range(2):
        browser.click(heading("parameters"))
    assert browser.do(LABELS) == AS_WRITTEN
    browser.do(f"document.querySelector({json.dumps(heading('method'))}).focus()")
    browser.press("Enter")
    assert browser.do(LABELS) == ["head only", "LoRA <r=8>", "UORA", "VeRA"]
    assert fits(browser)


def test_rows_are_filtered_by_words_and_by_method(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.click("form.filter .words")
    for letter in "RA <r":
        browser.press(letter)
    browser.until(f"{LABELS}.length === 1")
    assert browser.do(LABELS) == ["LoRA <r=8>"]
    assert browser.do("document.querySelector('form.filter output').textContent") == "1 of 4 rows"
    browser.do("document.querySelector('form.filter .words').select()")
    browser.press(" ")
    browser.until(f"{LABELS}.length === 4")
    browser.do("document.querySelector('.choose').open = true")
    for method in ("vera", "head_only"):
        browser.click(f"form.filter input[value={method}]")
    assert browser.do(LABELS) == ["VeRA", "head only"]
    browser.click(heading("NLI"))  # what is filtered stays so
    assert browser.do(LABELS) == ["VeRA", "head only"]
    browser.click("form.filter input[value=vera]")
    assert browser.do(LABELS) == ["head only"]
    browser.click("form.filter input[value=head_only]")
    for words, left in {"parameters<=300 nli>80": ["UORA"], "NLI(best) < 80": ["LoRA <r=8>"], "none>1": []}.items():
        browser.do(f"document.querySelector('form.filter .words').value = {json.dumps(words)}")
        browser.do("document.querySelector('form.filter').dispatchEvent(new Event('input'))")
        assert browser.do(LABELS) == left


def test_columns_are_left_out_in_every_line(browser: Browser, page: str) -> None:
    browser.open(page)
    shown = (
        "[...document.querySelectorAll('table.sortable tr')].map((r) => [...r.cells].filter((c) => !c.hidden).length)"
    )
    before = browser.do(shown)
    browser.do("document.querySelector('.choose').open = true")
    browser.click("form.filter input[value='NLI (best)']")
    assert browser.do(shown) == [count - 1 for count in before]
    assert "NLI (best)" not in browser.do("document.querySelector('table.sortable thead').innerText")


def test_a_number_shows_its_provenance_to_mouse_and_keyboard(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.point('td [data-number="made_up/0.1.0"]')
    browser.until("!document.getElementById('tip').hidden")
    told = browser.do("document.getElementById('tip').innerText")
    for part in (
        "VeRA · NLI", "82.50: mean of 3 of 3 seeds", "seed 1: 82.5000", "last: the last epoch", "0123456789ab with",
        "Made-up CPU", "bfloat16", "lr_adapter", "rank 256",
    ):  # fmt: skip
        assert part in told
    assert "99.5" not in told
    browser.press("Escape")
    assert browser.do("document.getElementById('tip').hidden")
    browser.point("[data-published]")
    browser.until("!document.getElementById('tip').hidden")
    told = browser.do("document.getElementById('tip').innerText")
    assert "Published: 73.5 ± 0.25" in told
    assert "arXiv 2310.11454v2 <T9>" in told
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    browser.until("document.getElementById('tip').hidden")
    browser.do(f"document.querySelector({json.dumps(heading('Avg'))}).focus()")
    browser.press("Tab")
    browser.until("!document.getElementById('tip').hidden")
    told = browser.do("document.activeElement.closest('tr').cells[0].textContent")
    assert told in browser.do("document.getElementById('tip').innerText")
    assert browser.do("document.activeElement.getAttribute('aria-describedby')") == "tip"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_leads_to_the_cells_and_to_the_page_of_one(browser: Browser, page: str, width: int) -> None:
    browser.open(page, width)
    browser.click('td [data-number="made_up/0.1.0"]')
    browser.until("location.hash.startsWith('#number/') && document.title.startsWith('VeRA · NLI')")
    assert browser.do("document.querySelectorAll('#view table tbody tr').length") == 3
    assert "99.5" in browser.do("document.querySelector('#view .theirs-box').innerText")
    assert browser.do("document.querySelectorAll('#view svg .series').length") == 3  # a curve for each seed
    assert fits(browser)
    browser.click("#view a[href^='#cell/']")
    browser.until("location.hash.startsWith('#cell/') && document.title.startsWith('vera')")
    whole(browser)
    assert fits(browser)
    browser.do("history.go(-2)")
    browser.until("document.getElementById('view').hidden")
    assert browser.do("document.activeElement.dataset.number") == "made_up/0.1.0"


def whole(browser: Browser) -> None:
    """Look at the page of VeRA's first cell."""
    told = browser.do("(() => { for (const d of document.querySelectorAll('#view details')) d.open = true;"
                      " return document.getElementById('view').innerText; })()")  # fmt: skip
    for part in (
        "uora-bench method=vera task=tiny/nli seed=0 'task.splits.train=train[:64]'",
        "0.815 (× 100: 81.50)", "0.865 (× 100: 86.50)", "0.805 (× 100: 80.50)",  # the three rules
        "2,000", "1 GB (1,000,000,000 B)", "321.5", "1.25e-7", "bfloat16", "2.99.0", "Made-up CPU", "feedfacecafebeef",
        "arXiv 2310.11454v2 Table 8", "layer.1", "0123456789abcdef0123456789abcdef01234567", "with uncommitted changes",
        made_up.NASTY,
    ):  # fmt: skip
        assert part in told, part
    assert "99.5" not in told
    assert browser.do("document.querySelectorAll('#view svg .series').length") == 2  # the score and the loss
    assert browser.do("document.querySelectorAll('#view img, #view b').length") == 0


def test_the_command_is_copied(browser: Browser, page: str) -> None:
    browser.open(page)
    one = browser.do("Object.entries(DATA.cells).find(([, c]) => c.status === 'done')[0]")
    browser.open(f"{page}#cell/{one}")
    browser.do("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    browser.click("#view .command button")
    browser.until("document.querySelector('#view .command button').textContent === 'Copied'")
    assert browser.do("copied") == browser.do("document.querySelector('#view .command code').textContent")
    assert browser.do("copied").startswith("uora-bench method=")


def test_addresses_open_cells_and_unknown_ones_say_so(browser: Browser, page: str) -> None:
    browser.open(page)
    failed = browser.do("Object.entries(DATA.cells).find(([, c]) => c.status === 'failed')[0]")
    browser.open(f"{page}#cell/{failed}", 400)
    told = browser.do("document.getElementById('view').innerText")
    assert "Reason: loss is not finite" in told
    assert browser.do("document.getElementById('report').hidden")
    assert failed in browser.do("document.getElementById('view').textContent")
    assert fits(browser)
    for wrong in ("#cell/none", "#number/made_up/0.0.99", "#cell/%E0%A4%A"):
        browser.do(f"location.hash = {json.dumps(wrong)}")
        browser.until("document.querySelector('#view h1')?.textContent.startsWith('This page has no ')")
    browser.do("location.hash = '#missing-made_up'")
    browser.until("document.getElementById('view').hidden")
    assert browser.do("document.getElementById('missing-made_up').open")


# every cell of every table that the reader cannot bring into sight whole, or whose text does not fit into it
CUT = """(() => {
  const found = [];
  for (const box of document.querySelectorAll('.scroll')) {
    const table = box.querySelector('table');
    if (!table || !box.offsetParent) continue;
    for (const cell of table.querySelectorAll('th, td')) {
      const stuck = (e) => getComputedStyle(e).position === 'sticky';
      const line = [...cell.parentElement.cells];
      const label = table.tHead.rows[0].cells[0];
      const left = stuck(label) && label.cellIndex !== cell.cellIndex && cell.tagName !== 'TH' ? label.offsetWidth : 0;
      cell.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
      const [c, b] = [cell.getBoundingClientRect(), box.getBoundingClientRect()];
      const middle = document.elementFromPoint(c.x + c.width / 2, c.y + Math.min(c.height / 2, 12));
      const inside = c.left >= b.left + (stuck(cell) ? 0 : left) - 1 && c.right <= b.right + 1;
      if (!inside || !cell.contains(middle) || cell.scrollWidth > cell.clientWidth + 1)
        found.push(`${box.getAttribute('aria-label')}: ${cell.textContent.trim()} (${line.indexOf(cell)})`);
    }
    box.scrollLeft = 0;
  }
  return found;
})()"""
# of every table with an average: whether its label and average are in sight before anybody scrolls
SEEN = """[...document.querySelectorAll('table.sortable')].map((table) => [table.tHead.rows[0].cells[0],
  table.querySelector('thead .average')].map((h) => { h.scrollIntoView({ block: 'center', inline: 'nearest' });
    table.parentElement.scrollLeft = 0; const b = h.getBoundingClientRect();
    const middle = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);
    return b.left >= 0 && b.right <= innerWidth && h.contains(middle); }))"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page whose table has nine columns, published numbers and an average."""
    folder = tmp_path_factory.mktemp("wide")
    one, collection = made_up.make(folder)
    spec = collection.experiment.table
    assert spec is not None
    columns = tuple(Column("tiny/nli", f"STS-B ({n}k)", published={"task": "NLI"}) for n in range(9))
    collection = replace(collection, experiment=replace(collection.experiment, table=replace(spec, columns=columns)))
    path = folder / "index.html"
    library = Library([p.published for row in one.rows for p in row.entries if p.published is not None])
    made = table.build(collection, library), collection
    path.write_text(render.assemble([made], folder, False, "").html, encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [420, 1280, 1400, 1920, 2560])
def test_no_column_is_cut_and_the_average_is_in_sight(
    browser: Browser, page: str, wide: str, width: int, dark: bool
) -> None:
    browser.dark(dark)
    for address in (page, wide):
        browser.open(address, width)
        assert fits(browser)
        if width >= 1280:
            assert browser.do(SEEN) == [[True, True]]
        browser.do("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert browser.do(CUT) == []
        assert fits(browser)
    if width >= 1400:  # all nine at once
        assert browser.do("(() => { const b = document.querySelector('table.sortable').parentElement;"
                          " return b.scrollWidth <= b.clientWidth; })()")  # fmt: skip


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast_enough(browser: Browser, page: str, dark: bool) -> None:
    browser.dark(dark)
    browser.open(page)
    for foreground in ("--ink", "--faint", "--link", "--theirs", "--bad"):
        for background in ("--paper", "--theirs-back" if foreground == "--theirs" else "--raised"):
            assert browser.do(CONTRAST % (foreground, background)) >= 4.5, (foreground, background)


CONTRAST = """((names) => {
  const light = (name) => { const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0); };
  const [a, b] = names.map(light).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
})(['%s', '%s'])"""


@pytest.mark.parametrize("width", WIDTHS)
def test_every_view_fits_its_window_and_can_be_printed(browser: Browser, page: str, width: int) -> None:
    browser.open(page, width)
    assert len(browser.send("Page.printToPDF")["data"]) > 10_000
    for address in browser.do(
        "[...Object.keys(DATA.numbers).map((n) => '#number/' + encodeURIComponent(n)),"
        " ...Object.keys(DATA.cells).map((n) => '#cell/' + n)]"
    ):
        browser.do(f"location.hash = {json.dumps(address)}")
        browser.until("!document.getElementById('view').hidden")
        browser.do("document.querySelectorAll('#view details').forEach((d) => { d.open = true; })")
        assert fits(browser), address


def test_points_of_the_plot_and_folded_notes_are_reached_by_keyboard(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.do("document.querySelector('.pareto a').focus()")
    browser.press("Tab")
    browser.until("!document.getElementById('tip').hidden")
    assert "VeRA · Avg" in browser.do("document.getElementById('tip').innerText")
    browser.press("Enter")
    browser.until("location.hash === '#number/made_up%2F0.1.avg' && !document.getElementById('view').hidden")
    browser.do("history.back()")
    browser.until("document.getElementById('view').hidden")
    assert browser.do("document.activeElement.getAttribute('aria-label')") == "VeRA: 82.50 with 2,000 parameters"
    assert not browser.do("document.querySelector('.notes').open")
    browser.click("td sup a")
    browser.until("document.querySelector('.notes').open")


def test_every_control_has_a_name(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.do("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    nodes = browser.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"link", "button", "searchbox", "checkbox", "image", "region", "DisclosureTriangle", "columnheader"}
    found = [n for n in nodes if not n["ignored"] and n["role"]["value"] in roles]
    assert {n["role"]["value"] for n in found} >= {"link", "button", "searchbox", "checkbox", "region"}
    assert [n for n in found if not n.get("name", {}).get("value", "").strip()] == []


def test_without_a_script_the_tables_are_there(browser: Browser, page: str) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, script=False)
        shown = browser.do("document.getElementById('report').innerText")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert "82.50" in shown
    assert browser.do("document.querySelector('form.filter').hidden")


def test_the_page_of_the_committed_records_works(browser: Browser, root: Path, tmp_path: Path) -> None:
    names = ["minilm_glue", "tiny_e2e"]
    path = tmp_path / "index.html"
    path.write_text(render.build(names, root / "results", None, None, False, "").html, encoding="utf-8")
    for width in WIDTHS:
        browser.open(path.as_uri(), width)
        assert fits(browser)
        ids = browser.do("Object.keys(DATA.cells)")
        assert len(ids) == sum(len(list((root / "results/records" / name).glob("*.json"))) for name in names)
        for one in ids[:: max(1, len(ids) // 12)]:
            browser.do(f"location.hash = '#cell/{one}'")
            browser.until(f"document.getElementById('view').innerText.includes('{one}')")
            assert fits(browser), one

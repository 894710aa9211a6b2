"""The report page in a real Chromium, at two widths: sorting, filters, what stands behind a number, pages of cells.

CI must have the browser, which is installed from Debian's packages where we are root; elsewhere these tests are
skipped, with the reason, where it is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import chromium
from tests.support import made_up_report as made_up
from tests.support.chromium import Browser
from uora_bench.report.page import render

pytestmark = pytest.mark.slow

REQUIRED = bool(os.environ.get("CI"))
WIDTHS = (1280, 400)
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
    names = ["method", "", "adapter parameters", "adapter size", "seconds", "peak memory", "NLI", "NLI (best)", "Avg"]
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
    browser.click(heading("adapter parameters"))
    assert direction(browser, "NLI") is None
    assert browser.do(LABELS) == ["UORA", "LoRA <r=8>", "VeRA", "head only"]  # 40, 300, 2,000: by number, not by text
    assert set(browser.do(LINES)) == lines
    for _ in range(2):
        browser.click(heading("adapter parameters"))
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
    for method in ("vera", "head_only"):
        browser.click(f"form.filter input[value={method}]")
    assert browser.do(LABELS) == ["VeRA", "head only"]
    browser.click(heading("NLI"))  # what is filtered stays so
    assert browser.do(LABELS) == ["VeRA", "head only"]
    browser.click("form.filter input[value=vera]")
    assert browser.do(LABELS) == ["head only"]


def test_a_number_shows_its_provenance_to_mouse_and_keyboard(browser: Browser, page: str) -> None:
    browser.open(page)
    browser.point('[data-number="made_up/0.1.0"]')
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
    browser.click('[data-number="made_up/0.1.0"]')
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
        "2,000", "1,000,000,000 B", "321.5", "1.25e-7", "bfloat16", "2.99.0", "Made-up CPU", "feedfacecafebeef",
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


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_window_and_can_be_printed(browser: Browser, page: str, width: int) -> None:
    browser.open(page, width)
    assert fits(browser)
    browser.do("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert fits(browser)
    light = browser.do("getComputedStyle(document.body).backgroundColor")
    browser.dark()
    assert browser.do("getComputedStyle(document.body).backgroundColor") != light
    printed = browser.send("Page.printToPDF")["data"]
    assert len(printed) > 10_000
    for address in browser.do(
        "[...Object.keys(DATA.numbers).map((n) => '#number/' + encodeURIComponent(n)),"
        " ...Object.keys(DATA.cells).map((n) => '#cell/' + n)]"
    ):
        browser.do(f"location.hash = {json.dumps(address)}")
        browser.until("!document.getElementById('view').hidden")
        browser.do("document.querySelectorAll('#view details').forEach((d) => { d.open = true; })")
        assert fits(browser), address


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

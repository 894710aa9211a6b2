"""The page of the benchmarks says what their files say."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.scripts import script

report = script("bench_report")
PROVENANCE = {
    "git": {"commit": "0123456789abcdef"},
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "hardware": {"processor": "a processor", "cores": 2},
}


def test_the_committed_page_is_made_from_the_committed_results() -> None:
    folder = ROOT / "results" / "bench"
    assert (folder / "README.md").read_text("utf-8") == report.page(folder)


def test_a_case_is_a_row_with_its_spread(tmp_path: Path) -> None:
    cases = {
        "limit": {
            "seconds": 1.23456,
            "ratio": 1.0,
            "ratio_q25": 1.0,
            "ratio_q75": 1.0,
            "peak_memory_bytes": 2_500_000_000,
        },
        "lora": {
            "seconds": 2.5,
            "ratio": 2.025,
            "ratio_q25": 1.9,
            "ratio_q75": 2.1,
            "peak_memory_bytes": 3_000_000_000,
        },
        "counted alone": {"rounds": 5},
    }
    result = {"setting": {"runs": 3}, "cases": cases, "runs": {"limit": [{"seconds": 77.0}]}, "provenance": PROVENANCE}
    (tmp_path / "step_cpu_float32.json").write_text(json.dumps(result))
    page = report.page(tmp_path)
    assert (
        "Measured on a processor, 2 cores; torch 2.13.0, transformers 5.23.0; commit 0123456789ab. Setting: runs 3."
        in page
    )
    assert "| case | seconds | ratio | peak memory bytes |" in page
    assert "| limit | 1.235 | 1.00 (1.00 – 1.00) | 2.50 GB |" in page
    assert "| lora | 2.5 | 2.02 (1.90 – 2.10) | 3.00 GB |" in page
    assert "counted alone" not in page
    assert "77" not in page


def test_cases_below_cases_have_the_names_of_both(tmp_path: Path) -> None:
    ratio = {"median": 1.5, "least": 1.25, "most": 1.75}
    result = {"model": {"greedy": {"sorted": {"tokens": 7, "ratio": ratio}}}, "provenance": PROVENANCE}
    (tmp_path / "generation_model.json").write_text(json.dumps(result))
    assert "| model greedy sorted | 7 | 1.50 (1.25 – 1.75) |" in report.page(tmp_path)


def test_every_script_of_make_bench_has_a_page_of_its_own() -> None:
    bench = (ROOT / "Makefile").read_text("utf-8").split("\nbench:")[1].split("\n\n")[0]
    results = [word.split("/")[-1].removesuffix(".json") for word in bench.split() if word.endswith(".json")]
    assert len(results) > 10
    assert [name for name in results if not report.script_of(name).is_file()] == []

"""Energy is what counters of the hardware say, and nothing where there are none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from uora_bench.execution.energy import Meter


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages that count to 1000 J, with 900 J and 10 J so far; a part of the first, which is in it already."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, joules in (("intel-rapl:0", 900), ("intel-rapl:1", 10), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text("1000000000\n")
        (tmp_path / name / "energy_uj").write_text(f"{joules}000000\n")
    return tmp_path


def count(powercap: Path, package: int, joules: int) -> None:
    (powercap / f"intel-rapl:{package}" / "energy_uj").write_text(f"{joules}000000\n")


def test_packages_are_added_up_and_a_counter_may_begin_again(powercap: Path) -> None:
    meter = Meter(powercap)
    count(powercap, 0, 50)  # 100 to the end, and 50 more
    count(powercap, 1, 30)
    found = meter.stop()
    assert (found.joules, found.source) == (170.0, "rapl")


def test_a_round_between_two_looks_is_not_missed(powercap: Path) -> None:
    meter = Meter(powercap, every=0.01)
    for joules in (950, 20, 980, 40):
        count(powercap, 0, joules)
        deadline = time.monotonic() + 20
        while meter._last[0] != joules and time.monotonic() < deadline:
            time.sleep(0.005)
    assert meter.stop().joules == 50 + 70 + 960 + 60


def test_a_resumed_run_has_no_energy_as_its_earlier_starts_took_some_too(powercap: Path) -> None:
    found = Meter(powercap).stop(restarts=2)
    assert found.joules is None
    assert found.source == "not measured: rapl knows only the last of 3 starts"


def test_a_counter_that_goes_away_is_said(powercap: Path) -> None:
    meter = Meter(powercap)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    found = meter.stop()
    assert found.joules is None
    assert found.source.startswith("not measured: rapl could not be read")


def test_without_counters_there_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert Meter(tmp_path).stop().joules is None
    assert Meter(tmp_path).stop().source == "not measured: no NVML, no RAPL"

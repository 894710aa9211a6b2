"""``uora-bench figures``: what is drawn again and what is not, what ``check`` sees, and mistakes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.made_up_grids import made_up, sketched
from tests.support.paths import ROOT
from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.report import figures


def test_nothing_imports_matplotlib_or_torch_before_something_is_drawn():
    code = "import sys, uora_bench.report.figures; print(sorted({'matplotlib', 'torch', 'PIL'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


@pytest.fixture
def small(tmp_path):
    made_up(tmp_path, "minilm_glue", lambda c: c.task.name == "glue/rte" and c.method.name in ("lora", "vera"))
    return tmp_path


def test_the_command_draws_what_is_not_there_or_shows_something_else(small, capsys):
    def names():
        return {p.name: p.read_bytes() for p in (small / "figures").iterdir()}

    assert figures.command("minilm_glue", False, small) == 0
    first = names()
    assert set(first) == {f"{name}.{kind}" for name in sketched(small) for kind in ("svg", "pdf", "csv")}
    assert "4 figures" in capsys.readouterr().out
    (small / "figures" / "minilm_glue_curves.pdf").unlink()
    (small / "figures" / "minilm_glue_pareto_memory.svg").write_text("old")
    figures.command("minilm_glue", False, small)
    assert names() == first
    said = capsys.readouterr().out
    assert "4 figures" in said
    assert "2 drawn, 2 unchanged" in said
    assert said.count(" bytes)") == 3  # the one that was missing; the old one in both formats
    figures.command("minilm_glue", False, small, formats=["png"])
    assert set(names()) - set(first) == {f"{name}.png" for name in sketched(small)}
    capsys.readouterr()
    figures.command("minilm_glue", False, small, force=True)
    assert "4 drawn" in capsys.readouterr().out


def test_one_more_cell_redraws_what_it_is_in_and_nothing_else(small, capsys):
    figures.command(None, False, small)
    capsys.readouterr()
    made_up(small, "minilm_holdout", lambda c: True)
    figures.command(None, False, small)
    drawn_names = {
        line.split("/")[-1].split(" ")[0] for line in capsys.readouterr().out.splitlines() if "bytes)" in line
    }
    assert drawn_names
    assert all(name.startswith("minilm_holdout_") for name in drawn_names)


def test_check_sees_changed_missing_and_left_over_files(small, capsys):
    figures.command(None, False, small)
    assert figures.command(None, True, small) == 0
    folder = small / "figures"
    (folder / "old.svg").write_text("")
    with pytest.raises(UserError, match=r"old\.svg.* remove it"):
        figures.command(None, True, small)
    assert figures.command("minilm_glue", True, small) == 0  # of one experiment, others may be there
    (folder / "old.svg").unlink()
    (folder / "minilm_glue_curves.pdf").unlink()
    assert figures.command(None, True, small) == 0  # a PDF is there for whom it is asked for
    picture = (folder / "minilm_glue_curves.svg").read_text("utf-8")
    for bad in ("", picture.replace("</dc:identifier>", "0</dc:identifier>")):
        (folder / "minilm_glue_curves.svg").write_text(bad, encoding="utf-8")
        with pytest.raises(UserError, match=r"minilm_glue_curves\.svg.*uora-bench figures"):
            figures.command(None, True, small)
    (folder / "minilm_glue_curves.svg").write_text(picture, encoding="utf-8")
    with (folder / "minilm_glue_curves.csv").open("a") as file:
        file.write("x")
    with pytest.raises(UserError, match=r"minilm_glue_curves\.csv"):
        figures.command(None, True, small)


def test_without_matplotlib_one_line_names_the_extra_and_check_still_works(small, monkeypatch):
    figures.command(None, False, small)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert figures.command(None, True, small) == 0
    with pytest.raises(UserError, match="figures") as caught:
        figures.command(None, False, small, force=True)
    assert "\n" not in str(caught.value)
    assert ".[figures]" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experimnt=minilm_glue"], "did you mean 'experiment'"),
        (["--chek"], "did you mean 'check'"),
        (["experiment=minilm_glu"], "did you mean 'minilm_glue'"),
        (["experiment=vera_table2"], "no finished record"),
        (["experiment=minilm_glue", "format=svg,jpeg"], "no format 'jpeg'"),
        (["experiment=minilm_glue", "experiment=vera_table2"], "both set experiment; keep one of them"),
    ],
)
def test_mistakes_are_one_line(small, words, message, capsys):
    assert main(["figures", *words, f"results.dir={small}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (small / "figures").exists()


def test_another_rule_goes_into_a_folder_of_its_own(small):
    figures.command(None, False, small, "best_dev")
    assert {p.name for p in (small / "figures").iterdir()} == {"best_dev"}
    assert figures.command(None, True, small, "best_dev") == 0

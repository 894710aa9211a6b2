"""The real theory command in processes of its own: run, skip, kill and resume, mistakes, and a start without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "transformers", "datasets", "wandb", "accelerate", "evaluate")
SMALL = ("figure=1", "N=200", "n=20", "p=40", "repetitions=10", "alphas=-1,0,1,2")
LONG = ("figure=1", "beta=0,0.1,0.2,0.3,0.4,0.5", "n=200", "p=400", "repetitions=250", "alphas=0,1")  # a second each

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


def environment(root: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UORA_")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root / "src")}


def start(folder: Path, root: Path, *words: str, command: tuple[str, ...] = ("theory",)) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(
        [sys.executable, "-m", "uora_bench", *command, *words], cwd=folder, env=environment(root), text=True, **pipes
    )


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    """Run the command in the test's folder; no traceback may show."""

    def go(*words: str, command: tuple[str, ...] = ("theory",)) -> Result:
        process = start(tmp_path, root, *words, command=command)
        out, err = process.communicate(timeout=240)
        assert "Traceback" not in out + err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return go


def records(folder: Path, name: str = "theory_accuracy_alpha") -> dict[str, tuple[float, dict[str, Any]]]:
    paths = (folder / "results" / "records" / name).glob("[0-9a-f]*.json")
    return {p.stem: (p.stat().st_mtime, json.loads(p.read_text("utf-8"))) for p in paths}


def test_a_figure_runs_once_and_is_tabulated_and_drawn(run: Run, tmp_path: Path) -> None:
    mine = (*SMALL, "experiment_name=theory_mine")
    first = run(*mine)
    assert first.returncode == 0, first.stderr
    assert "3 computed, 0 already done of 3 cells" in first.stdout
    assert first.stdout.count("accuracy at alpha 1: theory 0.") == 3
    made = records(tmp_path, "theory_mine")
    assert {one["status"] for _, one in made.values()} == {"done"}
    again = run(*mine)
    assert (again.returncode, again.stderr) == (0, "")
    assert "0 computed, 3 already done of 3 cells (force=true reruns)" in again.stdout
    assert records(tmp_path, "theory_mine") == made
    shown = run("tables", "experiment=theory_mine", command=())
    assert "| α = 1 (LoRA) | 1.000 |" in shown.stdout
    assert "N=200, n=20, p=40, μ=0.8" in shown.stdout
    assert "| published" not in shown.stdout, "the paper's numbers are of other settings"
    drawn = run("figures", "experiment=theory_mine", command=())
    assert drawn.returncode == 0, drawn.stderr
    own = tmp_path / "results" / "figures" / "own"
    assert {p.suffix for p in own.glob("theory_mine.*")} == {".svg", ".pdf", ".csv"}
    assert run("figures", "experiment=theory_mine", "check=true", command=()).returncode == 0


def test_a_dry_run_names_values_sources_and_ids_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    said = run("figure=1", "dry_run=true", "n=50")
    assert said.returncode == 0
    assert "accuracy_alpha.py of the released code" in said.stdout
    assert said.stdout.count("300 repetitions: to do") == 3
    assert "N=5000 n=50 p=1000 mu=0.8" in said.stdout
    assert not (tmp_path / "results").exists()


def test_help_and_list_need_no_numpy(tmp_path: Path, root: Path) -> None:
    for word in ("--help", "list"):
        code = (
            "import sys; from uora_bench.cli.main import main; code = main(['theory', sys.argv[1]]);"
            f"bad = set({(*HEAVY, 'numpy', 'scipy', 'hydra')}) & set(sys.modules); assert not (code or bad), bad"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, word], cwd=tmp_path, env=environment(root), capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "accuracy_alpha " in done.stdout
        assert "amazon_table_1 " in done.stdout


def test_a_run_imports_nothing_that_trains(tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; code = main(['theory', *sys.argv[1:]]);"
        f"bad = set({HEAVY}) & set(sys.modules); assert not (code or bad), bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SMALL], cwd=tmp_path, env=environment(root), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("figure=1", "gama=0.1"), "unknown key 'gama' for accuracy_alpha; did you mean 'gamma'?"),
        (("figure=7",), "no figure=7 of the paper is here"),
        (("experiment=oracel",), "did you mean 'oracle'?"),
        (("lst",), "not of the form key=value; did you mean 'list'?"),
        (("table=1",), "data.root is not set"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(run: Run, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("how", "code"), [("kill", -9), pytest.param("terminate", 143, marks=pytest.mark.slow)])
def test_a_killed_run_keeps_what_was_finished(run: Run, tmp_path: Path, root: Path, how: str, code: int) -> None:
    process = start(tmp_path, root, *LONG)
    try:
        deadline = time.monotonic() + 60
        while not records(tmp_path):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        getattr(process, how)()
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
    finally:
        process.kill()
    kept = records(tmp_path)
    assert 1 <= len(kept) < 6
    done = run(*LONG)
    assert done.returncode == 0, done.stderr
    assert f"{6 - len(kept)} computed, {len(kept)} already done of 6 cells" in done.stdout
    after = records(tmp_path)
    assert len(after) == 6
    assert {k: after[k] for k in kept} == kept
    assert not list((tmp_path / "results").rglob("*.tmp"))


@pytest.mark.slow
def test_two_processes_share_a_folder_and_compute_each_cell_once(tmp_path: Path, root: Path) -> None:
    both = [start(tmp_path, root, *LONG) for _ in range(2)]
    said = [process.communicate(timeout=240) for process in both]
    assert {process.returncode for process in both} <= {0, 75}
    counts = [int(out.split("accuracy_alpha: ")[1].split(" computed")[0]) for out, _ in said]
    assert sum(counts) == 6
    assert len(records(tmp_path)) == 6

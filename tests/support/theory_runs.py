"""Small runs of the theory command for the tests of its records and of its reports."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import last_of_each
from uora_bench.cli.main import main
from uora_bench.theory import record

QUICK = "accuracy_alpha n=20 p=40 N=100 alphas=-1,0,1,2 repetitions=8"
SEVERAL = (
    f"{QUICK} experiment_name=theory_mine",
    "accuracy_gamma N=100 n=40 p=20 gammas=0.01,1,100 repetitions=6 experiment_name=theory_sweep",
    "decision_function N=100 n=40 p=20 points=200 bins=10 repetitions=4 experiment_name=theory_histogram",
    "optimal_alpha_n N=200 p=20 values=10,20,40,80 checks=20,40 repetitions=20 experiment_name=theory_best",
    "regression_risk p=10 d=2 alphas=-1,0,1 repetitions=6 experiment_name=theory_regression",
    "optimal_alpha_map experiment_name=theory_map",
)


def run(results: Path, words: str = QUICK) -> int:
    """The exit code of the command for the experiment and words in ``words``."""
    name, *rest = words.split()
    return main(["theory", f"experiment={name}", f"results.dir={results}", *last_of_each(*rest)])


def several(folder: Path) -> Path:
    """``folder`` with records of a ridge source, a sweep, a histogram, α* against n, a regression and a map."""
    for words in SEVERAL:
        assert run(folder, words) == 0
    return folder


def read_all(results: Path, name: str) -> list[record.TheoryRecord]:
    """The records of one folder."""
    return [record.read_record(path) for path in sorted((results / "records" / name).glob("*.json"))]

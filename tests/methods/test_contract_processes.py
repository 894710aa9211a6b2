"""The contract over two processes: every method in one start of them, and any batch size on a group that stays up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gloo import Group
from uora_bench.config import registry
from uora_bench.contract import processes, worker
from uora_bench.contract.harness import options_of, train
from uora_bench.training import evaluation

METHODS = registry.choices("method")
# the quick ones rewrite shared frozen matrices, have a second optimizer, train parts of the backbone, and are plain
QUICK = ("uora", "alpha_lora", "bitfit", "lora")


@pytest.fixture(scope="module")
def by_two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What two processes did with every method that is asked for here, and what went wrong."""
    here = [i for i in request.session.items if i.path == request.path and "by_two" in getattr(i, "fixturenames", ())]
    names = {i.callspec.params["name"] for i in here if hasattr(i, "callspec")}
    return processes.by_two([n for n in METHODS if n in names], tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_two_processes_train_like_one(name: str, by_two: tuple[dict[str, Any], str], tmp_path: Path) -> None:
    processes.ensure_like_one(name, *by_two, tmp_path)


@pytest.fixture(scope="module")
def two() -> Iterator[Group]:
    group = Group(2, "spawn")  # backward passes: no fork
    yield group
    group.close()


def losses(name: str, **chosen: Any) -> tuple[list[float], list[int]]:
    """Every step's loss, and how many dev rows were scored in each epoch."""
    scored: list[int] = []
    score = evaluation.split_scores

    def counted(task: Any, predictions: Any, *rest: Any, **more: Any) -> Any:
        scored.append(len(predictions))
        return score(task, predictions, *rest, **more)

    evaluation.split_scores = counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            return train(name, Path(folder), **{**worker.SETTINGS, **chosen}).losses, scored
    finally:
        evaluation.split_scores = score


def losses_of(name: str, chosen: dict[str, Any]) -> tuple[list[float], list[int]]:
    return losses(name, **chosen)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(METHODS), st.integers(1, 41), st.none() | st.integers(1, 21), st.integers(1, 30), st.integers(0, 8)
)
def test_any_batch_size_gives_the_losses_of_one_process(two, name, batch_size, micro, evaluated, window):
    chosen = {"batch_size": batch_size, "micro_batch_size": micro, "eval_batch_size": evaluated, "max_steps": 6}
    chosen |= {"length_bucket": window}
    alone, scored = losses(name, **chosen)
    for each, counted in two(losses_of, name, chosen):
        assert each == pytest.approx(alone, rel=1e-5)
        assert counted == scored
        assert set(scored) == {21}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in METHODS if "forward" in options_of(n)])
@pytest.mark.parametrize("forward", ["merged_weight", "delta_weight", "auto"])
def test_every_kernel_gives_the_losses_of_the_plain_one_in_two_processes(two, name, forward):
    options = {**worker.SETTINGS["options"], "forward": "factored"}
    alone, _ = losses(name, options=options, max_steps=6)
    for each, _ in two(losses_of, name, {"options": {**options, "forward": forward}, "max_steps": 6}):
        assert each == pytest.approx(alone, rel=1e-4)

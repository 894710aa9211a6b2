"""The contract, kept by every method: the checks of `uora_bench.contract`, a test per case."""

from __future__ import annotations

import pytest

from uora_bench.config import registry
from uora_bench.contract.cases import cases_of
from uora_bench.contract.check import Case

TOGETHER = "two_processes_train_like_one"  # test_contract_processes: all methods in one start


def cases() -> list[pytest.param]:
    found = [case for name in registry.choices("method") for case in cases_of(name, slow=True)]
    return [
        pytest.param(case, id=str(case), marks=[pytest.mark.slow] if case.check.slow else [])
        for case in found
        if case.check.name != TOGETHER
    ]


@pytest.mark.parametrize("case", cases())
def test_the_contract(case: Case) -> None:
    case.run()

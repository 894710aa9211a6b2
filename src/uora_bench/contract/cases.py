"""All checks of the contract in order, and what becomes of them: what ``uora-bench check`` prints and tests run."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stderr

from transformers.utils import logging

from uora_bench.contract import maths, processes, start, state, training
from uora_bench.contract.check import Case, Check, Finding, cases_of_check, reason_of
from uora_bench.contract.harness import looked_at
from uora_bench.contract.models import roberta

CHECKS: tuple[Check, ...] = tuple(
    check for part in (start, maths, state, training, processes) for check in part.check.all
)


def cases_of(method: str, slow: bool = False) -> list[Case]:
    """Every case of every check that the method is asked, without the slow ones unless ``slow``."""
    return [case for check in CHECKS if slow or not check.slow for case in cases_of_check(check, method)]


def check_method(method: str, slow: bool = False, only: str = "") -> Iterator[Finding]:
    """Run the checks that have ``only`` in their names, one after the other; each ends with its first failure.

    A method that cannot be put on a model gives that one finding.
    """
    logging.set_verbosity_error()
    try:
        looked_at(method, roberta)
    except Exception as error:  # noqa: BLE001 - every check would say the same
        yield Finding("it_can_be_put_on_a_model", "failed", reason_of(error))
        return
    for check in CHECKS:
        if only in check.name and (slow or not check.slow):
            started = time.perf_counter()
            cases = cases_of_check(check, method)
            reason = next((said for case in cases if (said := failure(case))), "")
            if reason or not cases:
                yield Finding(check.name, "failed" if reason else "left out", reason or "does not apply")
            else:
                yield Finding(check.name, "ok", f"{len(cases)} × in {time.perf_counter() - started:.1f} s")


def failure(case: Case) -> str:
    """What went wrong with ``case``; empty: nothing."""
    try:
        with redirect_stderr(io.StringIO()):  # the trainer's lines, and the libraries'
            case.run()
    except Exception as error:  # noqa: BLE001 - a broken method may raise anything, and the next check goes on
        return ": ".join(filter(None, (case.label, reason_of(error))))
    return ""

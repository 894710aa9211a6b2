"""A process that is ended from within by code that is not ours does not end as if it were done."""

from __future__ import annotations

import os

import pytest

from uora_bench.util.leaving import no_silent_end


@pytest.mark.parametrize(("status", "ended"), [(0, 1), (3, 3)])
def test_a_silent_end_is_no_success(status: int, ended: int) -> None:
    process = os.fork()
    if not process:
        with no_silent_end():
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == ended


def test_a_process_that_is_forked_ends_as_it_likes() -> None:
    before = os._exit
    with no_silent_end():
        process = os.fork()
        if not process:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert os._exit is before

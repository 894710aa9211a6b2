"""What a launcher left in the environment, and what cannot be."""

import re

import pytest

from uora_bench.errors import UserError
from uora_bench.util import launched

WHOLE = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*WHOLE, "LOCAL_WORLD_SIZE", launched.LAUNCH, launched.ITEM):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        WHOLE,
        {**WHOLE, "WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1"},
        {launched.LAUNCH: '{"launcher": "local"}'},
    ],
)
def test_one_process_and_what_torchrun_sets_are_fine(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    launched.check_environment()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE='abc' must be a number"),
        ({"RANK": ""}, "RANK='' must be a number"),
        ({launched.ITEM: "../../x"}, "UORA_ITEM='../../x' is not the key of a grid's item"),
        ({launched.LAUNCH: "[" * 100_000}, "UORA_LAUNCH is not a JSON object"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK='-1' must be a number"),
        ({"WORLD_SIZE": "9" * 30}, "must be a number"),
        ({"LOCAL_RANK": "0"}, "without WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT"),
        ({"LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1"}, "without WORLD_SIZE, RANK, MASTER_PORT"),
        ({"WORLD_SIZE": "4", "RANK": "1"}, "'unset WORLD_SIZE RANK' for one"),
        ({**WHOLE, "RANK": "2"}, "RANK=2 must be below WORLD_SIZE=2"),
        ({launched.LAUNCH: "{"}, "UORA_LAUNCH is not a JSON object"),
        ({launched.LAUNCH: "[1]"}, "UORA_LAUNCH is not a JSON object"),
    ],
)
def test_leftovers_are_refused_before_torch_waits_for_them(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=re.escape(said)):
        launched.check_environment()


def test_an_item_is_believed_only_of_the_command_line_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["method=lora", "task=tiny/nli"]
    monkeypatch.setenv(launched.ITEM, "0" * 16)
    assert launched.item_key(words) is None
    monkeypatch.setenv(launched.WORDS, launched.words_digest(words))
    assert launched.item_key(words) == "0" * 16
    assert launched.item_key([*words, "seed=1"]) is None

"""An interpolation on the command line is text, whatever key it is given to: nothing of the environment or of another
key comes into a cell, and so into a record."""

from __future__ import annotations

import pytest

from uora_bench.config.compose import Composed, compose, leaves
from uora_bench.errors import UserError

SECRET = "a-value-of-the-environment"
NAME = "UORA_BENCH_TEST_SECRET"
GIVEN = "${oc.env:" + NAME + "}"
CELLS = [
    ["method=uora"], ["method=peft", "peft.type=lora"],
    ["method=alpha_lora", "task=tiny/instruct", "backbone=tiny_llama"],
    ["method=bitfit", "task=e2e", "backbone=gpt2_medium"], ["task=vision/cifar10", "backbone=vit_base"],
]  # fmt: skip


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, SECRET)


def composed(words: list[str]) -> Composed | None:
    """The configuration; None where it is refused."""
    try:
        found = compose(words)
        _ = found.cell, found.settings
    except UserError as error:
        return None if SECRET not in str(error) else pytest.fail(str(error))
    return found


@pytest.mark.parametrize("words", CELLS, ids=" ".join)
def test_an_interpolation_is_text_whatever_key_it_is_given_to(words: list[str]) -> None:
    taken = set()
    for key in leaves(compose(words).values):
        for form, text in ((GIVEN, GIVEN), (f"'{GIVEN}'", GIVEN), (f"a{GIVEN}b", f"a{GIVEN}b"), ("${seed}", "${seed}")):
            found = composed([*words, f"{key}={form}"])
            if found is None:
                continue
            taken.add(key)
            assert leaves(found.values)[key] in (text, [text])  # one target module is a list of one
            assert SECRET not in repr((found.values, found.cell, found.cell.canonical(), found.settings, found.sources))
    assert taken >= {"experiment_name", "data.root", "results.dir", "backbone.path", "backbone.id", "task.splits.train"}
    assert not taken & {"seed", "trainer.epochs", "trainer.precision", "force"}


@pytest.mark.parametrize("words", CELLS[:2], ids=" ".join)
def test_an_interpolation_in_a_list_or_a_mapping_is_text_too(words: list[str]) -> None:
    for key, value in leaves(compose(words).values).items():
        for form in (f"[{GIVEN}]", "{a: " + GIVEN + "}"):
            found = composed([*words, f"{key}={form}"])
            assert found is None or SECRET not in repr((found.values, found.cell.canonical())), (key, value)


@pytest.mark.parametrize("group", ["method", "task", "backbone", "recipe", "trainer", "tracker"])
def test_no_group_is_chosen_by_an_interpolation(group: str) -> None:
    with pytest.raises(UserError) as error:
        compose([f"{group}={GIVEN}"])
    assert SECRET not in str(error.value)

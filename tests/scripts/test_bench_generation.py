"""The speed of decoding, on four prompts: the cases write the same texts, and a ratio is to the library's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.scripts import script

made = script("bench_generation")


def test_a_small_run_compares_the_cases_and_keeps_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "generation.json"
    words = ["--backbone", "tiny_gpt2", "--runs", "1", "--rows", "2", "--prompts", "4", "--new-tokens", "4"]
    monkeypatch.setattr(sys, "argv", ["bench_generation.py", *words, "--precision", "float32", "--out", str(out)])
    made.main()
    found = json.loads(out.read_text())
    assert found["setting"]["rows"] == 2
    assert found["provenance"]["hardware"]
    shortest, longest = found["tiny_gpt2"]["prompt_tokens"]
    assert longest > 2 * shortest
    for how in ("greedy", "beams"):
        cases = found["tiny_gpt2"][how]
        assert set(cases) == set(made.CASES)
        assert cases["library"]["ratio"]["median"] == 1
        for values in cases.values():
            assert values["tokens"] == 16
            assert values["texts_like_library"] == 4  # in float32 no two words are as likely as each other


def test_a_ratio_is_of_tokens_a_second_in_one_round() -> None:
    texts = [[1, 2], [3, 4]]
    rounds = {
        "library": [(2.0, 1.0, texts), (4.0, 2.0, texts)],
        "sorted": [(1.0, 1.0, texts), (1.0, 0.5, [[1], [3, 4]])],
    }
    found = made.compared(rounds)
    assert found["sorted"]["ratio"] == {"median": 2.5, "least": 2.0, "most": 3.0}
    assert found["sorted"]["processor_ratio"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert found["sorted"]["texts_like_library"] == 2
    assert found["library"]["tokens_per_second"] == 1.5

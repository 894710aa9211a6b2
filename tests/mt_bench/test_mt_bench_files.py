"""MT-Bench's answering half without a model: the questions, the answers kept, the command line's words."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.mt_bench_questions import ASKED
from tests.support.paths import ROOT
from uora_bench.cli import main as program
from uora_bench.cli.mt_bench_answer import COMMAND
from uora_bench.errors import UserError
from uora_bench.mt_bench import config, kept, questions
from uora_bench.mt_bench.config import AnswerConfig
from uora_bench.mt_bench.judge import answers
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.util.hold import hold

# --- questions ----------------------------------------------------------------------------------------------------


def put(root: Path, *lines: dict[str, Any]) -> str:
    path = root / "mt_bench/question/test.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(root)


def test_the_published_questions_are_read(shared: Path) -> None:
    found = questions.read_questions(str(shared / "data"))
    assert len(found) == questions.PUBLISHED
    assert [q.question_id for q in found] == list(range(81, 161))
    assert all(len(q.turns) == 2 for q in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"turns": []}, "0 turns"),
        ({"turns": ["a", "b", "c"]}, "3 turns"),
        ({"turns": ["a", " "]}, "empty turn"),
        ({"turns": "a"}, "must be a list"),
        ({"category": "maths"}, "did you mean 'math'"),
        ({"question_id": 7}, "question_id 7 occurs twice"),
        ({"question_id": "8"}, "must be a whole number"),
        ({"turn": ["a"]}, "unknown key 'turn'"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    good = {"question_id": 7, "category": "math", "turns": ["a", "b"]}
    with pytest.raises(UserError, match=rf"line 2: .*{re.escape(message)}"):
        questions.read_questions(put(tmp_path, good, {**good, "question_id": 8, **change}))
    assert len(questions.read_questions(put(tmp_path, good, {**good, "question_id": 8, "reference": ["x"]}))) == 2
    with pytest.raises(UserError, match="holds no questions"):
        questions.read_questions(put(tmp_path))
    with pytest.raises(UserError, match="is not there"):
        questions.read_questions(str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="UORA_DATA_DIR"):
        questions.read_questions(None)


# --- what is kept -------------------------------------------------------------------------------------------------


def answer(n: int, **changes: Any) -> Answer:
    question = ASKED[n - 1]
    made = Answer(n, question.category, question.turns, question.turns, 0.5, {"seed": 0, "tokens": [1]})
    return dataclasses.replace(made, **changes)


def asked(count: int = 3, **facts: Any) -> kept.Asked:
    chosen = {q.question_id: q for q in ASKED[:count]}
    return kept.Asked(chosen, dict.fromkeys(chosen, 0.5), {"seed": 0, **facts})


def test_a_killed_call_is_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    first = kept.Kept(output, asked())
    assert not first.open(force=False)
    first.add([answer(3)])
    first.add([answer(1)])
    assert not output.exists()
    again = kept.Kept(output, asked())
    assert not again.open(force=True), "force keeps what a killed call of the same answers left"
    assert again.answers == {1: answer(1), 3: answer(3)}
    again.add([answer(2)])
    again.finish()
    assert [a.question_id for a in answers.read_answers(output)] == [1, 2, 3]
    assert not again.partial.exists()
    assert kept.Kept(output, asked()).open(force=False)


def test_other_answers_are_not_mixed_in(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    answers.write_answers(output.with_name("a.jsonl.partial"), [answer(1)])
    for want, message in (
        (asked(seed=1), "seed is 0 there, not 1"),
        (dataclasses.replace(asked(), temperatures={1: 0.0}), "temperature of question 1 is 0.5 there, not 0.0"),
        (dataclasses.replace(asked(), questions={1: ASKED[1]}), "question 1 is another one there"),
        (dataclasses.replace(asked(), questions={2: ASKED[1]}), "answers question 1, which is not asked"),
    ):
        with pytest.raises(UserError, match=rf"{message}.*force=true"):
            kept.Kept(output, want).open(force=False)
    fresh = kept.Kept(output, asked(seed=1))
    assert not fresh.open(force=True)
    assert fresh.answers == {}
    answers.write_answers(output, [answer(1)])
    with pytest.raises(UserError, match=r"lacks question 2 \(2 in all\)"):
        kept.Kept(output, asked()).open(force=False)
    assert not kept.Kept(output, asked()).open(force=True)
    assert not output.exists()


def test_what_was_begun_on_another_device_is_not_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    begun = kept.Kept(output, asked())
    begun.add([answer(1, generation={"seed": 0, "device": "cuda"})])
    again = kept.Kept(output, asked())
    again.open(force=False)
    again.check_maker({"device": "cuda"}, force=False)
    assert set(again.answers) == {1}
    with pytest.raises(UserError, match=r"device is cuda there, not cpu; force=true"):
        again.check_maker({"device": "cpu"}, force=False)
    again.check_maker({"device": "cpu"}, force=True)
    assert again.answers == {}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.jsonl"
    with hold(path, "writing"), pytest.raises(UserError, match="another process"), hold(path, "writing"):
        pass
    with hold(path, "writing"):
        assert path.parent.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="output="), hold(tmp_path / "file" / "a.jsonl", "writing", "; output="):
        pass


# --- the command line's words -------------------------------------------------------------------------------------


def main(words: list[str]) -> int:
    return program.main(["mt-bench", "answer", *words])


def parse(words: list[str]) -> config.AnswerRequest:
    given = COMMAND.read(words)
    return config.parse(given.names[0], dict(given.values))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cell", "seeds=1"], "did you mean 'seed'"),
        (["cell", "temperature.maths=1"], "did you mean 'temperature.math'"),
        (["cell", "temperature.math=-1"], "at least 0"),
        (["cell", "temperature.math=hot"], "temperature.math='hot' must be a number"),
        (["cell", "seed=x"], "seed='x' must be a whole number"),
        (["cell", "limit=0"], "at least 1"),
        (["cell", "batch_size=0"], "at least 1"),
        (["cell", "turns=2"], "not one of 1, both"),
        (["cell", "template=alpacca"], "did you mean 'alpaca'"),
        (["cell", "weights=first"], "not one of last, best"),
        (["cell", "force=yes"], "true or false"),
        (["seed=1"], "takes one <run folder | cell_id>, not 0"),
        (["cell", "other"], "takes one <run folder | cell_id>, not 2"),
        (["cell"], "data.root=<folder>"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UORA_DATA_DIR", raising=False)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_words_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UORA_DATA_DIR", "there")
    made = parse(["cell", "seed=null", "temperature.math=1", "turns=1", "experiment=2024", "force=true"])
    assert made.config == AnswerConfig(turns="1", temperature={"math": 1.0}, force=True)
    assert (made.cell, made.places["data.root"], made.places["runs.dir"]) == ("cell", "there", "runs")
    assert made.places["experiment"] == "2024"
    assert parse(["cell", "data.root=here"]).places["data.root"] == "here"


def test_every_key_is_in_the_help_and_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text, guide = capsys.readouterr().out, (ROOT / "docs" / "mt_bench.md").read_text("utf-8")
    for key in [*(f.name for f in dataclasses.fields(AnswerConfig)), *config._PLACES]:
        shown, told = ("temperature.*", "temperature.<category>") if key == "temperature" else (key, key)
        assert f"{shown}=" in text, key
        assert f"`{told}`" in guide, key

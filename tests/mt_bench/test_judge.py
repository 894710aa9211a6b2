"""MT-Bench's judging half without a server: answers, prompts, verdicts, keys, the file of judgements, scores."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.judgements import HINT, answer, judgement
from tests.support.paths import ROOT
from uora_bench.cli import main as program
from uora_bench.cli.mt_bench_judge import COMMAND
from uora_bench.errors import UserError
from uora_bench.mt_bench.judge import answers, config, plan, prompts, store
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.util.jsonl import json_lines


def main(words: list[str]) -> int:
    return program.main(["mt-bench", "judge", *words])


def parse(words: list[str]) -> config.JudgeRequest:
    given = COMMAND.read(words)
    return config.parse(given.names[0], dict(given.values))


# --- answers ------------------------------------------------------------------------------------------------------


def test_temperatures_are_the_published_ones_and_can_be_overridden(shared: Path) -> None:
    rows = json_lines(shared / "data/mt_bench/question/test.jsonl.gz")
    assert {row["category"] for _, row in rows} == set(answers.CATEGORIES)
    found = {c: answers.temperature_of(c) for c in answers.CATEGORIES}
    assert found == {"writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0,
                     "stem": 0.1, "humanities": 0.1}  # fmt: skip
    assert answers.temperature_of("math", {"math": 1}) == 1.0
    with pytest.raises(UserError, match="'maths'; did you mean 'math'"):
        answers.temperature_of("maths")
    with pytest.raises(UserError, match="'codng'"):
        answers.temperature_of("math", {"codng": 1})


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "mt_bench_answers.jsonl"
    odd = 'line\u2028break\x85 \ud800 "quote" \n [[10]] {brace} \x00'
    said = [
        answer(1),
        answer(2, answers=("only one",)),
        answer(3, turns=("q",), answers=("",)),
        answer(4, answers=(odd, odd)),
    ]
    answers.write_answers(path, said)
    assert answers.read_answers(path) == said
    before = path.read_bytes()
    answers.write_answers(path, said)
    assert path.read_bytes() == before
    assert len(before.splitlines()) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_id": "81"}, "question_id='81' must be a whole number"),
        ({"answer": []}, "unknown key 'answer'; did you mean 'answers'"),
        ({"answers": []}, "0 answers"),
        ({"answers": ["a", "b", "c"]}, "3 answers to 2 turns"),
        ({"turns": []}, "0 turns"),
        ({"answers": ["a", None]}, r"answers\[1\]"),
        ({"temperature": "hot"}, "must be a number"),
        ({"question_id": 7}, "question_id 7 occurs twice"),
    ],
)
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.jsonl"
    good = {"question_id": 7, "category": "math", "turns": ["q", "r"], "answers": ["a", "b"], "temperature": 0,
            "generation": {}}  # fmt: skip
    path.write_text(json.dumps(good) + "\n\n" + json.dumps({**good, "question_id": 8, **change}), "utf-8")
    with pytest.raises(UserError, match=message) as caught:
        answers.read_answers(path)
    assert "a.jsonl line 3" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, raw, message in [
        ("empty.jsonl", b"\n", "holds no answers"), ("cut.jsonl", b'{"question_id": 1', "line 1 is not JSON"),
        ("bytes.jsonl", b"\xff\xfe", "line 1 is not JSON"), ("not.jsonl.gz", b"text", "cannot be read"),
        ("list.jsonl", b"[1]", "must be a mapping"),
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UserError, match=message):
            answers.read_answers(tmp_path / name)


# --- prompts and verdicts -----------------------------------------------------------------------------------------


def test_a_changed_prompt_needs_a_new_version() -> None:
    """Stored judgements are found again by the prompt's version: change both, or neither."""
    cases = [
        (("q",), ("a",), ()),
        (("q",), ("a",), ("r",)),
        (("q", "p"), ("a", "b"), ()),
        (("q", "p"), ("a", "b"), ("r", "s")),
    ]
    text = "\0".join(prompts.message(*case) for case in cases)
    assert (prompts.PROMPT_VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == (
        "uora-bench-1",
        "7f5b07f14bd77fa4",
    )


def test_each_prompt_holds_what_it_must() -> None:
    one, two = ("Q-one {x}",), ("Q-one {x}", "Q-two")
    for references in ((), ("R-one", "R-two")):
        text = prompts.message(one, ("A-one %s",), references[:1])
        assert ("R-one" in text, "R-two" in text) == (bool(references), False)
        assert ("helpful, relevant, accurate, deep, creative and detailed" in text) is not bool(references)
        assert ("correct the mistakes" in text) is bool(references)
        assert all(part in text for part in (*one, "A-one %s", '"[[rating]]"', "Rating: [[5]]", "1 to 10", "impartial"))
        text = prompts.message(two, ("A-one", "A-two"), references)
        assert all(part in text for part in (*two, "A-one", "A-two", *references, "second question", '"[[rating]]"'))
        assert text.index("Q-one") < text.index("A-one") < text.rindex("Q-two") < text.index("A-two")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fine. Rating: [[7]]", (7.0, "[[x]]")),
        ("**Rating: [[8.5]]**", (8.5, "[[x]]")),
        ("[[ 10 ]]", (10.0, "[[x]]")),
        ("[[3]] and then [[9]]", (3.0, "[[x]]")),  # as published: the first
        ("see [2]. Rating: [[6]]", (6.0, "[[x]]")),
        ("Rating: [4]", (4.0, "[x]")),
        ("Rating: [4.5]", (4.5, "[x]")),
        ("<think>maybe [[2]]\n</think>\nRating: [[5]]", (5.0, "[[x]]")),
        ("[[0]]", None),
        ("[[10.5]]", None),
        ("[[11]] or rather [5]", None),
        ("[[-3]]", None),
        ("[[rating]]", None),
        ("seven of ten", None),
        ("[[5/10]]", None),
        ("", None),
    ],
)
def test_verdicts(text: str, expected: tuple[float, str] | None) -> None:
    assert prompts.verdict(text) == expected


# --- the command line's words -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("UORA_DATA_DIR", raising=False)
    answers.write_answers(tmp_path / answers.FILE_NAME, [answer(1), answer(101, "reasoning")])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge.modle=x"], "unknown key 'judge.modle'; did you mean 'judge.model'"),
        (["parallel=2"], "did you mean 'judge.parallel'"),
        (["judge.api_key=sk-secret"], "unknown key 'judge.api_key'"),
        ([], "'judge.model' is missing"),
        (["judge.model= "], "judge.model is empty"),
        (["judge.model=x", "judge.parallel=many"], "judge.parallel='many' must be a whole number"),
        (["judge.model=x", "judge.parallel=1.5"], "must be a whole number"),
        (["judge.model=x", "judge.parallel=0"], "at least 1"),
        (["judge.model=x", "judge.timeout=NaN"], "finite"),
        (["judge.model=x", "judge.timeout=0"], "must be above 0"),
        (["judge.model=x", "dry_run=yes"], "true or false"),
        (["judge.model=x", "judge.turns=2"], "not one of 1, both"),
        (["judge.model=x", "judge.temperature=-1"], "at least 0"),
        (["judge.model=x", "judge.price_in=1"], "given together"),
        (["judge.model=x", "judge.key_env=sk-secret"], "name of an environment variable"),
        (["judge.model=x", "judge.key_env=sk_secret"], "is not set"),
        (["judge.model=x", "judge.base_url=ftp://host"], "must look like"),
        (["judge.model=x", "judge.base_url=https://me:sk-secret@host/v1"], "without name, password"),
        (["judge.model=x", "judge.base_url=https://host/v1?key=sk-secret"], "without name, password"),
        (["judge.model=x", "judge.base_url=https://host:sk-secret/v1"], "must look like"),
        (["judge.model=x", "another"], "takes one <run folder | answers.jsonl>, not 2"),
        (["judge.model=x"], "'judge.base_url' is missing"),
        (["judge.model=x", "data.root=/nowhere"], "no reference answers: '/nowhere/mt_bench"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about_references = any(w.startswith("data.root") for w in words)
    extra = [] if about_references or words == [] else ["judge.references=none"]
    if any("key_env=sk_" in w for w in words):
        extra.append("judge.base_url=http://127.0.0.1:1/v1")
    assert main([str(folder), *words, *extra]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert "secret" not in line


def test_places(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert parse([str(folder), "judge.model=4"]).config.model == "4"
    odd = tmp_path_factory.mktemp("odd") / "lr=0.1"
    answers.write_answers(odd / "other.jsonl", [answer()])
    request = parse(["judge.model=a=b", str(odd / "other.jsonl"), "judge.temperature=null"])
    assert (request.answers, request.config.model, request.config.temperature) == (odd / "other.jsonl", "a=b", None)
    with pytest.raises(UserError, match=answers.FILE_NAME):
        parse([str(odd), "judge.model=x"])
    names = [p.name for p in store.paths(Path("x/mt_bench_answers.jsonl"))]
    assert names == ["mt_bench_judgements.jsonl", "mt_bench_scores.json"]
    assert [p.name for p in store.paths(Path("other.jsonl"))] == ["other_judgements.jsonl", "other_scores.json"]
    assert [p.name for p in store.paths(Path("answers.jsonl.gz"))] == ["judgements.jsonl", "scores.json"]


def test_addresses() -> None:
    for given in ("https://h:8/v1", "https://h:8/v1/", "https://h:8/v1/chat/completions"):
        made = JudgeConfig("x", given)
        assert (made.base_url, made.host) == ("https://h:8/v1", "h:8")


def test_every_key_is_in_the_help_and_the_guide(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    guide = (ROOT / "docs" / "mt_bench.md").read_text("utf-8")
    for field in dataclasses.fields(JudgeConfig):
        assert f"judge.{field.name}=" in text, field.name
        assert f"`judge.{field.name}`" in guide, field.name


def test_the_command_line_is_light() -> None:
    heavy = {"torch", "transformers", "datasets", "httpx2"}
    code = f"import sys, uora_bench.cli.mt_bench_judge; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
                            env={"PYTHONPATH": str(ROOT / "src")})  # fmt: skip
    assert result.stdout.strip() == "[]"


# --- the plan -----------------------------------------------------------------------------------------------------


def keys(said: Answer, made: JudgeConfig = HINT, references: plan.References | None = None) -> list[str]:
    return [job.key for job in plan.plan([said], references or {}, made)]


def test_a_key_says_what_its_judgement_depends_on() -> None:
    base = keys(answer())
    assert len(set(base)) == 2
    assert keys(answer(99, "stem", temperature=0.0, generation={})) == base  # not its number, nor how it came about
    assert keys(answer(), JudgeConfig("judge", "http://elsewhere", parallel=9, max_tokens=5)) == base
    assert keys(answer(), JudgeConfig("judge", turns="1")) == base[:1]
    second = keys(answer(answers=("a1", "other")))
    assert (second[0] == base[0], second[1] == base[1]) == (True, False)
    for changed in (
        keys(answer(answers=("other", "a2"))), keys(answer(turns=("q", "q2"))), keys(answer(), JudgeConfig("other")),
        keys(answer(), JudgeConfig("judge", temperature=0.5)), keys(answer(category="math"), HINT, {1: ("r", "s")}),
    ):  # fmt: skip
        assert not set(changed) & set(base)
    assert keys(answer(), HINT, {1: ("r", "s")}) == base  # no reference is shown for writing


def test_the_prompt_version_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    base = keys(answer())
    monkeypatch.setattr(plan, "PROMPT_VERSION", "next")
    assert not set(keys(answer())) & set(base)


def test_turns() -> None:
    with pytest.raises(UserError, match=r"question 1 has no answer to its second turn; set judge.turns=1"):
        keys(answer(answers=("a1",)))
    assert len(keys(answer(answers=("a1",)), JudgeConfig("judge", turns="1"))) == 1
    assert len(keys(answer(turns=("q",), answers=("a",)))) == 1


def test_references_are_those_of_gpt4_for_math_reasoning_and_coding(shared: Path, tmp_path: Path) -> None:
    rows = [row for _, row in json_lines(shared / "data/mt_bench/question/test.jsonl.gz")]
    said = [answer(row["question_id"], row["category"], turns=tuple(row["turns"])) for row in rows]
    found = plan.references_for(said, HINT, shared / "data")
    assert sorted(found) == list(range(101, 131))
    jobs = plan.plan(said, found, HINT)
    assert len(jobs) == 160
    guided = [job for job in jobs if job.references]
    assert len(guided) == 60
    assert {job.category for job in guided} == set(plan.WITH_REFERENCE)
    assert all(len(job.references) == job.turn for job in guided)
    assert all(job.references[-1] in job.prompt() for job in guided)
    assert plan.references_for(said, JudgeConfig("judge", references="none"), None) == {}
    assert plan.references_for(said[:10], HINT, None) == {}
    with pytest.raises(UserError, match=r"UORA_DATA_DIR.*judge.references=none"):
        plan.references_for(said, HINT, None)
    path = tmp_path / "mt_bench/reference_answer_gpt4/test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"question_id": 101, "choices": [{"turns": ["only one"]}]}) + "\n", "utf-8")
    with pytest.raises(UserError, match=r"no reference answer to question 101 \(30 in all\)"):
        plan.references_for(said, HINT, tmp_path)
    assert plan.references_for([said[20]], JudgeConfig("judge", turns="1"), tmp_path)
    path.write_text('{"question_id": 101}\n', "utf-8")
    with pytest.raises(UserError, match="line 1 is no reference answer"):
        plan.references_for(said, HINT, tmp_path)


def test_what_is_to_do_and_what_it_costs() -> None:
    jobs = plan.plan([answer(n, answers=(f"a{n}", f"b{n}")) for n in range(3)], {}, HINT)
    stored = {jobs[0].key: judgement(jobs[0].key), jobs[1].key: judgement(jobs[1].key, score=None)}
    assert plan.to_do(jobs, stored, HINT) == jobs[2:]
    assert plan.to_do(jobs, stored, HINT, limit=2) == jobs[2:4]
    assert plan.to_do(jobs, stored, JudgeConfig("judge", retry_malformed=True)) == jobs[1:]
    twins = plan.plan([answer(1), answer(2)], {}, HINT)
    assert len(plan.to_do(twins, {}, HINT)) == 2  # the same question and answer twice is asked once
    text = plan.estimate(jobs, JudgeConfig("judge", max_tokens=1000, price_in=10.0, price_out=30.0))
    tokens = sum(len(j.prompt()) for j in jobs) // 4
    assert f"{tokens:,} tokens in, 1,500 out (at most 6,000)" in text
    assert f"{(tokens * 10 + 1500 * 30) / 1e6:.2f} (at most about {(tokens * 10 + 6000 * 30) / 1e6:.2f})" in text
    assert "price" not in plan.estimate(jobs, HINT)

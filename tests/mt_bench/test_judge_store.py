"""MT-Bench's judging half without a server: the file of judgements, the scores, replies, the key."""

from __future__ import annotations

import hashlib
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support.judgements import HINT, answer, judgement
from uora_bench.errors import UserError
from uora_bench.mt_bench.judge import answers, plan, reply, scores, store
from uora_bench.mt_bench.judge.config import DEFAULT_KEY_ENV, JudgeConfig, key_warning, read_key
from uora_bench.mt_bench.judge.store import held_store
from uora_bench.util import secrets

# --- the file of judgements ---------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_loses_at_most_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with held_store(path) as held:
        for key in "abc":
            held.append(judgement(key, text="Ü \ud800 [[7]]"))
    raw = path.read_bytes()
    assert len(store.read_judgements(path)) == 3
    step = len(raw) // 3
    for end in (*range(0, len(raw), 37), step - 1, step, step + 1, len(raw) - 1, len(raw)):
        path.write_bytes(raw[:end])
        whole = raw[: end + 1].count(b"\n")  # a line that lacks nothing but its end is whole
        assert len(store.read_judgements(path)) == whole
        assert path.read_bytes() == raw[:end]  # reading mends nothing
        with held_store(path) as held:
            assert len(held.judgements) == whole
            assert held.mended is (raw[:end] not in (b"", raw) and not raw[:end].endswith(b"\n"))
            held.append(judgement("d"))
        found = store.read_judgements(path)
        assert list(found) == [*"abc"[:whole], "d"]


def test_a_spoilt_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with held_store(path) as held:
        held.append(judgement("a"))
    path.write_bytes(b"spoilt\n" + path.read_bytes())
    with pytest.raises(UserError, match="line 1 is not JSON"), held_store(path):
        pass
    path.write_bytes(b'{"key": "x"}\n')
    with pytest.raises(UserError, match="line 1: 'question_id' is missing"), held_store(path):
        pass
    path.unlink()
    with held_store(path), pytest.raises(UserError, match="another process"), held_store(path):
        pass


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.jsonl"
    with held_store(path) as held:
        held.append(judgement("a"))
        before = path.read_bytes()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("uora_bench.util.atomic.os.fsync", full)
            with pytest.raises(OSError, match="No space"):
                held.append(judgement("b"))
        assert path.read_bytes() == before
        held.append(judgement("b"))
    assert list(store.read_judgements(path)) == ["a", "b"]


# --- scores -------------------------------------------------------------------------------------------------------


def test_scores_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "mt_bench_answers.jsonl"
    said = [answer(1, answers=("a", "b")), answer(2, answers=("c", "d")), answer(3, "stem", answers=("e", "f"))]
    answers.write_answers(path, said)
    jobs = plan.plan(said, {}, HINT)
    values = [8.0, 3.0, 6.5, None, 10.0]  # the last one is not judged yet
    stored = {}
    for i, (job, value) in enumerate(zip(jobs, values, strict=False)):
        form = "[x]" if value == 3 else "[[x]]" if value else None
        attempts, date = 3 if value is None else 1, f"2026-01-0{i + 1}T00:00:00+00:00"
        stored[job.key] = judgement(job.key, score=value, form=form, turn=job.turn, attempts=attempts, date=date)
    stored["stale"] = judgement("stale", score=1.0)
    found = scores.scores(jobs, stored, HINT, path)
    assert (found["turn_1"], found["turn_2"], found["score"]) == (pytest.approx(24.5 / 3), 3.0, pytest.approx(27.5 / 4))
    assert (found["rated"], found["malformed"], found["expected"], found["complete"]) == (4, 1, 6, False)
    assert found["malformed_judgements"] == [[2, 2]]
    assert (found["single_bracket_ratings"], found["asked_again"]) == (1, 1)
    assert found["categories"]["stem"] == {"score": 10.0, "turn_1": 10.0, "turn_2": None, "rated": 1, "malformed": 0}
    assert found["categories"]["writing"]["score"] == pytest.approx(17.5 / 3)
    assert found["date"] == "2026-01-05T00:00:00+00:00"
    assert found["answers"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found["judge"]["prompt_tokens"], found["judge"]["completion_tokens"]) == (50, 25)
    text = scores.table(found)
    assert "INCOMPLETE: 1 of 6" in text
    assert "drift" in text
    empty = scores.scores(jobs, {}, HINT, path)
    assert (empty["score"], empty["rated"], empty["date"]) == (None, 0, None)


# --- replies and the key ------------------------------------------------------------------------------------------


def test_replies() -> None:
    good = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "model": "m",
            "usage": {"prompt_tokens": 3, "completion_tokens": True}}  # fmt: skip
    assert reply.completion(good, "asked") == reply.Completion("hi", "m", "stop", 3, None)
    assert reply.completion({"choices": [{"message": {"content": None}}]}, "asked") == reply.Completion(
        "", "asked", None, None, None
    )
    for bad in (
        None,
        [],
        "x",
        3,
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": 1}]},
    ):
        assert reply.completion(bad, "asked") is None
    assert reply.message({"error": {"message": "why"}}, b"") == "why"
    assert reply.message({"error": "why"}, b"") == '{"error": "why"}'
    assert reply.message(None, b"\xff<html>") == "\ufffd<html>"


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, 0), ("", 0), ("7", 7), ("1.5", 1.5), ("-3", 0), ("soon", 0), ("nan", 0)]
)
def test_seconds_to_wait(value: str | None, seconds: float) -> None:
    assert reply.seconds_to_wait(value) == seconds


def test_a_date_to_wait_for() -> None:
    assert 28 <= reply.seconds_to_wait(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert reply.seconds_to_wait(formatdate(time.time() - 30, usegmt=True)) == 0


def test_the_key_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", set())
    monkeypatch.setenv("MY_KEY", " sk-secret\n")
    assert read_key("MY_KEY") == "sk-secret"
    assert secrets.scrub("a sk-secret b") == "a *** b"
    local = ("https://far.example/v1", "http://localhost:1/v1", "http://127.0.0.1:1/v1", "http://10.1.2.3/v1")
    for url in local:
        assert key_warning(JudgeConfig("x", url)) is None
    for url in ("http://far.example/v1", "http://8.8.8.8/v1"):
        assert "unencrypted" in (key_warning(JudgeConfig("x", url)) or "")
    for value in ("two words", "ключ", "line\nbreak"):
        monkeypatch.setenv("MY_KEY", value)
        with pytest.raises(UserError, match="holds no key") as caught:
            read_key("MY_KEY")
        assert value not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read_key(DEFAULT_KEY_ENV) == ""

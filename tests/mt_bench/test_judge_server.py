"""`uora-bench mt-bench judge` against a real HTTP server on loopback, in its good hours and its bad ones."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.support.judge_runs import KEY, Call, answer, folder, judge, surroundings
from tests.support.judge_server import (
    completion,
    drip,
    lines,
    one_line,
    prompt_of,
    rating,
    refuse,
    reset,
    scores,
    serving,
    start,
    wait_for,
)
from uora_bench.mt_bench.judge import answers as answers_file
from uora_bench.mt_bench.judge import pool
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.mt_bench.judge.client import Client, Failed
from uora_bench.mt_bench.judge.config import JudgeConfig

__all__ = ["folder", "judge", "surroundings"]  # fixtures

# --- good hours ---------------------------------------------------------------------------------------------------


def test_both_turns_are_judged_and_scored(judge: Call, folder: Path) -> None:
    with serving() as server:
        code, out, err = judge(server, "judge.price_in=10", "judge.price_out=30")
    assert (code, err) == (0, "")
    assert len(server.bodies) == 12
    for body, headers in zip(server.bodies, server.headers, strict=True):
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge", 0.0, 2048)
        assert headers["Authorization"] == f"Bearer {KEY}"
    first = [rating(prompt_of(b)) for b in server.bodies if "conversation of a user" not in prompt_of(b)]
    second = [rating(prompt_of(b)) for b in server.bodies if "conversation of a user" in prompt_of(b)]
    found = scores(folder)
    assert found["turn_1"] == pytest.approx(sum(first) / 6)
    assert found["turn_2"] == pytest.approx(sum(second) / 6)
    assert found["score"] == pytest.approx(sum(first + second) / 12)
    assert (found["rated"], found["malformed"], found["expected"], found["complete"]) == (12, 0, 12, True)
    assert found["categories"].keys() == {"writing", "stem"}
    assert (found["categories"]["writing"]["rated"], found["categories"]["stem"]["rated"]) == (8, 4)
    assert found["judge"]["model"] == "judge"
    assert found["judge"]["served_models"] == ["judge-2026-01-01"]
    assert found["judge"]["hosts"] == [f"127.0.0.1:{server.server_port}"]
    tokens = sum(len(prompt_of(b)) for b in server.bodies)
    assert (found["judge"]["prompt_tokens"], found["judge"]["completion_tokens"]) == (tokens, 132)
    assert "estimated price:" in out
    assert f"price {(tokens * 10 + 132 * 30) / 1e6:.2f}" in out
    assert out.index("estimate") < out.index("spent")
    assert "drift" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("writing", "stem", "all"))]


def test_a_second_run_pays_nothing_and_writes_the_same_bytes(judge: Call, folder: Path) -> None:
    with serving() as server:
        judge(server)
        before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        code, out, _ = judge(server)
        assert (code, len(server.bodies)) == (0, 12)
        assert judge(None)[0] == 0  # and needs no server
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before
    assert "12 judgements: 12 stored, 0 to ask for now" in out


def test_changed_answers_are_judged_anew_and_another_server_is_not_paid_again(judge: Call, folder: Path) -> None:
    with serving() as server:
        judge(server)
        said = [answer(n, "writing" if n < 4 else "stem") for n in range(6)]
        said[0] = answer(0, second="something else")  # its first turn stays
        answers_file.write_answers(folder / answers_file.FILE_NAME, said)
        with serving() as other:
            assert judge(other)[0] == 0
            assert len(other.bodies) == 1
            assert "something else" in prompt_of(other.bodies[0])
            assert judge(other, "judge.model=another")[0] == 0
            assert len(other.bodies) == 13
    assert len(server.bodies) == 12
    assert len(lines(folder)) == 25
    assert (scores(folder)["rated"], scores(folder)["judge"]["model"]) == (12, "another")


def test_first_turn_only_then_both_asks_only_the_second(judge: Call, folder: Path) -> None:
    with serving() as server:
        assert judge(server, "judge.turns=1")[0] == 0
        only = scores(folder)
        assert (only["turns"], only["rated"], only["turn_2"], only["score"]) == ("1", 6, None, only["turn_1"])
        assert judge(server)[0] == 0
    assert len(server.bodies) == 12
    assert scores(folder)["turn_1"] == only["turn_1"]


def test_one_at_a_time_and_many_at_once_give_the_same_scores(judge: Call, folder: Path) -> None:
    found = []
    for parallel in (1, 8):
        with serving(delay=0.02) as server:
            assert judge(server, f"judge.parallel={parallel}")[0] == 0
            assert len(server.bodies) == 12
        (folder / "mt_bench_judgements.jsonl").unlink()
        content = scores(folder)
        content.pop("date"), content["judge"].pop("hosts")
        found.append(content)
    assert found[0] == found[1]


def test_a_dry_run_asks_and_writes_nothing_and_a_limit_is_kept(judge: Call, folder: Path) -> None:
    before = sorted(folder.iterdir())
    code, out, err = judge(None, "dry_run=true", "judge.price_in=1", "judge.price_out=2")
    assert (code, err) == (0, "")
    assert "12 judgements: 0 stored, 12 to ask for now" in out
    assert "estimated price" in out
    assert sorted(folder.iterdir()) == before
    with serving() as server:
        code, out, _ = judge(server, "limit=5")
        assert (code, len(server.bodies)) == (0, 5)
        assert (scores(folder)["complete"], scores(folder)["rated"]) == (False, 5)
        assert "INCOMPLETE: 7 of 12" in out
        assert judge(server)[0] == 0
        assert (len(server.bodies), scores(folder)["complete"]) == (12, True)


def test_without_a_key_no_authorisation_is_sent(judge: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving() as server:
        assert judge(server, "limit=1")[0] == 0
        monkeypatch.setenv("MY_KEY", "other")
        assert judge(server, "judge.key_env=MY_KEY", "limit=1")[0] == 0
    assert [h.get("Authorization") for h in server.headers] == [None, "Bearer other"]


def test_the_real_questions_with_their_references(judge: Call, tmp_path: Path, shared: Path) -> None:
    with gzip.open(shared / "data/mt_bench/question/test.jsonl.gz", "rt", encoding="utf-8") as rows:
        questions = [json.loads(row) for row in rows]
    place = tmp_path / "real"
    said = [
        Answer(q["question_id"], q["category"], tuple(q["turns"]), (f"one {q['question_id']}", "two"),
               answers_file.temperature_of(q["category"]), {})
        for q in questions
    ]  # fmt: skip
    answers_file.write_answers(place / answers_file.FILE_NAME, said)
    with serving() as server:
        code, _, err = judge(server, place=place)
        assert code == 2
        assert "data.root" in one_line(err)
        assert server.bodies == []
        assert judge(server, f"data.root={shared / 'data'}", "judge.parallel=8", place=place)[0] == 0
    assert len(server.bodies) == 160
    assert sum("reference" in prompt_of(b) for b in server.bodies) == 60
    found = scores(place)
    assert (found["rated"], found["answers"]["questions"], len(found["categories"])) == (160, 80, 8)
    assert {part["rated"] for part in found["categories"].values()} == {20}
    stored = lines(place)
    assert {j["category"] for j in stored if j["with_reference"]} == {"math", "reasoning", "coding"}


# --- bad hours ----------------------------------------------------------------------------------------------------


def test_trouble_that_passes_is_waited_out(judge: Call, folder: Path) -> None:
    """A busy server, errors, a reset connection, nonsense and a late answer, one after the other."""
    trouble: list[Any] = [
        refuse(429), 500, 502, 503, reset, b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": "x"}]}',
        lambda handler: time.sleep(1.0), drip, 408,
    ]  # fmt: skip
    with serving(lambda n, body: trouble[n] if n < len(trouble) else None) as server:
        code, _, err = judge(
            server, "judge.parallel=1", "judge.retries=20", "judge.timeout=0.4", "judge.backoff=0.0001"
        )
    assert (code, err) == (0, "")
    assert len(server.bodies) == 12 + len(trouble)
    assert (scores(folder)["rated"], len(lines(folder))) == (12, 12)


@pytest.mark.parametrize("header", ["seconds", "date"])
def test_retry_after_holds_every_question_back(header: str) -> None:
    value = "1" if header == "seconds" else formatdate(time.time() + 2, usegmt=True)
    with serving(lambda n, body: refuse(429, Retry_After=value) if n == 0 else None) as server:
        config = JudgeConfig("judge", server.url, retries=0, backoff=0.01)

        async def ask() -> None:
            async with Client(config, KEY) as client:
                with pytest.raises(Failed, match="429: slow down"):
                    await client.complete("a", 0.0)
                await asyncio.gather(*(client.complete(text, 0.0) for text in "bcd"))

        asyncio.run(ask())
    assert len(server.times) == 4
    assert all(t - server.times[0] >= 0.95 for t in server.times[1:])


def test_retry_after_is_kept_by_the_command_line(judge: Call) -> None:
    with serving(lambda n, body: refuse(429, Retry_After="0.5") if n == 0 else None) as server:
        assert judge(server, "judge.parallel=1")[0] == 0
    assert len(server.bodies) == 13
    assert server.times[1] - server.times[0] >= 0.5


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (401, ("refuses the key", "401")),
        (403, ("403",)),
        (404, ("judge.base_url and judge.model",)),
        (refuse(307, Location="http://127.0.0.1:9/v1/chat/completions"), ("redirects the request",)),
        (refuse(429, code="insufficient_quota"), ("quota is used up",)),
        (refuse(429, Retry_After="86400"), ("pause of 86400 s",)),
    ],
)
def test_a_refusal_of_everything_stops_at_once(judge: Call, folder: Path, action: Any, words: tuple[str, ...]) -> None:
    with serving(lambda n, body: action if n >= 3 else None) as server:
        code, _, err = judge(server, "judge.parallel=1")
    assert code == 2
    assert all(word in one_line(err) for word in words)
    assert len(server.bodies) == 4
    assert len(lines(folder)) == 3
    assert scores(folder)["complete"] is False


def test_a_question_without_an_answer_does_not_keep_the_others_from_theirs(judge: Call, folder: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Any:
        return 400 if "question 2?" in prompt_of(body) else None

    with serving(script) as server:
        code, out, err = judge(server, "judge.parallel=2")
        assert code == 1
        assert "2 of 12 judgements could not be had" in one_line(err)
        assert "400" in err
        assert len(server.bodies) == 12  # a bad request is not repeated
        assert (scores(folder)["rated"], scores(folder)["complete"]) == (10, False)
        assert "INCOMPLETE: 2 of 12" in out
        server.script = lambda n, body: None
        assert judge(server)[0] == 0
    assert len(server.bodies) == 14
    assert scores(folder)["complete"] is True


def test_a_server_that_is_down_is_given_up(judge: Call, folder: Path) -> None:
    with serving(lambda n, body: 503) as server:
        code, _, err = judge(server, "judge.parallel=1", "judge.retries=2")
        assert code == 1
        assert "gave no answer in 3 attempts; the last: 503" in one_line(err)
        assert len(server.bodies) == 3 * pool.FAILURES_IN_A_ROW
    code, _, err = judge(server, "judge.retries=1")  # nobody listens any more
    assert code == 1
    assert "refused" in one_line(err)
    assert not (folder / "mt_bench_scores.json").exists()


# --- malformed verdicts -------------------------------------------------------------------------------------------


def test_a_malformed_verdict_is_asked_again_first_at_temperature_zero(judge: Call, folder: Path) -> None:
    bad = ["I would say seven.", "Rating: [[11]]"]
    with serving(lambda n, body: bad[n] if n < 2 else None) as server:
        assert judge(server, "judge.parallel=1")[0] == 0
    assert [b["temperature"] for b in server.bodies[:4]] == [0.0, 0.7, 0.7, 0.0]
    first, second = lines(folder)[:2]
    assert (first["attempts"], first["temperature"], first["rejected"]) == (3, 0.7, bad)
    assert (second["attempts"], second["temperature"], second["rejected"]) == (1, 0.0, [])
    assert first["completion_tokens"] == 33
    assert (scores(folder)["asked_again"], scores(folder)["malformed"]) == (1, 0)


def test_a_verdict_that_never_comes_is_counted_and_kept_out_of_the_mean(judge: Call, folder: Path) -> None:
    def script(n: int, body: dict[str, Any]) -> Any:
        if "question 1?" not in prompt_of(body):
            return None
        return json.dumps(completion(None)).encode() if n % 2 else "no number"

    with serving(script) as server:
        code, out, _ = judge(server)
        assert code == 0
        assert len(server.bodies) == 10 + 2 * 3
        found = scores(folder)
        assert (found["rated"], found["malformed"], found["complete"]) == (10, 2, True)
        assert found["malformed_judgements"] == [[1, 1], [1, 2]]
        assert found["categories"]["writing"]["malformed"] == 2
        good = [j["score"] for j in lines(folder) if j["score"] is not None]
        assert found["score"] == pytest.approx(sum(good) / 10)
        assert "2 judgements had no rating" in out
        judge(server)
        assert len(server.bodies) == 16  # paid for once
        server.script = lambda n, body: None
        assert judge(server, "judge.retry_malformed=true")[0] == 0
    assert len(server.bodies) == 18
    assert (scores(folder)["rated"], scores(folder)["malformed"]) == (12, 0)


# --- crashes and signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 3])
def test_killed_in_between_the_next_run_asks_only_the_rest(
    judge: Call, folder: Path, root: Path, parallel: int
) -> None:
    path = folder / "mt_bench_judgements.jsonl"
    with serving(delay=0.1) as server:
        process = start(folder, server, root, f"judge.parallel={parallel}")
        wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= 4)
        process.kill()
        process.communicate()
        kept = path.read_bytes().count(b"\n")
        time.sleep(0.2)  # what was in flight reaches the server's count
        asked = len(server.bodies)
        assert 4 <= kept < 12
        assert asked - kept <= 2 * parallel  # each thread: one in flight, one answered and not yet written
        path.write_bytes(path.read_bytes() + b'{"key": "half a li')  # the worst moment to die
        code, out, err = judge(server)
        assert code == 0
        assert "removed an incomplete last line" in one_line(err)
        assert f"{kept} stored, {12 - kept} to ask for now" in out
        assert len(server.bodies) == asked + 12 - kept
    assert len(lines(folder)) == 12
    by_prompt = sorted(rating(prompt_of(b)) for b in {prompt_of(b): b for b in server.bodies}.values())
    assert sorted(j["score"] for j in lines(folder)) == by_prompt


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_there_and_in_flight(
    judge: Call, folder: Path, root: Path, signum: signal.Signals
) -> None:
    with serving(delay=0.3) as server:
        process = start(folder, server, root, "judge.parallel=2")
        wait_for(lambda: len(server.bodies) >= 4)
        process.send_signal(signum)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 128 + signum
        assert "run the same command again to resume" in one_line(err)
        assert KEY not in err
        kept = len(lines(folder))
        assert kept == len(server.bodies) < 12  # requests in flight were finished and kept
        assert judge(server)[0] == 0
        assert len(server.bodies) == 12
    assert scores(folder)["complete"] is True


def test_a_signal_is_obeyed_while_the_server_hangs_or_asks_for_patience(folder: Path, root: Path) -> None:
    with serving(lambda n, body: refuse(429, Retry_After="200")) as server:
        process = start(folder, server, root)
        wait_for(lambda: len(server.bodies) >= 4)
        begin = time.monotonic()
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 128 + signal.SIGTERM
        assert time.monotonic() - begin < 3
    with serving(delay=60) as server:
        process = start(folder, server, root, "judge.timeout=100")
        wait_for(lambda: len(server.bodies) >= 4)
        process.terminate()
        time.sleep(0.3)
        process.terminate()  # the second one does not wait for requests in flight
        process.communicate(timeout=3)
        assert process.returncode == 128 + signal.SIGTERM


def test_two_processes_do_not_judge_the_same_answers(judge: Call, folder: Path, root: Path) -> None:
    with serving(delay=0.3) as server:
        process = start(folder, server, root, "judge.parallel=1")
        wait_for(lambda: len(server.bodies) >= 1)
        code, _, err = judge(server)
        assert code == 2
        assert "another process" in one_line(err)
        process.terminate()
        process.communicate(timeout=20)

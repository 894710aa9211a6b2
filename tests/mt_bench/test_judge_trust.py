"""A judge's server that means harm: it echoes the key in every writing, or answers without end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.judge_runs import KEY, WRITINGS, Call, folder, judge, surroundings
from tests.support.judge_server import completion, lines, one_line, refuse, scores, serving

__all__ = ["folder", "judge", "surroundings"]  # fixtures


def test_a_server_that_echoes_the_key_does_not_get_it_into_a_file_or_a_message(judge: Call, folder: Path) -> None:
    """`reply` of this server puts the request's headers into its errors; the fixture looks everywhere for the key."""
    for action in (500, 400, 403, f"{KEY} [[4]]", (" " * 190 + KEY).encode(), json.dumps({"detail": KEY}).encode()):
        with serving(lambda n, body, action=action: action) as server:
            judge(server, "judge.retries=1", "limit=1")
    assert any("***" in line["text"] for line in lines(folder))
    with serving(lambda n, body: (" " + "x" * 170 + KEY).encode()) as server:
        code, _, err = judge(server, "judge.retries=0", "judge.model=cut")
    assert code == 1
    assert KEY[:8] not in err


@pytest.mark.parametrize("how", WRITINGS)
def test_no_writing_of_the_key_gets_into_a_file_or_a_message(how: str, judge: Call, folder: Path) -> None:
    """In the text, the reason for its end, the model's name, a refusal, a page, and the status line."""
    written = WRITINGS[how]
    said = completion(f"{written} [[4]]")
    said["choices"][0]["finish_reason"] = said["model"] = f"x {written}"

    def status_line(handler: Any) -> None:
        handler.send_response(418, f"no {written}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    ways: list[Any] = [
        json.dumps(said).encode(), json.dumps(said).encode().replace(b"x ", b"rating? "), written.encode(),
        refuse(403, code=written), status_line, lambda handler: handler.wfile.write(f"{written}\r\n\r\n".encode()),
    ]  # fmt: skip
    for number, way in enumerate(ways):
        with serving(lambda n, body, way=way: way) as server:
            judge(server, "judge.retries=0", "limit=1", f"judge.model={number}")
    assert "***" in lines(folder)[0]["text"]
    assert "***" in lines(folder)[0]["finish_reason"]
    assert "***" in scores(folder)["judge"]["served_models"][0]


@pytest.mark.parametrize("between", ["\u200b", "\0", "\u202e", "\n"])
def test_a_key_with_something_unseen_in_it_is_not_put_together(between: str, judge: Call, folder: Path) -> None:
    said = completion(f"{between.join(KEY)} [[4]]")
    said["choices"][0]["finish_reason"] = said["model"] = between.join(KEY)
    with serving(lambda n, body: json.dumps(said).encode()) as server:
        judge(server, "judge.retries=0", "limit=1", f"judge.model=x{between.encode().hex()}")
    assert scores(folder)["judge"]["served_models"] == ["***"]


def dripping(*begin: bytes, piece: bytes = b" ") -> Callable[[Any], None]:
    """Answers with ``begin`` and then a piece now and then, never at its end; a read of it never waits long."""

    def act(handler: Any) -> None:
        handler.close_connection = True
        for part in (*begin, *[piece] * 200):
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(0.1)

    return act


DRIPS = {
    "the status line": dripping(b"HTTP/1.1 200", piece=b" "),
    "headers": dripping(b"HTTP/1.1 200 OK\r\n", piece=b"X-More: 1\r\n"),
    "a long body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"),
    "a body of chunks": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", piece=b"1\r\n \r\n"),
    "a body without an end": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "provisional answers": dripping(piece=b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("what", DRIPS)
def test_the_time_limit_holds_for_a_whole_call_however_the_bytes_drip(what: str, judge: Call) -> None:
    with serving(lambda n, body: DRIPS[what]) as server:
        began = time.monotonic()
        code, _, err = judge(server, "judge.timeout=0.4", "judge.retries=1", "limit=1")
        seconds = time.monotonic() - began
    assert code == 1
    assert "no whole answer within 0.4 s" in one_line(err)
    assert len(server.bodies) == 2
    assert 0.8 <= seconds < 3

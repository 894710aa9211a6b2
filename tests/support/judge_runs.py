"""A run folder with answers, and the command line that has them judged: what the tests of MT-Bench's judge share."""

from __future__ import annotations

import base64
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.command_line import last_of_each
from tests.support.judge_server import QUICK, Server
from uora_bench.cli.main import main
from uora_bench.mt_bench.judge import answers as answers_file
from uora_bench.mt_bench.judge.answers import Answer

KEY = "sk-loopback/0123456789+abcdef"
WRITINGS = {
    "as it is": KEY,
    "percent": quote(KEY, safe=""),
    "every byte percent": "".join(f"%{b:02x}" for b in KEY.encode()),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of more": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "JSON": KEY.replace("/", "\\/"),
    "JSON, every character": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "hexadecimal": KEY.encode().hex(),
}

Call = Callable[..., tuple[int, str, str]]


def answer(n: int, category: str = "writing", second: str | None = "and {n} more") -> Answer:
    said = (f"answer {n}",) if second is None else (f"answer {n}", second.format(n=n))
    return Answer(n, category, (f"question {n}?", f"and then {n}?"), said, 0.7, {"seed": 0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with six answers, which need no references."""
    answers_file.write_answers(
        tmp_path / answers_file.FILE_NAME, [answer(n, "writing" if n < 4 else "stem") for n in range(6)]
    )
    return tmp_path


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A key, no proxy, no data folder, and the process's own signal handlers afterwards."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("UORA_DATA_DIR", raising=False)
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def judge(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Run the command line in this process; afterwards nothing printed or written anywhere holds the key."""
    seen: list[str] = []

    def call(server: Server | None, *words: str, place: Path = folder) -> tuple[int, str, str]:
        url = [] if server is None else [f"judge.base_url={server.url}"]
        code = main(["mt-bench", "judge", str(place), *url, *last_of_each(*QUICK, *words)])
        out, err = capsys.readouterr()
        seen.extend((out, err))
        return code, out, err

    yield call
    left = [*seen, *(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())]
    for how, written in WRITINGS.items():
        assert not [text for text in left if written in text], how

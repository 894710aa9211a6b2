"""No secret leaves in any writing, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.util import secrets

KEY = "sk-Ab/9+x=\"é&'\\k"
WRITINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent": lambda s: quote(s, safe=""),
    "percent, lower case": lambda s: quote(s, safe="").lower().replace("ab", "Ab"),
    "percent, every byte": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "a form": quote_plus,
    "JSON": lambda s: json.dumps(s)[1:-1],
    "JSON in JSON": lambda s: json.dumps(json.dumps(s))[3:-3],
    "JSON, every character": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "JSON with slashes escaped": lambda s: json.dumps(s, ensure_ascii=False)[1:-1].replace("/", "\\/"),
    "Python": lambda s: repr(s)[1:-1],
    "Python's bytes": lambda s: repr(s.encode())[2:-1],
    "HTML": html.escape,
    "HTML, every character": lambda s: "".join(f"&#{ord(c)};" for c in s),
    "hexadecimal": lambda s: s.encode().hex(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for addresses": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {KEY})
    for name in (*secrets._TOKENS, *secrets._ADDRESSES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("how", WRITINGS)
def test_a_secret_is_hidden_in_every_writing(how: str) -> None:
    written = WRITINGS[how](KEY)
    hidden = secrets.scrub(f"said {written} and more")
    assert secrets.HIDDEN in hidden
    assert written not in hidden
    assert len(hidden) <= len("said *** and more") + 4  # of base64 the last letter may be left: it holds two bits
    if not how.startswith("base64"):
        assert hidden == "said *** and more"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "another:"])
def test_base64_of_a_longer_text_hides_it_too(before: str) -> None:
    written = base64.b64encode(f"{before}{KEY} tail".encode()).decode()
    hidden = secrets.scrub(f"Basic {written}")
    assert secrets.HIDDEN in hidden
    assert len(hidden) < len(written) + 6 - len(KEY)


@given(st.text())
def test_other_text_stays_as_it_is(text: str) -> None:
    if "://" not in text:
        assert secrets.scrub(text) == text


def test_what_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("HF_ENDPOINT", "https://user:p%40ssword@hub.example/x")
    monkeypatch.setenv("https_proxy", "http://me:proxyword@proxy:1")
    said = "hf_abcdefgh 0123456789abcdef p%40ssword p@ssword proxyword dXNlcjpwQHNzd29yZA=="
    assert set(secrets.scrub(said).replace("=", "").split()) <= {"***", "***A", "***Q"}
    monkeypatch.setenv("HF_TOKEN", "short")
    assert secrets.scrub("a short word") == "a short word"


def test_the_login_of_any_address_is_hidden() -> None:
    assert secrets.scrub("at https://user:pw@host/v1?x@y and ftp://t@h") == "at https://***@host/v1?x@y and ftp://***@h"
    assert secrets.scrub("https://host/a@b") == "https://host/a@b"


def test_mappings_and_sequences_keep_their_form() -> None:
    assert secrets.scrub({"a": [KEY, 1, None], "b": (f"x{KEY}",)}) == {"a": ["***", 1, None], "b": ("x***",)}

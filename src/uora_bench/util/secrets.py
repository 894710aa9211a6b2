"""Keys, tokens and passwords that this process knows, taken out of every text that leaves it."""

from __future__ import annotations

import base64
import functools
import html
import os
import re
import sys
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 6  # characters: what is shorter is no secret, and hiding it would spoil other words
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_ADDRESSES = ("HF_ENDPOINT", "WANDB_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_LOGIN = re.compile(r"(?<=://)[^/\s@'\"]+@")  # of an address, known or not
_known: set[str] = set()


def add_secret(value: str) -> None:
    """From now on `scrub` knows ``value`` too: one that stands in no variable of its own."""
    _known.add(value)


def scrub(value: Any) -> Any:
    """``value`` without any known secret.

    A secret is found as it is, percent-escaped, in JSON's, Python's or HTML's escapes, in hexadecimal or base64.
    ``value``: a text, or mappings and sequences of texts; keys are left alone.
    """
    return _scrubbed(value, [_pattern(secret) for secret in _secrets()])


def _scrubbed(value: Any, patterns: list[re.Pattern[str]]) -> Any:
    if isinstance(value, str):
        text = _LOGIN.sub(f"{HIDDEN}@", value) if "://" in value else value
        for pattern in patterns:
            text = pattern.sub(HIDDEN, text)
        return text
    if isinstance(value, dict):
        return {key: _scrubbed(one, patterns) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_scrubbed(one, patterns) for one in value)
    return value


def _secrets() -> list[str]:
    """All that are known now, the longest first."""
    found = {*_known, *(os.environ.get(name, "") for name in _TOKENS)}
    for name in _ADDRESSES:
        for address in (os.environ.get(name, ""), os.environ.get(name.lower(), "")):
            login = address.split("://")[-1].split("/")[0].rpartition("@")[0]
            found |= {login, *login.partition(":")[2:]} | {unquote(login), unquote(login.partition(":")[2])}
    if "huggingface_hub" in sys.modules:  # else nothing has read the file of the token
        from huggingface_hub import get_token

        found.add(get_token() or "")
    return sorted({one.strip() for one in found if len(one.strip()) >= SHORTEST}, key=lambda one: (-len(one), one))


@functools.cache
def _pattern(secret: str) -> re.Pattern[str]:
    raw = secret.encode()
    wholes = [re.escape(core) for shift in range(3) for core in _base64(raw, shift)]
    wholes += [f"(?i:{raw.hex()})", "".join(map(_character, secret))]
    return re.compile("|".join(wholes))


def _base64(raw: bytes, shift: int) -> set[str]:
    """What of ``raw`` in base64 does not depend on what stands before it (``shift`` bytes, modulo 3) and after it."""
    first, last = -(-8 * shift // 6), 8 * (shift + len(raw)) // 6
    text = base64.b64encode(bytes(shift) + raw)[first:last].decode()
    return {text, text.replace("+", "-").replace("/", "_")}


def _character(one: str) -> str:
    """A pattern for every way in which ``one`` is escaped, the escapes before the character itself."""
    code, raw = ord(one), one.encode()
    ways = [
        "".join(f"%(?:25)*(?i:{byte:02x})" for byte in raw),
        "".join(rf"\\+x(?i:{byte:02x})" for byte in raw),
        rf"\\+(?:x|u00)(?i:{code:02x})" if code < 256 else rf"\\+u(?i:{code:04x})",
        rf"&\#(?:0*{code}|[xX]0*(?i:{code:x}));",
        re.escape(html.escape(one)),
        rf"\\*{re.escape(one)}",
    ]
    return f"(?:{'|'.join(ways)})"

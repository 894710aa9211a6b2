"""The judge's key: one place that knows it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.config import DEFAULT_KEY_ENV

if TYPE_CHECKING:
    import requests


class Secret:
    """The key: read from the environment, put into one header, and taken out of every text that leaves here."""

    def __init__(self, variable: str) -> None:
        value = os.environ.get(variable, "").strip()
        if not value and variable != DEFAULT_KEY_ENV:
            raise UserError("the environment variable that judge.key_env names is not set")
        if not all(33 <= ord(c) <= 126 for c in value):
            raise UserError("the environment variable that judge.key_env names holds no key (blanks or odd characters)")
        self._value = value

    @property
    def given(self) -> bool:
        """Whether there is a key. (No ``__bool__``: requests takes a false ``auth`` for none and reads ~/.netrc.)"""
        return bool(self._value)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Authorise ``request``; as requests' ``auth``, which also keeps it from trying ~/.netrc."""
        if self._value:
            request.headers["Authorization"] = f"Bearer {self._value}"
        return request

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self._value, "***") if self._value else text

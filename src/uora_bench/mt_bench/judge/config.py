"""What the command line asks for, strictly: the answers, the judge and its server."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from annotated_types import Ge, Gt

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.answers import FILE_NAME
from uora_bench.util.schema import build, convert, parse_text
from uora_bench.util.secrets import add_secret

PREFIX, DATA_ROOT = "judge.", "data.root"
DEFAULT_KEY_ENV = "OPENAI_API_KEY"


@dataclass(frozen=True)
class JudgeConfig:
    """Every ``judge.`` key with its default; docs/mt_bench.md explains them, and wrong ones raise `UserError`."""

    model: str
    base_url: str | None = None
    key_env: str = DEFAULT_KEY_ENV
    turns: Literal["1", "both"] = "both"
    references: Literal["gpt4", "none"] = "gpt4"
    temperature: Annotated[float, Ge(0)] | None = 0.0
    max_tokens: Annotated[int, Ge(1)] = 2048
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    attempts: Annotated[int, Ge(1)] = 3
    retry_malformed: bool = False
    parallel: Annotated[int, Ge(1)] = 4
    retries: Annotated[int, Ge(0)] = 6
    backoff: Annotated[float, Gt(0)] = 1.0  # seconds, as the next two
    connect_timeout: Annotated[float, Gt(0)] = 10.0
    timeout: Annotated[float, Gt(0)] = 120.0
    price_in: Annotated[float, Ge(0)] | None = None
    price_out: Annotated[float, Ge(0)] | None = None

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise UserError("judge.model is empty; name the judge as its server does")
        if (self.price_in is None) != (self.price_out is None):
            raise UserError("judge.price_in and judge.price_out (per million tokens) are given together")
        # a value that is no name may be the key itself, so it is never repeated
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_env):
            raise UserError(f"judge.key_env must be the name of an environment variable, such as {DEFAULT_KEY_ENV}")
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _base_url(self.base_url))

    @property
    def host(self) -> str:
        """Host and port of the server: what may be shown and stored of its address."""
        return urlsplit(self.base_url or "").netloc


@dataclass(frozen=True)
class JudgeRequest:
    """What one call of the command line asks for.

    The file of answers, the settings, the data folder; at most ``limit`` judgements this time, or (``dry_run``) only
    what they may cost.
    """

    answers: Path
    config: JudgeConfig
    data_root: Path | None
    limit: int | None = None
    dry_run: bool = False


def parse(place: str, given: Mapping[str, str]) -> JudgeRequest:
    """The request for the answers in ``place`` (a run folder or a file).

    ``given``: the text of each ``judge.`` key, ``data.root``, ``limit`` and ``dry_run``.

    Raises:
        UserError: for a value of a wrong type, no judge, or no file of answers.
    """
    hints = {f"{PREFIX}{name}": hint for name, hint in typing.get_type_hints(JudgeConfig).items()}
    settings = {key.removeprefix(PREFIX): parse_text(hints[key], text) for key, text in given.items() if key in hints}
    if "model" not in settings:
        raise UserError("'judge.model' is missing; name the judge as its server does, e.g. judge.model=gpt-4")
    root = given.get(DATA_ROOT) or os.environ.get("UORA_DATA_DIR")
    limit = convert(Annotated[int, Ge(1)] | None, parse_text(int | None, given.get("limit", "null")), "limit")
    dry_run = convert(bool, parse_text(bool, given.get("dry_run", "false")), "dry_run")
    config = build(JudgeConfig, settings, "judge")
    return JudgeRequest(_answers(Path(place)), config, Path(root) if root else None, limit, dry_run)


def read_key(variable: str) -> str:
    """The key in the environment variable, hidden from now on in all that leaves the process; "" where there is none.

    Raises:
        UserError: when the variable was asked for and is not set, or holds no key.
    """
    value = os.environ.get(variable, "").strip()
    if not value and variable != DEFAULT_KEY_ENV:
        raise UserError("the environment variable that judge.key_env names is not set")
    if not all(33 <= ord(c) <= 126 for c in value):
        raise UserError("the environment variable that judge.key_env names holds no key (blanks or odd characters)")
    add_secret(value)
    return value


def key_warning(config: JudgeConfig) -> str | None:
    """A line of warning where a key would go unencrypted to a server that is not near; else None."""
    parts = urlsplit(config.base_url or "")
    try:
        near = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_private
    except ValueError:
        near = False
    return f"warning: the key goes to {config.host} unencrypted (http)" if parts.scheme == "http" and not near else None


def _answers(place: Path) -> Path:
    path = place / FILE_NAME if place.is_dir() else place
    if not path.is_file():
        raise UserError(
            f"no file '{path}'; give the folder of a run that wrote MT-Bench answers, or the file of answers itself"
        )
    return path


def _base_url(url: str) -> str:
    """``url`` without what the path of a request adds; what else it may hold (a password, a key) is never repeated."""
    problem = "judge.base_url must look like https://host[:port]/v1"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UserError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(problem)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{problem}, without name, password or query; a key belongs in the variable of judge.key_env")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/chat/completions')}"

"""Asking an OpenAI-compatible server with patience: back-off, Retry-After, time limits that hold."""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import suppress
from typing import Any

import httpx2

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge import reply
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.reply import Completion
from uora_bench.util.secrets import scrub
from uora_bench.util.words import clause

LONGEST_WAIT = 300.0  # seconds; a server that asks for more is asked again another day
LONGEST_BACKOFF = 60.0
_LARGEST_BODY = 4_000_000


class Failed(Exception):
    """One question got no answer; other questions may."""


class Dropped(Exception):
    """The run is to stop, so this question was left."""


class Client:
    """Asks ``config``'s server with ``key`` ("": none); within ``async with``.

    Setting ``stop`` ends every wait. A Retry-After holds all questions back, not only the one that got it.
    """

    def __init__(self, config: JudgeConfig, key: str) -> None:
        self.config, self.key, self.stop = config, key, asyncio.Event()
        self._not_before = 0.0
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(config.timeout, connect=config.connect_timeout),
            limits=httpx2.Limits(),
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def complete(self, prompt: str, temperature: float | None) -> Completion:
        """The server's answer to ``prompt``, sampled at ``temperature`` (None: the server's own).

        Raises:
            UserError: when no question can succeed: the key, the address or the model is refused, the quota is used up.
            Failed: when this one got no answer, `JudgeConfig.retries` repetitions included.
            Dropped: when the run is to stop.
        """
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
            self.config.token_field: self.config.max_tokens,
        }
        if temperature is not None:
            body["temperature"] = temperature
        trouble = ""
        for attempt in range(self.config.retries + 1):
            await self._wait(attempt)
            answer = await self._post(body)
            if isinstance(answer, Completion):
                return answer
            trouble = answer
        raise Failed(f"{self.config.host} gave no answer in {self.config.retries + 1} attempts; the last: {trouble}")

    async def _wait(self, attempt: int) -> None:
        backoff = min(LONGEST_BACKOFF, self.config.backoff * 2 ** (attempt - 1)) if attempt else 0.0
        ready = time.monotonic() + backoff * random.uniform(0.5, 1.0)
        while not self.stop.is_set() and (left := max(ready, self._not_before) - time.monotonic()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), left)
        if self.stop.is_set():
            raise Dropped

    async def _post(self, body: dict[str, Any]) -> Completion | str:
        """The answer, or in a few words what went wrong and may go right the next time."""
        raw = bytearray()
        try:
            async with (
                # of the whole call: a server that sends byte by byte must not hold us
                asyncio.timeout(self.config.timeout),
                self._http.stream("POST", f"{self.config.base_url}/chat/completions", json=body) as response,
            ):
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > _LARGEST_BODY:
                        return f"an answer of more than {_LARGEST_BODY} bytes"
        except (TimeoutError, httpx2.TimeoutException):
            return f"no whole answer within {self.config.timeout:g} s ({self.config.connect_timeout:g} s to connect)"
        except httpx2.HTTPError as error:
            return _short(f"{type(error).__name__}: {_root(error)}")
        return self._read_reply(response, bytes(raw))

    def _read_reply(self, response: httpx2.Response, raw: bytes) -> Completion | str:
        status, host = response.status_code, self.config.host
        data = reply.parse(raw)
        said = _short(reply.message(data, raw))
        if status == 200:
            completion = reply.completion(data, self.config.model)
            return completion or f"200 with something that is no chat completion: {said}"
        ours = "the key of judge.key_env" if self.key else "requests without a key; judge.key_env names its variable"
        everything = {
            401: f"refuses {ours} (401)",
            403: f"forbids this (403): {said}",
            404: f"does not know this (404): {clause(said)}; check judge.base_url and judge.model",
        }
        if status in everything:
            raise UserError(f"{host} {everything[status]}")
        if 300 <= status < 400:
            raise UserError(f"{host} redirects the request ({status}); give the final address as judge.base_url")
        if status == 429 and reply.error(data).get("code") == "insufficient_quota":
            raise UserError(f"{host} says the quota is used up (429): {said}")
        if status in (408, 409, 425, 429) or status >= 500:
            pause = reply.seconds_to_wait(response.headers.get("Retry-After"))
            if pause > LONGEST_WAIT:
                raise UserError(f"{host} asks for a pause of {pause:.0f} s ({status}); give the same command later")
            self._not_before = max(self._not_before, time.monotonic() + pause)
            return f"{status}: {said}"
        raise Failed(f"{host} answers {status}: {said}")


def _short(text: str) -> str:
    """``text`` as the tail of one line; secrets are taken out first, so that no piece of one survives the cut."""
    text = "".join(c if c.isprintable() else " " for c in scrub(text))
    return " ".join(text.split())[:200] or "(nothing)"


def _root(error: BaseException) -> str:
    """The innermost reason, which is the one that says something (connection reset, name not known …)."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    known = isinstance(error, OSError) and (error.errno or 0) > 0
    return os.strerror(error.errno) if known else str(error)  # type: ignore[attr-defined]

"""Asking an OpenAI-compatible server with patience: back-off, Retry-After, time limits.

requests is the library: the suite depends on it already (through wandb and evaluate), it is maintained, blocking as our
threads are, and knows proxies and certificates.
"""

from __future__ import annotations

import random
import threading
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge import reply
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.reply import Completion
from uora_bench.mt_bench.judge.secret import Secret

if TYPE_CHECKING:
    import requests

LONGEST_WAIT = 300.0  # seconds; a server that asks for more is asked again another day
LONGEST_BACKOFF = 60.0
_LARGEST_BODY = 4_000_000


class Failed(Exception):
    """One question got no answer; other questions may."""


class Dropped(Exception):
    """The run is to stop, so this question was left."""


class Client:
    """Asks ``config``'s server; used by several threads at once.

    ``stop`` ends every wait. A Retry-After holds all threads back, not only the one that got it.
    """

    def __init__(self, config: JudgeConfig, secret: Secret, stop: threading.Event) -> None:
        self.config, self.secret, self.stop = config, secret, stop
        self._threads = threading.local()
        self._not_before = 0.0
        self._random = random.Random()

    @staticmethod
    def warning(config: JudgeConfig, secret: Secret) -> str | None:
        """What is worrying about the address, if anything."""
        parts = urlsplit(config.base_url or "")
        try:
            near = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_private
        except ValueError:
            near = False
        if secret.given and parts.scheme == "http" and not near:
            return f"warning: the key goes to {config.host} unencrypted (http)"
        return None

    def complete(self, prompt: str, temperature: float | None) -> Completion:
        """The server's answer to ``prompt``.

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
            self._wait(attempt)
            answer = self._post(body)
            if isinstance(answer, Completion):
                return answer
            trouble = answer
        raise Failed(f"{self.config.host} gave no answer in {self.config.retries + 1} attempts; the last: {trouble}")

    def _wait(self, attempt: int) -> None:
        backoff = min(LONGEST_BACKOFF, self.config.backoff * 2 ** (attempt - 1)) if attempt else 0.0
        ready = time.monotonic() + backoff * self._random.uniform(0.5, 1.0)
        while (left := max(ready, self._not_before) - time.monotonic()) > 0:
            if self.stop.wait(left):
                break
        if self.stop.is_set():
            raise Dropped

    def _post(self, body: dict[str, Any]) -> Completion | str:
        """The answer, or in a few words what went wrong and may go right the next time."""
        import requests

        deadline = time.monotonic() + self.config.timeout
        try:
            with self._session().post(
                f"{self.config.base_url}/chat/completions",
                json=body,
                auth=self.secret,
                timeout=(self.config.connect_timeout, self.config.timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                raw = bytearray()
                for chunk in response.iter_content(256):  # small: a server that sends byte by byte must not hold us
                    raw += chunk
                    if time.monotonic() > deadline:
                        return f"no whole answer within {self.config.timeout:g} s"
                    if len(raw) > _LARGEST_BODY:
                        return f"an answer of more than {_LARGEST_BODY} bytes"
        except requests.Timeout:
            return f"no answer within {self.config.timeout:g} s ({self.config.connect_timeout:g} s to connect)"
        except requests.RequestException as error:
            return self._short(f"{type(error).__name__}: {_root(error)}")
        return self._read(response, bytes(raw))

    def _read(self, response: requests.Response, raw: bytes) -> Completion | str:
        status, host = response.status_code, self.config.host
        data = reply.parse(raw)
        said = self._short(reply.message(data, raw))
        if status == 200:
            completion = reply.completion(data, self.config.model)
            return completion or f"200 with something that is no chat completion: {said}"
        if status == 401:
            ours = (
                "the key of judge.key_env"
                if self.secret.given
                else "requests without a key; judge.key_env names its variable"
            )
            raise UserError(f"{host} refuses {ours} (401)")
        if status == 403:
            raise UserError(f"{host} forbids this (403): {said}")
        if status == 404:
            raise UserError(f"{host} does not know this (404): {said}; check judge.base_url and judge.model")
        if 300 <= status < 400:
            raise UserError(f"{host} sends elsewhere ({status}); give the final address as judge.base_url")
        if status == 429 and reply.error(data).get("code") == "insufficient_quota":
            raise UserError(f"{host} says the quota is used up (429): {said}")
        if status in (408, 409, 425, 429) or status >= 500:
            pause = reply.seconds_to_wait(response.headers.get("Retry-After"))
            if pause > LONGEST_WAIT:
                raise UserError(f"{host} asks for a pause of {pause:.0f} s ({status}); give the same command later")
            self._not_before = max(self._not_before, time.monotonic() + pause)
            return f"{status}: {said}"
        raise Failed(f"{host} answers {status}: {said}")

    def _short(self, text: str) -> str:
        """``text`` as the tail of one line; the key is taken out first, so that no piece of it survives the cut."""
        text = "".join(c if c.isprintable() else " " for c in self.secret.hide(text))
        return " ".join(text.split())[:200] or "(nothing)"

    def _session(self) -> requests.Session:
        import requests

        if not hasattr(self._threads, "session"):  # a session is no thing for several threads
            self._threads.session = requests.Session()
        return self._threads.session


def _root(error: BaseException) -> str:
    """The innermost reason, which is the one that says something (connection reset, name not known …)."""
    while error.args and isinstance(inner := getattr(error.args[0], "reason", error.args[0]), BaseException):
        error = inner
    words = [str(a) for a in error.args if isinstance(a, (str, OSError))]
    return words[-1] if words else str(error)

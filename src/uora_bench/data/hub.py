"""Whether the Hugging Face Hub can be reached, decided quickly and by asking for a file that is really wanted.

Without this, every library retries for itself: on a machine without a network one model costs 46 seconds of waiting,
behind a server that accepts and never answers one file costs 100. Import this module before the libraries: it bounds
their own waiting, which they read from the environment once.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from uora_bench.errors import UserError
from uora_bench.util.words import clause

PROBE_SECONDS = 5.0
WAIT_SECONDS = 300.0  # the Hub counts requests in windows of five minutes
_PAUSES = 8  # each of the five pauses that a library makes may take such a part of it
_FILES = {"model": "config.json", "dataset": "README.md"}  # what the libraries ask for first
# the libraries' own copies of the switch, made when they were imported
_SWITCHES = ("huggingface_hub.constants", "datasets.config")

for _variable in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
    os.environ.setdefault(_variable, "10")
# "Retrying in 1s [Retry 1/5]" is not for the user, who gets one line at the end
logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)


@functools.cache
def reachable(repo: str, kind: Literal["model", "dataset"] = "model", revision: str | None = None) -> bool:
    """Whether the Hub answers for ``repo``; asked once, at most `PROBE_SECONDS`.

    When it does not, the libraries are put in offline mode for the rest of the process; they then use their caches.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    prefix = "datasets/" if kind == "dataset" else ""
    if _answers_in_time(f"{endpoint()}/{prefix}{repo}/resolve/{quote(revision or 'main', safe='')}/{_FILES[kind]}"):
        set_client()
        return True
    os.environ["HF_HUB_OFFLINE"] = "1"
    for module in _switches():
        module.HF_HUB_OFFLINE = True
    return False


def endpoint() -> str:
    """The address of the Hub (``HF_ENDPOINT``), without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def reason(error: BaseException) -> str:
    """The first line of what a library says of its failure, without a full stop; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return (clause(lines[0]) if lines else "") or type(error).__name__


@contextmanager
def disconnected() -> Iterator[None]:
    """Inside, the libraries ask nothing of the Hub: some questions of theirs heed no ``local_files_only``."""
    modules = _switches()
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _switches() -> list[Any]:
    return [sys.modules[name] for name in _SWITCHES if name in sys.modules]


def wait_seconds() -> float:
    """How long one request may wait in all for a busy or broken Hub (``UORA_HUB_WAIT``)."""
    return seconds("UORA_HUB_WAIT", WAIT_SECONDS)


def seconds(variable: str, default: float) -> float:
    """A number of seconds from the environment; raises `UserError` for what is none."""
    text = os.environ.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"{variable}={text} must be a number of seconds above zero")
    return value


def set_client(bound_waiting: bool = True) -> None:
    """Make the libraries' HTTP client send the token to the Hub's own host alone, whatever page or redirect leads away.

    With ``bound_waiting`` the client also waits no longer than this package does; by itself it obeys any
    ``Retry-After``.
    """
    import huggingface_hub
    from huggingface_hub.utils import _http

    longest = int(wait_seconds() / _PAUSES)

    def keep_token(request: Any) -> None:
        if _origin(str(request.url)) != _origin(endpoint()):
            request.headers.pop("authorization", None)

    def shorten(response: Any) -> None:
        asked = [response.headers.pop(name, None) for name in ("retry-after", "ratelimit")]
        if any(asked):
            own = asked[0] if (asked[0] or "").isdigit() else longest
            response.headers["retry-after"] = str(min(int(own), longest))

    def factory() -> Any:
        client: Any = _http.default_client_factory()
        hooks = client.event_hooks
        waiting = [shorten] if bound_waiting else []
        client.event_hooks = {
            "request": [*hooks.get("request", []), keep_token],
            "response": [*hooks.get("response", []), *waiting],
        }
        return client

    huggingface_hub.set_client_factory(factory)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _answers_in_time(url: str) -> bool:
    answer: list[bool] = []
    # a thread, because neither name resolution nor a server that sends byte by byte is bound by a socket's time-out
    thread = threading.Thread(target=lambda: answer.append(_answers(url)), daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return bool(answer and answer[0])


def _answers(url: str) -> bool:
    """Whether a Hub answers a HEAD request for ``url``: it has the file, redirects to it, or says that it has not.

    403, 407 and 5xx are what a proxy or a Hub out of order says; with them the libraries would only wait.
    """
    import httpx2

    try:
        status = httpx2.head(url, timeout=PROBE_SECONDS, headers={"User-Agent": "uora_bench"}).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError):  # there is no Hub to talk to
        return False
    return status < 400 or status in (401, 404)

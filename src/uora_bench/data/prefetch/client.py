"""What prefetching needs of the Hub: what a repository holds at a revision, and its files.

`huggingface_hub` speaks the protocol. Here are what it has not: a transfer that breaks is continued where it broke, in
this call or in a later one; every file is compared with the Hub's checksum before it gets its name; and waiting is
bounded by ``UORA_HUB_WAIT`` (seconds for one request in all).
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, get_session, get_token, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from uora_bench.data import hub, offline
from uora_bench.data.prefetch.remote import Kind, RemoteFile, Repository, RepositoryError
from uora_bench.errors import UserError
from uora_bench.util.inside import inside

T = TypeVar("T")
PART = ".part"  # of a file that is not whole yet
_RECEIVED = 1 << 16  # bytes written at a time: the part of a block that came before the connection broke is lost
_BUSY = (408, 429, 500, 502, 503, 504)
_TELL = 50_000_000  # bytes still to come that are worth a line
_MOST_TRIES = 7  # 1 + 2 + … + 32 = 63 pauses of a 64th of the time
_AGAIN = "run the same command again later to resume"


class Client:
    """One conversation with the Hub at ``HF_ENDPOINT``, with the user's token where there is one."""

    def __init__(self) -> None:
        address = urlsplit(hub.endpoint())
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UserError(f"HF_ENDPOINT='{hub.endpoint()}' is not the address of a server, such as https://host")
        hub.set_client(bound_waiting=False)
        self.api = HfApi(endpoint=hub.endpoint(), library_name="uora_bench")
        self.wait = hub.wait_seconds()
        self.timeout = hub.seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10.0)
        self.answered = False
        self.repository = functools.cache(self._repository)

    def _repository(self, name: str, kind: Kind, revision: str) -> Repository:
        """What ``revision`` (a branch, a tag or a commit) of a repository is now.

        Raises:
            UserError: when it cannot be had, or lists a name that leads out of a folder.
        """

        def look() -> Any:
            return self.api.repo_info(
                name, repo_type=kind, revision=revision, files_metadata=True, timeout=self.timeout
            )

        try:
            with _refusals(name, kind, revision):
                found = self._ask(name, look)
            files = [
                RemoteFile(one.rfilename, int(one.size), one.lfs.sha256 if one.lfs else None, one.blob_id)
                for one in found.siblings
            ]
            if not offline.is_commit(found.sha):
                raise ValueError
        except HFValidationError:
            raise RepositoryError(f"'{name}' is not the name of a {kind} on the Hub (owner/name)") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{hub.endpoint()} does not answer as the Hub does; check HF_ENDPOINT and proxies"
            ) from None
        for file in files:
            try:
                inside(Path(name), file.path)
            except UserError as error:
                raise RepositoryError(f"{kind} {name} is not to be trusted: {error}") from None
        return Repository(name, kind, found.sha, {file.path: file for file in files})

    def fetch(self, repository: Repository, file: RemoteFile, target: Path) -> None:
        """Have ``file`` at ``target``, whole and with the bytes it has on the Hub.

        What came before a failure stays beside it (``.part``) and is not fetched again.

        Raises:
            UserError: when it cannot be had. OSError: when it cannot be written.
        """
        if file.is_at(target):
            return
        what = f"{file.path} of {repository.id}"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        part.touch()
        if file.size - part.stat().st_size > _TELL:
            print(f"{what}: {file.size / 1e9:.2f} GB", flush=True)
        for _ in range(2):
            with _refusals(repository.id, repository.kind, repository.commit):
                self._ask(what, lambda: self._append(repository, file, part), lambda: part.stat().st_size)
            if file.is_at(part):
                with open(part, "rb") as handle:
                    os.fsync(handle.fileno())
                os.replace(part, target)
                return
            part.write_bytes(b"")
        part.unlink()
        raise RepositoryError(
            f"{what} came twice with other bytes than the Hub's checksum says (commit {repository.commit[:12]}); check "
            f"the proxy in between, or {_AGAIN}"
        )

    def _append(self, repository: Repository, file: RemoteFile, part: Path) -> None:
        """Write what ``part`` lacks of ``file`` behind it, or all of it where the server sends the whole again."""
        held = part.stat().st_size
        if held >= file.size:
            return  # more than there is: its checksum will say so
        url = hf_hub_url(
            repository.id, file.path, repo_type=repository.kind, revision=repository.commit, endpoint=self.api.endpoint
        )
        headers = build_hf_headers(library_name="uora_bench") | {"Accept-Encoding": "identity"}
        if held:
            headers["Range"] = f"bytes={held}-"
        with get_session().stream("GET", url, headers=headers, timeout=self.timeout) as response:
            hf_raise_for_status(response)
            with open(part, "ab" if response.status_code == 206 else "wb") as handle:
                for block in response.iter_bytes(_RECEIVED):
                    handle.write(block)
                    if handle.tell() > file.size:
                        return
        if part.stat().st_size < file.size:
            raise HTTPError("the file ended early")

    def _ask(self, what: str, act: Callable[[], T], held: Callable[[], int] = lambda: 0) -> T:
        """The result of ``act``, repeated after errors that may pass.

        The pauses grow, up to `wait` seconds in all; the count starts anew when ``held`` (bytes) has grown.

        Raises:
            UserError: when the last try failed too. HfHubHTTPError: for a refusal.
        """
        left, failed = self.wait, 0
        while True:
            before, after = held(), None
            try:
                result = act()
                self.answered = True
                return result
            except OfflineModeIsEnabled:
                raise UserError("prefetch needs the Hub, which HF_HUB_OFFLINE=1 forbids; unset it") from None
            except HfHubHTTPError as error:
                response, self.answered = error.response, True
                if response.status_code not in _BUSY:
                    raise
                why, after = f"{response.status_code} {response.reason_phrase}".strip(), _asked_wait(response.headers)
            except HTTPError as error:
                why = type(error).__name__
            if held() > before:
                left, failed, self.answered = self.wait, 0, True
            failed += 1
            if after is not None and after > left:
                raise UserError(
                    f"{what}: the Hub asks to wait {after:.0f} s ({why}), longer than UORA_HUB_WAIT={self.wait:g}; "
                    f"{_AGAIN}"
                )
            if failed >= 2 and not self.answered:
                raise UserError(
                    f"prefetch needs the Hub, which cannot be reached from here ({hub.endpoint()}: {why}); run it on a "
                    "connected machine"
                )
            if failed >= _MOST_TRIES:
                raise UserError(f"{what}: failed {failed} times ({why}); {_AGAIN}")
            pause = self.wait / 64 * 2 ** (failed - 1) if after is None else after
            time.sleep(pause)
            left -= pause


@contextmanager
def _refusals(name: str, kind: Kind, revision: str) -> Iterator[None]:
    """Inside, what the Hub refuses is said as what it means for the user."""
    try:
        yield
    except HfHubHTTPError as error:
        status, page = error.response.status_code, f"{hub.endpoint()}/{'datasets/' * (kind == 'dataset')}{name}"
        if isinstance(error, RevisionNotFoundError):
            why = f"{kind} {name} has no revision '{revision}'; see {page}/commits/main"
        elif isinstance(error, EntryNotFoundError):
            why = f"{kind} {name} at {revision} lacks a file that its list names: {error.response.url}"
        elif status in (401, 403):
            known = "the Hub does not accept your token" if get_token() else "no token is set"
            why = (
                f"{kind} {name} is gated, private or not there ({status}), and {known}: accept its terms at {page} and "
                "log in (`hf auth login`, or HF_TOKEN=…), or name another"
            )
        elif status == 404:
            why = f"the Hub has no {kind} {name} (404)"
        else:
            raise UserError(f"{kind} {name}: the Hub answered {status} {error.response.reason_phrase}") from None
        raise RepositoryError(why) from None


def _asked_wait(headers: Any) -> float | None:
    """The seconds that ``Retry-After``, or the Hub's own ``RateLimit: "api";r=0;t=…``, asks to wait; None without."""
    asked = re.fullmatch(r"\s*(\d+)\s*", headers.get("Retry-After", ""))
    asked = asked or re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(asked[1]) if asked else None

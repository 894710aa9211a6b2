"""The Hub's protocol, as far as prefetching needs it: what a revision is, what it holds, and its files.

Every file is compared with the Hub's own checksum before it gets its name. A transfer that breaks is continued where it
broke, in this call or in a later one; waiting is bounded by ``UORA_HUB_WAIT`` (seconds for one request in all).
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urljoin

import requests

from uora_bench.data import hub, offline
from uora_bench.errors import UserError

Kind = Literal["model", "dataset"]
PART = ".part"  # of a file that is not whole yet
_BLOCK = 1 << 20  # bytes hashed at a time
_RECEIVED = 1 << 16  # bytes written at a time: the part of a block that came before the connection broke is lost
_BUSY = (408, 429, 500, 502, 503, 504)
_TELL = 50_000_000  # bytes still to come that are worth a line
_MOST_TRIES = 7  # 1 + 2 + … + 32 = 63 pauses of a 64th of the time
_AGAIN = "run the same command again later: it goes on where it stopped"


class RepositoryError(UserError):
    """One repository cannot be had; others may."""


class _Broken(Exception):
    """A request that may well succeed when it is made again; ``after``: seconds that the Hub asks to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: ``sha256`` of a large one, else git's hash (``blob``)."""

    path: str
    size: int
    sha256: str | None
    blob: str

    def matches(self, path: Path) -> bool:
        """Whether the file at ``path`` has these bytes."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return offline.sha256(path) == self.sha256
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        with open(path, "rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest() == self.blob


class _Patience:
    """The pauses between the tries of one request: longer each time, and not longer than ``seconds`` in all."""

    def __init__(self, seconds: float, tries: int) -> None:
        self.seconds, self.tries = seconds, tries
        self.renew()

    def renew(self) -> None:
        """Bytes have come: the time starts anew."""
        self.left, self.failed = self.seconds, 0

    def pause(self, broken: _Broken, what: str) -> None:
        """Wait before the next try; raises `UserError` when there has been enough of it."""
        self.failed += 1
        if broken.after is not None and broken.after > self.left:
            raise UserError(
                f"{what}: the Hub asks to wait {broken.after:.0f} s ({broken}), longer than UORA_HUB_WAIT="
                f"{self.seconds:g}; {_AGAIN}"
            )
        if self.failed >= self.tries:
            raise UserError(f"{what}: failed {self.failed} times ({broken}); {_AGAIN}")
        wait = self.seconds / 64 * 2 ** (self.failed - 1) if broken.after is None else broken.after
        time.sleep(wait)
        self.left -= wait


class Client:
    """One conversation with the Hub at ``HF_ENDPOINT``, with the user's token where there is one."""

    def __init__(self) -> None:
        from huggingface_hub import get_token

        self.endpoint = hub.endpoint()
        self.wait = hub.wait_seconds()
        self.timeout = hub.seconds("HF_HUB_DOWNLOAD_TIMEOUT", 10.0)
        self.session = requests.Session()
        self.session.headers.update({"User-Agent": "uora_bench", "Accept-Encoding": "identity"})
        self.token = get_token()
        if self.token:
            self.session.headers["Authorization"] = f"Bearer {self.token}"
        self.answered = False
        self.commit = functools.cache(self._commit)
        self.files = functools.cache(self._files)

    def _commit(self, repo: str, kind: Kind, revision: str) -> str:
        """The commit that ``revision`` (a branch, a tag or a commit) is now."""
        url = f"{self.endpoint}/api/{kind}s/{repo}/revision/{quote(revision, safe='')}"
        commit = self._json(url, repo, kind, revision)[0].get("sha")
        if not isinstance(commit, str) or not offline.is_commit(commit):
            raise UserError(f"{url} does not answer as the Hub does; check HF_ENDPOINT and proxies")
        return commit

    def _files(self, repo: str, kind: Kind, commit: str) -> list[RemoteFile]:
        """Everything that the repository holds at ``commit``."""
        url: str | None = f"{self.endpoint}/api/{kind}s/{repo}/tree/{commit}?recursive=true&expand=false"
        found = []
        while url is not None:
            entries, following = self._json(url, repo, kind, commit)
            for entry in entries:
                if entry["type"] == "file":
                    large = entry.get("lfs") or {}
                    size = int(large.get("size", entry["size"]))
                    found.append(RemoteFile(entry["path"], size, large.get("oid"), entry["oid"]))
            url = following
        return found

    def fetch(self, repo: str, kind: Kind, commit: str, file: RemoteFile, target: Path) -> None:
        """Put ``file`` at ``target``, whole and with the bytes it has on the Hub. What came before a failure stays
        beside it (``.part``) and is not fetched again.

        Raises:
            UserError: when it cannot be had. OSError: when it cannot be written.
        """
        prefix = "datasets/" if kind == "dataset" else ""
        url = f"{self.endpoint}/{prefix}{repo}/resolve/{commit}/{quote(file.path)}"
        what = f"{file.path} of {repo}"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        patience, spoiled = self._patience(), 0
        part.touch()
        if file.size - part.stat().st_size > _TELL:
            print(f"{what}: {file.size / 1e9:.2f} GB", flush=True)
        while True:
            part.touch()
            held = part.stat().st_size
            try:
                if held > file.size:
                    part.write_bytes(b"")
                elif held < file.size:
                    with self._open(url, repo, kind, commit, held) as response:
                        self._append(response, part, file.size)
                    if part.stat().st_size < file.size:
                        raise _Broken("the file ended early")
            except _Broken as broken:
                if part.stat().st_size > held:
                    patience.renew()
                patience.pause(broken, what)
                continue
            if file.matches(part):
                _sync(part)
                os.replace(part, target)
                return
            part.unlink()
            spoiled += 1
            if spoiled > 1:
                raise RepositoryError(
                    f"{what} came twice with other bytes than the Hub's checksum says (commit {commit[:12]}); check "
                    f"the proxy in between, or {_AGAIN}"
                )

    def _append(self, response: Any, part: Path, size: int) -> None:
        """Write the body of ``response`` behind what ``part`` holds, or anew where the whole file comes again."""
        with open(part, "ab" if response.status_code == 206 else "wb") as handle, _transport():
            for block in response.iter_content(_RECEIVED):
                handle.write(block)
                if handle.tell() > size:
                    break  # not this file: its checksum will say so

    def _json(self, url: str, repo: str, kind: Kind, revision: str) -> tuple[Any, str | None]:
        """What the Hub's API says at ``url``, and the address of the next page where there is one."""
        patience = self._patience()
        while True:
            try:
                with self._open(url, repo, kind, revision) as response, _transport():
                    following = response.links.get("next", {}).get("url")
                    return response.json(), urljoin(url, following) if following else None
            except requests.exceptions.JSONDecodeError:
                raise UserError(f"{url} does not answer as the Hub does; check HF_ENDPOINT and proxies") from None
            except _Broken as broken:
                if not self.answered:
                    patience.tries = 2
                try:
                    patience.pause(broken, repo)
                except UserError:
                    if self.answered:
                        raise
                    raise UserError(
                        f"prefetch needs the Hub, which cannot be reached from here ({self.endpoint}: {broken}); run "
                        "it on a connected machine"
                    ) from None

    @contextmanager
    def _open(self, url: str, repo: str, kind: Kind, revision: str, start: int = 0) -> Iterator[Any]:
        """The answer to a GET of ``url`` from byte ``start`` on, with its body still to come."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        with _transport():
            response = self.session.get(url, headers=headers, stream=True, timeout=self.timeout)
        with response:
            self.answered = True
            if response.status_code in _BUSY:
                raise _Broken(f"{response.status_code} {response.reason}".strip(), _after(response.headers))
            if response.status_code not in (200, 206):
                self._refuse(response, repo, kind, revision)
            yield response

    def _refuse(self, response: Any, repo: str, kind: Kind, revision: str) -> None:
        """Raise what the Hub's refusal means for the user."""
        status, code = response.status_code, response.headers.get("X-Error-Code", "")
        page = f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
        if code == "RevisionNotFound":
            raise RepositoryError(f"{kind} {repo} has no revision '{revision}'; see {page}/commits/main")
        if code == "EntryNotFound":
            raise RepositoryError(f"{kind} {repo} at {revision} lacks a file that its list names: {response.url}")
        if status in (401, 403):
            known = "the Hub does not accept your token" if self.token else "no token is set"
            raise RepositoryError(
                f"{kind} {repo} is gated, private or not there ({status}), and {known}: accept its terms at {page} and "
                "log in (`hf auth login`, or HF_TOKEN=…), or name another"
            )
        if status == 404:
            raise RepositoryError(f"the Hub has no {kind} {repo} (404)")
        raise UserError(f"{kind} {repo}: the Hub answered {status} {response.reason}")

    def _patience(self) -> _Patience:
        return _Patience(self.wait, _MOST_TRIES)


@contextmanager
def _transport() -> Iterator[None]:
    """Inside, whatever goes wrong on the way is `_Broken`."""
    try:
        yield
    except requests.exceptions.JSONDecodeError:
        raise
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema) as e:
        raise UserError(f"HF_ENDPOINT is not the address of a server: {hub.reason(e)}") from None
    except requests.RequestException as error:
        raise _Broken(type(error).__name__) from None


def _after(headers: Any) -> float | None:
    """The seconds that ``Retry-After``, or the Hub's own ``RateLimit: "api";r=0;t=…``, asks to wait; None without."""
    asked = re.fullmatch(r"\s*(\d+)\s*", headers.get("Retry-After", ""))
    asked = asked or re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(asked[1]) if asked else None


def _sync(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())

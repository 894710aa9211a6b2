"""A small Hub on the loopback: the part of its protocol that huggingface_hub, datasets and the prefetch client speak.

Large files (safetensors, parquet) are in LFS as on the real Hub: listed with their sha256 and served by redirection to
another host. Any answer can be spoiled with `Hub.spoil`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet", ".bin")
PAGE = 4  # entries of a listing, so that every one takes several


@dataclass
class Repository:
    """One revision of a model or data set, called ``main`` and by its commit; ``gate``: the status of a gated one."""

    kind: str
    id: str
    files: Mapping[str, bytes]
    gate: int | None = None
    commit: str = ""

    def __post_init__(self) -> None:
        digest = hashlib.sha1()
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + hashlib.sha1(content).digest())
        self.commit = self.commit or digest.hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        """What a listing says of the file."""
        content = self.files[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": self.blob(path)}
        if path.endswith(LARGE):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def sibling(self, path: str) -> dict[str, Any]:
        """What the facts of a repository say of the file, sizes and hashes included (``?blobs=true``)."""
        entry = self.entry(path)
        large = entry.get("lfs")
        lfs = {"lfs": {"sha256": large["oid"], "size": large["size"], "pointerSize": 134}} if large else {}
        return {"rfilename": path, "size": entry["size"], "blobId": entry["oid"], **lfs}

    def blob(self, path: str) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.files[path]) + self.files[path]).hexdigest()

    def entries(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """The listing of a folder."""
        prefix, found = f"{folder}/" if folder else "", {}
        for path in sorted(self.files):
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts)) if recursive else range(1, min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                found[name] = {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
            if recursive or len(parts) == 1:
                found[path] = self.entry(path)
        return list(found.values())


@dataclass
class Fault:
    """What happens to answers whose ``METHOD path`` matches ``pattern``, ``times`` times.

    ``status``: answered with it and ``headers``; ``keep``: the body ends after so many bytes, by closing the connection
    (``reset``: by resetting it); ``flip``: one byte of the body is another; ``ignore_range``: the whole file comes;
    ``pause``: seconds before the answer; ``relink``: as it should be but for ``headers``.
    """

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    keep: int | None = None
    reset: bool = False
    flip: bool = False
    pause: float = 0.0
    ignore_range: bool = False
    relink: bool = False


@dataclass
class Hub:
    """The running server: its address, what it holds, what it was asked (``METHOD path [range]``)."""

    endpoint: str
    repositories: list[Repository]
    log: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tokens: dict[str, set[str | None]] = field(default_factory=dict)  # who was given which, by the host's name
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def storage(self) -> str:
        """The address of the large files: another host's, as far as a client can tell."""
        return self.endpoint.replace("127.0.0.1", "localhost")

    def spoil(self, pattern: str, **how: Any) -> None:
        self.faults.append(Fault(pattern, **how))

    def asked(self, pattern: str) -> list[str]:
        """The requests that match."""
        return [line for line in self.log if re.search(pattern, line)]

    def fault(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def find(self, kind: str, name: str) -> Repository | None:
        return next((r for r in self.repositories if (r.kind, r.id) == (kind, name)), None)


_API = re.compile(r"/api/(?P<kind>model|dataset)s/(?P<id>[^/]+/[^/]+)(?:/(?P<what>[a-z-]+)/(?P<rest>.+))?")
_FILE = re.compile(r"/(?P<kind>datasets/)?(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        request = f"{self.command} {unquote(self.path)}"
        self.hub.log.append(f"{request} {self.headers.get('Range', '')}".rstrip())
        host = self.headers.get("Host", "").split(":")[0]
        self.hub.tokens.setdefault(host, set()).add(self.headers.get("Authorization"))
        self.fault = self.hub.fault(request)
        if self.fault is not None and self.fault.status is not None:
            return self._send(self.fault.status, b"busy", self.fault.headers)
        if self.fault is not None:
            time.sleep(self.fault.pause)
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        if match := _API.fullmatch(path):
            return self._api(match, query, body)
        if path.startswith("/storage/"):
            kind, owner, name, file = path.removeprefix("/storage/").split("/", 3)
            repository = self.hub.find(kind, f"{owner}/{name}")
            assert repository is not None
            return self._file(repository.files[file], {"ETag": f'"{repository.entry(file)["lfs"]["oid"]}"'})
        if match := _FILE.fullmatch(path):
            return self._resolve(match)
        self._send(404, b"")

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        """The repository, or None with the refusal sent."""
        found = self.hub.find(kind, name)
        if found is None:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif found.gate is not None and "/resolve/" in self.path:  # what a gated repository holds, anyone may read
            self._send(found.gate, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif revision not in ("main", found.commit):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        else:
            return found
        return None

    def _api(self, match: re.Match[str], query: dict[str, list[str]], body: str) -> None:
        what, (revision, _, folder) = match["what"], (match["rest"] or "main").partition("/")
        found = self._repository(match["kind"], match["id"], revision)
        if found is None:
            return None
        if what in (None, "revision"):
            siblings = [found.sibling(name) for name in found.files]
            facts = {"id": found.id, "sha": found.commit, "siblings": siblings, "private": False, "tags": []}
            return self._json(facts)
        if what == "paths-info":
            try:
                wanted = json.loads(body)["paths"]
            except ValueError:
                wanted = parse_qs(body)["paths"]
            return self._json([found.entry(path) for path in wanted if path in found.files])
        if what != "tree":
            return self._send(404, b"")
        entries = found.entries(folder, query.get("recursive", ["false"])[0].lower() == "true")
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            flags = "&".join(f"{k}={v[0]}" for k, v in query.items() if k != "cursor")
            here = f"{self.hub.endpoint}{urlsplit(self.path).path}"
            headers["Link"] = f'<{here}?{flags}&cursor={start + PAGE}>; rel="next"'
            if self.fault is not None and self.fault.relink:
                headers |= self.fault.headers
        if folder and not entries:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self._json(entries[start : start + PAGE], headers)

    def _resolve(self, match: re.Match[str]) -> None:
        kind, path = "dataset" if match["kind"] else "model", match["path"]
        found = self._repository(kind, match["id"], match["revision"])
        if found is None:
            return None
        if path not in found.files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found.commit})
        headers = {"X-Repo-Commit": found.commit}
        if path.endswith(LARGE):
            entry = found.entry(path)
            headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(entry["size"])}
            headers["Location"] = f"{self.hub.storage}/storage/{kind}/{found.id}/{path}"
            return self._send(302, b"", headers)
        return self._file(found.files[path], {**headers, "ETag": f'"{found.blob(path)}"'})

    def _file(self, content: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers = {**headers, "Accept-Ranges": "bytes"}
        if wanted is None or (self.fault is not None and self.fault.ignore_range):
            return self._send(200, content, headers)
        start, stop = int(wanted[1]), int(wanted[2] or len(content) - 1) + 1
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self._send(206, content[start:stop], headers)

    def _json(self, data: Any, headers: dict[str, str] | None = None) -> None:
        self._send(200, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        fault = self.fault if self.fault is not None and self.fault.status is None else None
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.flip:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if fault is None or fault.keep is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.keep])
        self.wfile.flush()
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


@contextmanager
def serve(*repositories: Repository) -> Iterator[Hub]:
    """Run a Hub that holds ``repositories``; requests are answered until the context ends."""

    class Handler(_Handler):
        pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away

    with Server(("127.0.0.1", 0), Handler) as running:
        hub = Hub(f"http://127.0.0.1:{running.server_port}", list(repositories))
        Handler.hub = hub
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield hub
        finally:
            running.shutdown()

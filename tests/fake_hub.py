"""A hub on this machine: the endpoints of the Hugging Face hub that loading and uploading use.

with FakeHub() as hub:
    hub.add("me/rooms", {"config.json": b"{}"})       # a public model
    hub.redirect(monkeypatch, cache)                  # the hub client of this process talks to it
    hub.files("me/rooms")                             # after an upload
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_writer"
READER = "hf_reader"


@dataclass
class Repository:
    """A model with its branches and tags: name -> files."""

    private: bool = False
    gated: bool = False
    revisions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, revision: str) -> str:
        content = repr(sorted(self.revisions[revision].items())).encode()
        return hashlib.sha1(content).hexdigest()

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for name, files in self.revisions.items():
            if revision in (name, self.commit(name)):
                return self.commit(name), files
        return None


class FakeHub:
    """A server in a thread, with models in memory."""

    def __init__(self) -> None:
        self.models: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.status: int | None = None  # of every answer, if set
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, name: str, files: dict[str, bytes] | Path, revision: str = "main") -> Repository:
        """Put files, or the files of a folder, into a model."""
        if isinstance(files, Path):
            files = {file.name: file.read_bytes() for file in files.iterdir() if file.is_file()}
        repository = self.models.setdefault(name, Repository())
        repository.revisions[revision] = dict(files)
        return repository

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        return self.models[name].revisions[revision]

    def redirect(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Let the hub client of this process talk to this server, without a token."""
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no_token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(
        self, status: int, content: Any = b"", headers: dict[str, str] | None = None
    ) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        own = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        for name, value in own.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str = "") -> None:
        self._answer(
            status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message or code}
        )

    @property
    def _token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _repository(self, name: str) -> Repository | None:
        """The model if it may be read; otherwise an error is answered, as the hub does."""
        repository = self.hub.models.get(name)
        if repository is None or (repository.private and not self._token):
            self._error(404 if self._token else 401, "RepoNotFound", "Repository not found")
        elif repository.gated and self._token != TOKEN:
            self._error(403, "GatedRepo", "Access is restricted")
        else:
            return repository
        return None

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.status is not None:
            self._error(self.hub.status, "")
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
            if self.command == "GET":
                self._read(name, rest)
            else:
                self._write(name, rest, body)
        elif parts[:1] == ["api"]:
            self._other(parts[1:], body)
        elif parts[2:3] == ["resolve"]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._error(404, "")

    do_GET = do_HEAD = do_POST = _handle

    def _read(self, name: str, rest: list[str]) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        revision = rest[1] if len(rest) > 1 else "main"
        found = repository.find(revision)
        if found is None:
            self._error(404, "RevisionNotFound", "Invalid rev id")
            return
        commit, files = found
        if rest[:1] == ["tree"]:
            self._answer(200, [_entry(path, content) for path, content in files.items()])
            return
        siblings = [{"rfilename": path} for path in files]
        info = {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}
        self._answer(200, {**info, "tags": [], "downloads": 0, "likes": 0})

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        found = repository.find(revision) if repository is not None else None
        if found is None:
            return
        content = found[1].get(path)
        if content is None:
            self._error(404, "EntryNotFound")
            return
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        self._answer(200, content, {"ETag": etag, "X-Repo-Commit": found[0]})

    def _other(self, rest: list[str], body: bytes) -> None:
        if rest == ["repos", "create"]:
            if not self._may_write():
                return
            asked = json.loads(body)
            owner = asked.get("organization") or "me"
            name = f"{owner}/{asked['name']}"
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            if name in self.hub.models:
                self._answer(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
                return
            self.hub.models[name] = Repository(private, revisions={"main": {}})
            self._answer(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif rest == ["validate-yaml"]:
            self._answer(200, {"errors": [], "warnings": []})
        else:
            self._error(404, "")

    def _may_write(self) -> bool:
        if not self._token:
            self._error(401, "", "Invalid credentials")
        elif self._token == READER:
            self._error(403, "", "You don't have the rights to create a model")
        return self._token not in ("", READER)

    def _write(self, name: str, rest: list[str], body: bytes) -> None:
        if not self._may_write():
            return
        repository = self.hub.models[name]
        action, revision = rest[0], "/".join(rest[1:])
        if action == "branch":
            repository.revisions.setdefault(revision, dict(repository.revisions["main"]))
            self._answer(200, {})
        elif action == "preupload":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for each in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif action == "commit":
            files = repository.revisions[revision]
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "header":
                    repository.messages.append(entry["value"]["summary"])
                elif entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    files[entry["value"]["path"]] = content
            commit = repository.commit(revision)
            url = f"{self.hub.url}/{name}/commit/{commit}"
            self._answer(200, {"success": True, "commitOid": commit, "commitUrl": url})
        else:
            self._error(404, "")


def _entry(path: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": digest}

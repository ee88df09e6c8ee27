"""A stand-in for the Hugging Face Hub: the part of its HTTP API that uploads and downloads a model."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_secretTokenOfTheTest"
COMMIT = "c0ffee" + 34 * "0"


class StandIn(ThreadingHTTPServer):
    """Holds the files of repositories; only requests with `TOKEN` may change them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.objects: dict[str, bytes] = {}
        """Contents of large files by SHA-256."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        body = self.read()
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            self.server.repositories.setdefault(name, {})
            self.server.private.setdefault(name, asked.get("private") or asked.get("visibility") == "private")
            return self.answer({"url": f"{self.server.address}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if re.fullmatch(r"/api/models/\S+/preupload/main", self.path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            files = [{"path": name, "uploadMode": modes[name], "shouldIgnore": False} for name in names]
            return self.answer({"files": files})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{self.server.address}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/api/models/(\S+)/commit/main", self.path):
            self.commit(match[1], [json.loads(line) for line in body.splitlines()])
            url = f"{self.server.address}/{match[1]}/commit/{COMMIT}"
            return self.answer({"commitUrl": url, "commitOid": COMMIT, "success": True})
        return self.answer({"error": f"unexpected {self.path}"}, 404)

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        files = self.server.repositories[name]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]

    def do_PUT(self) -> None:
        content = self.read()
        assert self.path == f"/lfs/{hashlib.sha256(content).hexdigest()}"
        self.server.objects[self.path.rpartition("/")[2]] = content
        self.answer({})

    def do_GET(self) -> None:
        if match := re.fullmatch(r"/(\S+?/\S+?)/resolve/main/(\S+)", self.path):
            content = self.server.repositories.get(match[1], {}).get(match[2])
            if content is not None:
                return self.answer(content)
            return self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        if match := re.fullmatch(r"/api/models/(\S+?/[^/]+)(/revision/main)?", self.path):
            if match[1] not in self.server.repositories:
                return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            files = [{"rfilename": name} for name in self.server.repositories[match[1]]]
            return self.answer({"id": match[1], "modelId": match[1], "sha": COMMIT, "siblings": files})
        return self.answer({"error": f"unexpected {self.path}"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def answer(self, content: dict[str, Any] | bytes, code: int = 200, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        tag, length = f'"{hashlib.sha256(data).hexdigest()}"', str(len(data))
        own = {"ETag": tag, "X-Repo-Commit": COMMIT, "Content-Length": length}
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, **own, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def run_stand_in() -> Iterator[StandIn]:
    """Run the stand-in on a free port of this machine."""
    server = StandIn()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

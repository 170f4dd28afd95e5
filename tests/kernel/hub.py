"""A Hugging Face hub on this machine: the part of its interface that eigenlens asks for, on folders of a test.

Repositories are named as in addresses: `owner/name` of a model, `datasets/owner/name`, `spaces/owner/name`.

    GET, HEAD  /{repository}/resolve/{revision}/{file}     a file, ranges too
    GET        /api/{kind}/{owner/name}/revision/{revision}  the commit and the names of all files
    GET        /api/{kind}/{owner/name}/tree/{revision}      names and sizes
"""

import hashlib
import json
import pathlib
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Files with these endings are kept in a store of their own, to which the hub redirects.
STORED = (".safetensors", ".npz", ".parquet")
REVISION = "main"
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Repository:
    """The files of a folder, as one commit."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        commit = hashlib.sha1()
        for name, content in self.files.items():
            commit.update(name.encode() + b"\0" + content)
        self.commit = commit.hexdigest()


class Hub:
    """Serves repositories from 127.0.0.1 until it is closed. Each request is in `requests`, as method and path."""

    def __init__(self):
        self.repositories = {}
        self.requests = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.server.hub = self
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, name, folder):
        """Serves what is in a folder now as the repository `name`."""
        self.repositories[name] = Repository(folder)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Missing(Exception):
    """What the hub says of something that it has not, in the words of its headers."""

    def __init__(self, code, headers=()):
        super().__init__(code)
        self.headers = {"X-Error-Code": code, **dict(headers)}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        path = urllib.parse.urlsplit(self.path).path
        try:
            # A revision or a file may hold an escaped slash: cut first.
            parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
            if parts[0] == "api":
                self.describe(hub, parts[1:])
            elif parts[0] == "store":
                self.send_file(*self.find(hub, parts[1:]), stored=True)
            else:
                self.send_file(*self.find(hub, parts), stored=False)
        except Missing as missing:
            self.reply(404, missing.headers)

    def describe(self, hub, parts):
        kind, *name, what, revision = parts if len(parts) >= 4 else ["", "", "", ""]
        name = "/".join(name if kind == "models" else [kind, *name])
        repository = self.repository(hub, name, revision)
        if what == "revision":
            names = [{"rfilename": name} for name in repository.files]
            found = {"id": name, "sha": repository.commit, "siblings": names}
        elif what == "tree":
            sizes = {name: len(content) for name, content in repository.files.items()}
            found = [{"type": "file", "path": name, "size": size} for name, size in sizes.items()]
        else:
            raise Missing("NotFound")
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(found).encode())

    def find(self, hub, parts):
        """The repository, the name and the content of the file in an address."""
        if "resolve" not in parts:
            raise Missing("NotFound")
        at = parts.index("resolve")
        repository = self.repository(hub, "/".join(parts[:at]), "".join(parts[at + 1 : at + 2]))
        name = "/".join(parts[at + 2 :])
        if name not in repository.files:
            raise Missing("EntryNotFound", {"X-Repo-Commit": repository.commit})
        return repository, name, repository.files[name]

    @staticmethod
    def repository(hub, name, revision):
        if name not in hub.repositories:
            raise Missing("RepoNotFound")
        if revision not in (REVISION, hub.repositories[name].commit):
            raise Missing("RevisionNotFound")
        return hub.repositories[name]

    def send_file(self, repository, name, content, stored):
        sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if name.endswith(STORED) and not stored:
            headers.update({"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(size), "Location": f"/store{self.path}"})
            return self.reply(302, headers)
        headers["ETag"] = f'"{sha256 if stored else hashlib.sha1(content).hexdigest()}"'
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        if not asked:
            return self.reply(200, headers, content)
        start = int(asked[1])
        end = min(int(asked[2] or size) + 1, size)
        if start >= end:
            return self.reply(416, {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self.reply(206, headers, content[start:end])

    def reply(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

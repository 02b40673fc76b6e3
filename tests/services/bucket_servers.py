"""The parts of Google's, Azure's and Hugging Face's services that their packages need, in memory.

Google Cloud Storage's JSON API, Azure's Blob REST API, and the API of Hugging Face's hub with its
redirect to another host. Written from their public references; none checks a signature.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

ACCOUNT, KEY = "devaccount", "c2VjcmV0IGtleSBvZiB0ZXN0cw=="
PAGE = 3
"""Names in one answer of a listing."""


@dataclass
class Bucket:
    """What a service has, how it answers, and what it was asked.

    `refusals`: statuses that requests get whose path ends so; a list is used up from its front.
    """

    files: dict[str, bytes] = field(default_factory=dict)  # by bucket and key
    refusals: dict[str, list[int]] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    blocks: dict[str, bytes] = field(default_factory=dict)
    url: str = ""

    def below(self, prefix: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(prefix))


class Listed(NamedTuple):
    """One page of a listing."""

    files: list[str]  # bucket and key
    folders: list[str]  # keys that end with the delimiter
    more: str  # where the next page begins; empty at the end


class Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = unquote(parts.path).lstrip("/")
        self.bucket.requests.append((self.command, path, dict(self.headers)))
        for ending, statuses in self.bucket.refusals.items():
            if path.endswith(ending) and statuses:
                self.answer(statuses.pop(0), b"")
                return
        self.serve(path, query, body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        raise NotImplementedError

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def document(self, value: Any, status: int = 200, **headers: str) -> None:
        headers = {"Content_Type": "application/json", **headers}
        self.answer(status, json.dumps(value).encode(), **headers)

    def content(self, name: str, **headers: str) -> None:
        """A file, or its range; Azure knows none that is counted from the end."""
        content, status = self.bucket.files[name], 200
        wanted = self.headers.get("x-ms-range") or self.headers.get("Range")
        headers = {"ETag": f'"{_mark(content)}"', "Last_Modified": _now(), **headers}
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            if not first and isinstance(self, Azure):
                self.answer(400, b"", **_azure({"x-ms-error-code": "InvalidHeaderValue"}))
                return
            if not first:
                first, last = str(max(0, len(content) - int(last))), ""
            if int(first) >= len(content):
                self.answer(416, b"", Content_Range=f"bytes */{len(content)}")
                return
            part = content[int(first) : int(last or len(content)) + 1]
            end = int(first) + len(part) - 1
            span = f"bytes {first}-{end}/{len(content)}"
            headers, status, content = {**headers, "Content_Range": span}, 206, part
        self.answer(status, content, **headers)

    def listed(self, bucket: str, prefix: str, delimiter: str, start: str) -> Listed:
        files: list[str] = []
        folders: list[str] = []
        last = start
        for name in self.bucket.below(f"{bucket}/{prefix}"):
            key = name.removeprefix(f"{bucket}/")
            inner = key.removeprefix(prefix).split(delimiter)[0] + delimiter if delimiter else ""
            is_folder = bool(delimiter) and delimiter in key.removeprefix(prefix)
            if key <= start or (is_folder and start.startswith(prefix + inner)):
                continue
            if is_folder and prefix + inner in folders:
                continue
            if len(files) + len(folders) == PAGE:
                return Listed(files, folders, last)
            last = key
            files.extend([] if is_folder else [name])
            folders.extend([prefix + inner] if is_folder else [])
        return Listed(files, folders, "")


class Google(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        files, place = self.bucket.files, path.split("storage/v1/b/")[-1]
        bucket, _, key = place.partition("/o")
        name = f"{bucket}{key}"
        if path.startswith("upload/"):
            self._upload(bucket, query, body)
        elif not key.strip("/"):
            self._list(bucket, query)
        elif name not in files:
            self.document({"error": {"code": 404, "message": "Not Found"}}, 404)
        elif self.command == "DELETE":
            del files[name]
            self.answer(204, b"")
        elif query.get("alt") == "media":
            self.content(name)
        else:
            self.document(self._info(name))

    def _upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "multipart":
            border = body.split(b"\r\n", 1)[0].split(b"\n", 1)[0]
            _, head, content, _ = body.split(border)
            key = json.loads(head[head.index(b"{") : head.rindex(b"}") + 1])["name"]
            content = content.split(b"\n\n", 1)[-1].removesuffix(b"\n")
        else:
            key, content = query["name"], body
        self.bucket.files[f"{bucket}/{key}"] = content
        self.document(self._info(f"{bucket}/{key}"))

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        if not self.bucket.below(f"{bucket}/"):
            self.document({"error": {"code": 404, "message": "no such bucket"}}, 404)
            return
        prefix, start = query.get("prefix", ""), query.get("pageToken", "")
        page = self.listed(bucket, prefix, query.get("delimiter", ""), start)
        items = [self._info(name) for name in page.files]
        answer = {"kind": "storage#objects", "items": items, "prefixes": page.folders}
        self.document(answer | ({"nextPageToken": page.more} if page.more else {}))

    def _info(self, name: str) -> dict[str, Any]:
        bucket, key = name.split("/", 1)
        content, moment = self.bucket.files[name], "2026-01-02T03:04:05.678Z"
        sizes = {"size": str(len(content)), "etag": _mark(content), "generation": "1"}
        times = {"timeCreated": moment, "updated": moment}
        return {"kind": "storage#object", "bucket": bucket, "name": key, **times, **sizes}


class Azure(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        container, _, key = path.removeprefix(f"{ACCOUNT}/").partition("/")
        name = f"{container}/{key}"
        if query.get("comp") == "list":
            self._list(container, query)
        elif self.command == "PUT":
            self._put(name, query, body)
        elif query.get("restype") == "container":
            found = bool(self.bucket.below(f"{container}/"))
            self.answer(200 if found else 404, b"", **_azure({} if found else MISSING))
        elif name not in self.bucket.files:
            self.answer(404, b"", **_azure(MISSING))
        elif self.command == "DELETE":
            del self.bucket.files[name]
            self.answer(202, b"", **_azure())
        else:
            kind = {"x-ms-blob-type": "BlockBlob", "x-ms-creation-time": _now()}
            self.content(name, **_azure(kind))

    def _put(self, name: str, query: dict[str, str], body: bytes) -> None:
        blocks = self.bucket.blocks
        if query.get("comp") == "block":
            blocks[query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            names = [part.split("</Latest>")[0] for part in body.decode().split("<Latest>")[1:]]
            self.bucket.files[name] = b"".join(map(blocks.pop, names))
        else:
            self.bucket.files[name] = body
        marks = {"ETag": f'"{_mark(body)}"', "Last-Modified": _now()}
        self.answer(201, b"", **_azure(marks))

    def _list(self, container: str, query: dict[str, str]) -> None:
        if not self.bucket.below(f"{container}/"):
            self.answer(404, b"", **_azure({"x-ms-error-code": "ContainerNotFound"}))
            return
        prefix, start = query.get("prefix", ""), query.get("marker", "")
        page = self.listed(container, prefix, query.get("delimiter", ""), start)
        blobs = "".join(map(self._blob, page.files))
        blobs += "".join(
            f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>" for folder in page.folders
        )
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName='
            f'"{container}"><Blobs>{blobs}</Blobs><NextMarker>{escape(page.more)}</NextMarker>'
            "</EnumerationResults>"
        )
        self.answer(200, text.encode(), **_azure({"Content-Type": "application/xml"}))

    def _blob(self, name: str) -> str:
        content, key = self.bucket.files[name], name.split("/", 1)[1]
        return (
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{_now()}</Last-Modified>"
            f"<Etag>{_mark(content)}</Etag><Content-Length>{len(content)}</Content-Length>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
        )


class Hub(Handler):
    """Data sets under `datasets/OWNER/NAME`; contents are at another host, after a redirect."""

    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        parts = path.split("/")
        if parts[0] == "content":
            name = "/".join(parts[1:])
            self.content(name) if name in self.bucket.files else self._missing("EntryNotFound")
            return
        api = parts[0] == "api"
        data_set, verb, rest = "/".join(parts[api : api + 3]), parts[api + 3 :], parts[api + 5 :]
        if not self.bucket.below(f"{data_set}/"):
            self._missing("RepoNotFound")
        elif verb[:1] == ["tree"]:
            self._tree(data_set, "/".join(rest), query)
        elif verb[:1] == ["resolve"]:
            name = f"{data_set}/{'/'.join(rest)}"
            other = self.bucket.url.replace("127.0.0.1", "localhost")
            self.answer(302, b"", Location=f"{other}/content/{quote(name)}")
        elif verb[:1] == ["revision"] or not verb:
            self.document({"id": data_set.removeprefix("datasets/"), "sha": "0" * 40})
        else:
            self._missing("EntryNotFound")

    def _tree(self, data_set: str, folder: str, query: dict[str, str]) -> None:
        prefix = f"{folder}/" if folder else ""
        deep = query.get("recursive", "").lower() in ("true", "1")
        page = self.listed(data_set, prefix, "" if deep else "/", query.get("cursor", ""))
        if not (page.files or page.folders):
            self._missing("EntryNotFound")
            return
        values = [
            {
                "type": "file",
                "path": name.removeprefix(f"{data_set}/"),
                "size": len(self.bucket.files[name]),
                "oid": _mark(self.bucket.files[name]),
            }
            for name in page.files
        ]
        values += [{"type": "directory", "path": f[:-1], "oid": _mark(b"")} for f in page.folders]
        again = urlsplit(self.path)
        link = f"{self.bucket.url}{again.path}?recursive={deep}&cursor={quote(page.more)}"
        self.document(values, **({"Link": f'<{link}>; rel="next"'} if page.more else {}))

    def _missing(self, code: str) -> None:
        self.answer(404, b"", X_Error_Code=code)


MISSING = {"x-ms-error-code": "BlobNotFound"}


def _azure(headers: dict[str, str] | None = None) -> dict[str, str]:
    return {"x-ms-version": "2026-02-06", "x-ms-request-id": "1", **(headers or {})}


def _mark(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _now() -> str:
    return formatdate(1767323045, usegmt=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients hang up here: that is no news."""


@contextmanager
def serving(kind: type[Handler]) -> Iterator[Bucket]:
    """A service on a free port of this machine, until the end of the block."""
    bucket = Bucket()
    server = Server(("127.0.0.1", 0), type(kind.__name__, (kind,), {"bucket": bucket}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield bucket
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def azure_access(bucket: Bucket) -> str:
    """The text by which Azure's clients find an account and sign for it."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={bucket.url}/{ACCOUNT};"
    )

"""A local web server that answers as GitHub Pages does: text compressed with gzip, cached for ten minutes."""

import gzip
import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

# Not left to the machine's own table of types, which differs between systems.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ipynb": "application/json",
    ".js": "application/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
COMPRESSED = ("text/", "application/javascript", "application/json", "application/xml", "image/svg")


def content_type(path: Path) -> str:
    """The type that the server names for a file."""
    return (
        TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    )


@lru_cache(maxsize=512)
def body_of(path: Path, modified: int, compress: bool) -> bytes:
    """The bytes of a file as sent. `modified` is part of the key, so that a changed file is read anew."""
    return gzip.compress(path.read_bytes(), 9, mtime=0) if compress else path.read_bytes()


def file_of(folder: Path, target: str) -> Path | None:
    """The file under `folder` that a request asks for, None if there is none."""
    path = (folder / unquote(urlsplit(target).path).lstrip("/")).resolve()
    path = path / "index.html" if path.is_dir() else path
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


class PagesHandler(BaseHTTPRequestHandler):
    """GET and HEAD for the files of one folder."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        path = file_of(self.folder, self.path)
        if path is None:
            self.send_error(404)
            return
        kind, status = content_type(path), path.stat()
        compress = kind.startswith(COMPRESSED) and "gzip" in self.headers.get("Accept-Encoding", "")
        body = body_of(path, status.st_mtime_ns, compress)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")
        self.send_header("Last-Modified", formatdate(status.st_mtime, usegmt=True))
        self.send_header("ETag", f'"{status.st_mtime_ns:x}-{status.st_size:x}"')
        self.send_header("Vary", "Accept-Encoding")
        if compress:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests report what matters."""


class QuietServer(ThreadingHTTPServer):
    """A browser that leaves a page breaks connections off, which is no error of the server."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The client went away."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve `folder` from a thread at a free port; yields the address without a slash at the end."""
    handler = type("Handler", (PagesHandler,), {"folder": folder})
    with QuietServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()

"""Downloads from mirrors that fail in every way that mirrors fail, played by a server on this machine."""

import contextlib
import errno
import hashlib
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import random_images

from imgbook import download

CONTENT = random_images(1, (200_000,))[0].tobytes()
OTHER = random_images(1, (200_000,), seed=1)[0].tobytes()
QUICK = download.Limits(minimum_speed=100e3, window=0.2, connect_timeout=2.0, read_timeout=2.0)
STRICT = download.Limits(minimum_speed=400e3, window=0.1)


@dataclass
class Mirror:
    """What one mirror holds, how it misbehaves, and what it was asked for and sent."""

    content: bytes = CONTENT
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True
    honours_if_range: bool = True
    says_length: bool = True
    cut: int | None = None  # the connection ends after so many bytes of a body
    cuts: int = 100  # so many times
    speed: float | None = None  # bytes a second
    silent: bool = False  # no byte of the body ever comes
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    sent: list[int] = field(default_factory=list)  # bytes of the body, of each request

    def answer(self, handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
        wanted = handler.headers["Range"]
        self.asked.append(wanted)
        self.sent.append(0)
        mine = len(self.sent) - 1  # a request that the client has left may still be sent
        body, condition = self.content, handler.headers["If-Range"]
        known = condition in (None, *self.headers.values()) or not self.honours_if_range
        partial = self.status == 200 and self.ranges and wanted and known
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if partial else 0
        if start and start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if partial else self.status)
        if partial:
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            handler.send_header("Content-Range", span)
        body = body[start:]
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.says_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.silent:
            over.wait(10)
            return
        if self.cut is not None and self.cuts:
            body, self.cuts = body[: self.cut], self.cuts - 1
        for i in range(0, len(body), 4000):
            part = body[i : i + 4000]
            self.sent[mine] += len(part)  # counted first: the client may be done before we go on
            handler.wfile.write(part)
            if self.speed and over.wait(4000 / self.speed):
                return


@pytest.fixture
def serve(monkeypatch):
    """A function that puts mirrors on one server of this machine and returns their URLs in order."""
    mirrors: dict[str, Mirror] = {}
    over = threading.Event()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with contextlib.suppress(ConnectionError):  # the client has left
                mirrors[self.path].answer(self, over)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def put(*given: Mirror) -> list[str]:
            paths = [f"/{len(mirrors) + i}/file.bin" for i in range(len(given))]
            mirrors.update(zip(paths, given, strict=True))
            return [f"http://127.0.0.1:{server.server_port}{path}" for path in paths]

        yield put
        over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "data" / "file.bin"


def check(path: Path) -> None:
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(CONTENT).digest():
        raise ValueError("other bytes")


def fetch(urls: list[str], target: Path, **options) -> Path:
    options = {"limits": QUICK, "progress": False} | options
    return download.fetch(urls, target, check, **options)


def assert_whole(target: Path) -> None:
    assert target.read_bytes() == CONTENT
    assert [f.name for f in target.parent.iterdir()] == [target.name]  # and nothing else is left


def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"


def interrupted_after(monkeypatch, n: int) -> None:
    """The next download is interrupted, as by Ctrl-C, when it has received `n` bytes."""
    received = []

    def update(self, more):
        received.append(more)
        if sum(received) >= n:
            raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm.update", update)


def interrupt(monkeypatch, urls: list[str], target: Path, n: int = 80_000) -> None:
    """Begin a download and break it off after `n` bytes."""
    with monkeypatch.context() as patch:
        interrupted_after(patch, n)
        with pytest.raises(KeyboardInterrupt):
            fetch(urls, target)
    assert not target.exists()


# --- the order of mirrors -------------------------------------------------------------------------------------


def test_the_first_mirror_is_enough(serve, target):
    first, second = Mirror(), Mirror()
    assert fetch(serve(first, second), target) == target
    assert_whole(target)
    assert (first.asked, second.asked) == ([None], [])
    assert first.sent == [len(CONTENT)]


@pytest.mark.parametrize(
    ("bad", "requests"),
    [
        (Mirror(status=404), 1),
        (Mirror(status=403, content=b"<html>no"), 1),
        (Mirror(content=OTHER), 1),
        (Mirror(content=CONTENT[:-1]), 1),
        (Mirror(content=b"<html>sign in to the network", headers={}), 1),
        (Mirror(content=b""), 1),
        (Mirror(cut=0), 1),
        (Mirror(silent=True), 1),
        (Mirror(cut=1000, ranges=False), 3),
    ],
    ids=["404", "403", "other", "shorter", "sign-in page", "empty", "closed", "silent", "cut"],
)
def test_a_bad_mirror_is_left_for_the_next_and_leaves_nothing(serve, target, bad, requests):
    bad.asked.clear()
    good = Mirror()
    limits = download.Limits(minimum_speed=0, connect_timeout=1, read_timeout=0.2)
    fetch(serve(bad, good), target, limits=limits)
    assert_whole(target)
    assert (len(bad.asked), len(good.asked)) == (requests, 1)


def test_nobody_listens_at_the_first(serve, target):
    fetch([nobody(), *serve(Mirror())], target)
    assert_whole(target)


def test_when_all_fail_each_is_named_with_its_reason(serve, target):
    bad = [Mirror(status=404), Mirror(content=OTHER), Mirror(cut=50_000, ranges=False)]
    urls = [nobody(), *serve(*bad)]
    with pytest.raises(ConnectionError) as raised:
        fetch(urls, target)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines] == urls
    for line, reason in zip(
        lines, ["refused", "404", "another content: other bytes", "50,000"], strict=True
    ):
        assert reason in line
    assert not target.exists()
    assert download.part_files(target) == [download.part_file(urls[3], target)]  # may be continued


# --- resume ---------------------------------------------------------------------------------------------------


def test_an_interrupt_leaves_only_the_part_and_the_next_call_resumes(monkeypatch, serve, target):
    mirror = Mirror()
    urls = serve(mirror)
    interrupt(monkeypatch, urls, target)
    part = download.part_file(urls[0], target)
    there = part.stat().st_size
    assert 80_000 <= there < len(CONTENT)
    assert CONTENT.startswith(part.read_bytes())
    fetch(urls, target)
    assert_whole(target)
    assert mirror.asked == [None, f"bytes={there}-"]
    assert mirror.sent[1] == len(CONTENT) - there


def test_a_connection_that_breaks_is_taken_up_again(serve, target):
    mirror, second = Mirror(cut=90_000), Mirror()
    fetch(serve(mirror, second), target)
    assert_whole(target)
    assert mirror.asked == [None, "bytes=90000-", "bytes=180000-"]
    assert (sum(mirror.sent), second.asked) == (len(CONTENT), [])


def test_after_the_last_byte_nothing_is_asked_again(serve, target):
    mirror = Mirror()
    urls = serve(mirror)

    def stopped(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch(urls, target, stopped, limits=QUICK, progress=False)
    assert not target.exists()
    fetch(urls, target)
    assert_whole(target)
    assert mirror.asked == [None]


@pytest.mark.parametrize(
    "headers", [{"ETag": '"one"'}, {"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}, {}]
)
def test_resume_with_what_a_server_says_of_its_version(monkeypatch, serve, target, headers):
    mirror = Mirror(headers=headers)
    urls = serve(mirror)
    interrupt(monkeypatch, urls, target)
    fetch(urls, target)
    assert_whole(target)
    assert len(mirror.asked) == 2
    assert mirror.asked[1].startswith("bytes=8")


def test_a_weak_etag_is_no_condition(monkeypatch, serve, target):
    """A weak ETag promises no equal bytes, and a server never takes one in If-Range."""
    mirror = Mirror(headers={"ETag": 'W/"one"'})
    urls = serve(mirror)
    interrupt(monkeypatch, urls, target)
    fetch(urls, target)
    assert_whole(target)
    assert mirror.sent[1] < len(CONTENT)


def test_a_server_without_ranges_starts_afresh(monkeypatch, serve, target):
    mirror = Mirror(ranges=False)
    urls = serve(mirror)
    interrupt(monkeypatch, urls, target)
    fetch(urls, target)
    assert_whole(target)
    assert (len(mirror.asked), mirror.sent[1]) == (2, len(CONTENT))


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize(
    "old",
    [
        Mirror(content=OTHER, headers={"ETag": '"old"'}),
        Mirror(content=OTHER, headers={"Last-Modified": "Mon, 02 Jan 2006 15:04:05 GMT"}),
        Mirror(content=OTHER + b"more", headers={}),
        Mirror(content=OTHER, headers={}),  # told by its content alone
    ],
    ids=["etag", "modified", "length", "nothing said"],
)
def test_a_file_that_changed_starts_afresh(monkeypatch, serve, target, old, if_range):
    mirror = Mirror(content=old.content, headers=old.headers, honours_if_range=if_range)
    urls = serve(mirror)
    interrupt(monkeypatch, urls, target)
    mirror.content = CONTENT
    mirror.headers = dict.fromkeys(old.headers, '"new"')
    fetch(urls, target)
    assert_whole(target)


def test_a_part_longer_than_the_file_starts_afresh(serve, target):
    mirror = Mirror(headers={}, says_length=False)
    (url,) = serve(mirror)
    part = download.part_file(url, target)
    part.parent.mkdir()
    part.write_bytes(OTHER + b"more")
    part.with_name(part.name + ".json").write_text('{"etag": "\\"one\\""}')
    fetch([url], target)
    assert_whole(target)
    assert mirror.asked[0] == f"bytes={len(OTHER) + 4}-"


@pytest.mark.parametrize("note", [None, "not JSON", "[]"])
def test_a_part_of_unknown_origin_is_not_continued(serve, target, note):
    mirror = Mirror()
    (url,) = serve(mirror)
    part = download.part_file(url, target)
    part.parent.mkdir()
    part.write_bytes(OTHER[:5000])
    if note:
        part.with_name(part.name + ".json").write_text(note)
    fetch([url], target)
    assert_whole(target)
    assert mirror.asked == [None]


# --- speed ----------------------------------------------------------------------------------------------------


def test_a_slow_mirror_is_left_for_the_next(serve, target):
    slow, good = Mirror(speed=20e3), Mirror()
    begin = time.monotonic()
    fetch(serve(slow, good), target)
    assert time.monotonic() - begin < 2
    assert_whole(target)  # what the slow one sent is gone
    assert sum(slow.sent) < len(CONTENT) / 2
    assert good.sent == [len(CONTENT)]


def test_the_only_mirror_is_used_however_slow(serve, target):
    slow = Mirror(speed=300e3)
    fetch(serve(slow), target, limits=STRICT)
    assert_whole(target)
    assert slow.asked == [None]


def test_the_last_mirror_is_used_however_slow(serve, target):
    slow = Mirror(speed=300e3)
    fetch([nobody(), *serve(Mirror(status=404), slow)], target, limits=STRICT)
    assert_whole(target)
    assert slow.asked == [None]


def test_of_slow_mirrors_the_fastest_is_taken_up_again(serve, target):
    slow, faster, slowest = Mirror(speed=60e3), Mirror(speed=250e3), Mirror(speed=30e3)
    fetch(serve(slow, faster, slowest), target, limits=STRICT)
    assert_whole(target)
    assert [len(m.asked) for m in (slow, faster, slowest)] == [1, 2, 1]
    assert faster.asked[1].startswith("bytes=")


def test_of_slow_mirrors_the_next_is_used_if_the_fastest_fails(serve, target):
    faster, slow = Mirror(speed=350e3, cut=80_000, ranges=False), Mirror(speed=200e3)
    fetch(serve(faster, slow), target, limits=STRICT)
    assert_whole(target)
    assert len(slow.asked) == 2


# --- the disk -------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_named(serve, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    mirror = Mirror()
    target = tmp_path / "file" / "data" / "file.bin"
    with pytest.raises(OSError, match=r"cannot write .*file\.bin.*IMGBOOK_DATA_DIR"):
        fetch(serve(mirror, mirror), target)
    assert mirror.asked == []


def test_a_full_disk_keeps_what_came_and_asks_no_other_mirror(monkeypatch, serve, target):
    first, second = Mirror(), Mirror()
    urls = serve(first, second)
    real_open = Path.open

    def small_disk(self, mode="r", *args, **kwargs):
        file = real_open(self, mode, *args, **kwargs)
        if self.suffix == ".part" and mode != "rb":
            real_write = file.write

            def write(data):
                if file.tell() > 60_000:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return real_write(data)

            class Small:
                def __getattr__(self, name):
                    return write if name == "write" else getattr(file, name)

                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

            return Small()
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", small_disk)
        with pytest.raises(OSError, match=r"No space left.*IMGBOOK_DATA_DIR.*is kept") as raised:
            fetch(urls, target)
    assert raised.value.errno == errno.ENOSPC
    assert second.asked == []
    assert not target.exists()
    fetch(urls, target)  # when there is room again
    assert_whole(target)
    assert first.asked[0] is None
    assert first.asked[1].startswith("bytes=6")


def test_another_process_that_was_faster(serve, target):
    """Both bring the same bytes to the same places; the second finds the file in place."""
    urls = serve(Mirror())

    def other_is_faster(path):
        path.rename(target)
        check(path)

    assert download.fetch(urls, target, other_is_faster, limits=QUICK, progress=False) == target
    assert_whole(target)


# --- the progress bar -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_length", [True, False])
def test_the_bar_shows_file_and_server_on_stderr(serve, target, capsys, says_length):
    fetch(serve(Mirror(says_length=says_length)), target, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "file.bin from 127.0.0.1" in shown.err
    assert ("100%" in shown.err) == says_length

"""Downloads that survive slow, broken and vanished mirrors: resume, minimum speed, next mirror, check before use.

A file comes in under another name, `FILE.xxxxxxxx.part`, one for each mirror, and beside it a note of the version that
the mirror announced. It gets its own name only after its content has been checked. So what bears the final name is
whole, and what an interruption leaves behind is continued by the next call.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

CHUNK = 4096  # bytes read at a time: few, so that the speed of a slow mirror is known in time
TRIES = (
    3  # times that one mirror is asked in a row, if what it sent before can be used or was spoilt
)


@dataclass(frozen=True)
class Limits:
    """When a mirror is left for the next. Times in seconds."""

    minimum_speed: float = 200e3  # bytes a second, averaged over `window`
    window: float = 10.0
    connect_timeout: float = 5.0
    read_timeout: float = 30.0  # between two pieces of data


class MirrorError(Exception):
    """What a mirror did wrong; `again`: another request to the same mirror may well succeed."""

    def __init__(self, words: str, again: bool = False):
        super().__init__(words)
        self.again = again


class TooSlow(MirrorError):
    """A mirror stayed below the minimum; `speed` is in bytes a second."""

    def __init__(self, speed: float):
        super().__init__(f"too slow, {speed / 1e3:,.0f} kB/s")
        self.speed = speed


def fetch(
    urls: Sequence[str],
    target: Path,
    check: Callable[[Path], None],
    *,
    limits: Limits | None = None,
    progress: bool = True,
) -> Path:
    """Download `target` from the first of `urls` that gives its right content, and return its path.

    `check(path)` raises ValueError if the content is wrong; it is then deleted. A mirror below the minimum speed is
    left while another one is untried. If all that answer are slow, the fastest is used whatever its speed.

    Raises:
        ConnectionError: no mirror gave the file; the message has a line for each, with the reason.
        OSError: the file cannot be written (no permission, disk full); what has come so far is kept.
    """
    limits, reasons, slow = limits or Limits(), {}, []
    patient = replace(limits, minimum_speed=0.0)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    for i, url in enumerate(urls):
        alone = i + 1 == len(urls) and not slow
        try:
            return _complete(url, target, check, patient if alone else limits, progress)
        except TooSlow as error:
            slow.append((error.speed, url))
        except MirrorError as error:
            reasons[url] = error
    for _, url in sorted(slow, reverse=True):
        try:
            return _complete(url, target, check, patient, progress)
        except MirrorError as error:
            reasons[url] = error
    raise ConnectionError("\n".join(f"  {url}: {reasons[url]}" for url in urls))


def part_file(url: str, target: Path) -> Path:
    """Where the bytes of `target` from one mirror are kept until they are whole: mirrors may hold other archives."""
    return target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def part_files(target: Path) -> list[Path]:
    """The unfinished downloads of `target`, of all mirrors."""
    return sorted(target.parent.glob(f"{target.name}.????????.part"))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what could not be written, and what to do, in an OSError of the same kind."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path} ({error.strerror or error}). Make room or set IMGBOOK_DATA_DIR to a folder that can "
            "be written to; what has been downloaded so far is kept",
        ) from error


def _complete(
    url: str, target: Path, check: Callable[[Path], None], limits: Limits, progress: bool
) -> Path:
    """The whole and checked file from one mirror, asked again while that helps. Raises MirrorError."""
    tries = TRIES
    while True:
        tries -= 1
        try:
            return _attempt(url, target, check, limits, progress)
        except MirrorError as error:
            if not error.again or not tries:
                raise


def _attempt(
    url: str, target: Path, check: Callable[[Path], None], limits: Limits, progress: bool
) -> Path:
    part = part_file(url, target)
    try:
        resumed = _transfer(url, target, part, limits, progress)
        try:
            check(part)
        except ValueError as error:
            _remove(part)
            # The bytes from before may have been those of another version: once more, from the start.
            raise MirrorError(f"gave another content: {error}", again=resumed) from error
        with _writing(target):
            os.replace(part, target)
    except FileNotFoundError:
        if not target.exists():  # if it does, another process was faster and has cleaned up
            raise
    for left in (part, *part_files(target)):
        _remove(left)
    return target


def _transfer(url: str, target: Path, part: Path, limits: Limits, progress: bool) -> bool:
    """Bring `part` to its full length; returns whether some of its bytes are of an earlier request.

    Raises:
        MirrorError: no answer, an error, too slow, or the connection ended early.
    """
    import requests

    note, there = _read_note(part), part.stat().st_size if part.exists() else 0
    if there and note.get("length") == there:
        return True  # interrupted between the last byte and the check
    with requests.Session() as session:
        # As stored: a body that is unpacked on the way can neither be resumed nor be compared in length.
        session.headers["Accept-Encoding"] = "identity"
        request = {"stream": True, "timeout": (limits.connect_timeout, limits.read_timeout)}
        headers = _resume_headers(note, there)
        try:
            response = session.get(url, headers=headers, **request)
            goes_on = bool(headers) and _continues(response, note, there)
            if headers and not goes_on and response.status_code in (206, 416):
                response.close()
                response = session.get(url, **request)
        except requests.RequestException as error:
            raise MirrorError(_reason(error)) from error
        with response:
            if not goes_on:
                if response.status_code != 200:
                    raise MirrorError(f"HTTP {response.status_code} {response.reason}")
                _remove(part)
                note, there = _version(response), 0
                with _writing(target):
                    _note_of(part).write_text(json.dumps({"url": url, **note}), encoding="utf-8")
            length = note.get("length", _version(response).get("length"))
            _receive(response, target, part, there, length, limits, progress)
    return there > 0


def _receive(
    response: Any,
    target: Path,
    part: Path,
    there: int,
    length: int | None,
    limits: Limits,
    progress: bool,
) -> None:
    """Append the body of `response` to the first `there` bytes of `part`. Raises MirrorError."""
    from urllib.parse import urlsplit

    import urllib3
    from tqdm import tqdm

    bar = tqdm(
        desc=f"{target.name} from {urlsplit(response.url).hostname}",
        total=length,
        initial=there,
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    # Not append mode: two processes that download the same file write the same bytes to the same places.
    with bar, _writing(target), part.open("r+b" if there else "wb") as file:
        file.seek(there)
        size, mark, begin = there, there, time.monotonic()
        try:
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                size += len(chunk)
                bar.update(len(chunk))
                seconds = time.monotonic() - begin
                if seconds >= limits.window:
                    speed, mark, begin = (size - mark) / seconds, size, time.monotonic()
                    if speed < limits.minimum_speed:
                        raise TooSlow(speed)
        except urllib3.exceptions.HTTPError as error:
            words = f"the connection broke off after {size:,} bytes ({_reason(error)})"
            raise MirrorError(words, again=size > there) from error
    if length is not None and size != length:
        raise MirrorError(f"sent {size:,} of {length:,} bytes", again=size > there)


def _version(response: Any) -> dict:
    """What a response says about the version of the file: length in bytes, ETag, Last-Modified, each if it is said."""
    length, total = response.headers.get("Content-Length"), None
    if response.status_code == 206:  # "bytes 100-199/200"
        length, total = None, response.headers.get("Content-Range", "").rpartition("/")[2]
    said = {
        "length": int(n) if (n := total or length or "").isdecimal() else None,
        "etag": response.headers.get("ETag"),
        "modified": response.headers.get("Last-Modified"),
    }
    return {name: value for name, value in said.items() if value is not None}


def _resume_headers(note: dict, there: int) -> dict[str, str]:
    """The headers that ask for the rest, none if it is unknown what the first bytes were part of."""
    if not there or not note or there > note.get("length", there):
        return {}
    etag = note.get("etag", "W/")
    # A weak ETag does not promise equal bytes. With If-Range, a server whose file changed sends the new one whole.
    condition = note.get("modified") if etag.startswith("W/") else etag
    return {"Range": f"bytes={there}-"} | ({"If-Range": condition} if condition else {})


def _continues(response: Any, note: dict, there: int) -> bool:
    """Whether the response is the rest of the version that is noted, from byte `there` on."""
    start = response.headers.get("Content-Range", "").startswith(f"bytes {there}-")
    version = _version(response)
    same = all(version[name] == value for name, value in note.items() if name in version)
    return response.status_code == 206 and start and same


def _note_of(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict:
    """The note beside `part`, empty if there is none that can be read."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _remove(part: Path) -> None:
    with suppress(OSError):  # in use by another process, or gone
        part.unlink(missing_ok=True)
        _note_of(part).unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    """The first cause of an error, in short: the libraries wrap "connection refused" in several layers."""
    from urllib3.exceptions import HTTPError

    while isinstance(cause := error.__cause__ or error.__context__, OSError | HTTPError):
        error = cause
    return str(error) or type(error).__name__

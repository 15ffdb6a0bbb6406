"""The files in a folder or a zip archive that students filled: nothing is unpacked, nothing outside is read.

Of an archive only the directory is read, and then the members that are asked for, each up to a limit: a member that
claims to be small is still cut off there.
"""

import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.course import Refused
from tools.notebooks import MAX_BYTES

MAX_MEMBERS = 20_000
MAX_INNER = 50_000_000  # bytes of a zip archive within a folder or an archive
IGNORED = re.compile(r"^(__MACOSX|\.ipynb_checkpoints|\.DS_Store|Thumbs\.db|\._.*|\.git)$")


@dataclass(frozen=True)
class Entry:
    """A file: its path as parts, when it was changed (seconds; 0: unknown), and how to read it."""

    parts: tuple[str, ...]
    modified: float
    read: Callable[[], bytes]  # raises Refused

    @property
    def label(self) -> str:
        return "/".join(self.parts)


@dataclass(frozen=True)
class Bad:
    """What was found and is not read, with the reason."""

    parts: tuple[str, ...]
    reason: str

    @property
    def label(self) -> str:
        return "/".join(self.parts)


def entries(source: Path) -> Iterator[Entry | Bad]:
    """Every file of a folder or an archive, those of archives within it too (one level).

    Raises:
        Refused: `source` is neither a folder nor a zip archive.
    """
    if source.is_dir():
        found = folder_entries(source)
    elif zipfile.is_zipfile(source):
        found = zip_entries(zipfile.ZipFile(source))
    else:
        raise Refused(f"{source} is neither a folder nor a zip archive; give the one or the other")
    for entry in found:
        is_inner = isinstance(entry, Entry) and entry.parts[-1].lower().endswith(".zip")
        yield from inner_entries(entry) if is_inner else (entry,)


def folder_entries(root: Path) -> Iterator[Entry | Bad]:
    """The regular files below `root`; links are named and not followed."""
    walk = os.walk(root, followlinks=False)  # names links to folders, and does not go through them
    for path in sorted(Path(top) / name for top, dirs, files in walk for name in dirs + files):
        parts = path.relative_to(root).parts
        if any(IGNORED.match(part) for part in parts):
            continue
        try:
            status = path.lstat()
        except OSError as error:
            yield Bad(parts, f"cannot be looked at ({error.strerror})")
            continue
        if stat.S_ISREG(status.st_mode):
            yield Entry(parts, status.st_mtime, lambda path=path: read_file(path))
        elif not stat.S_ISDIR(status.st_mode):
            yield Bad(parts, "a link or a device, and not a file: not followed")


def read_file(path: Path) -> bytes:
    limit = MAX_INNER if path.suffix.lower() == ".zip" else MAX_BYTES
    try:
        with path.open("rb") as file:
            return capped(file, limit)
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from error


def capped(file: io.BufferedIOBase, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise Refused(f"huge: more than {limit / 1e6:.0f} MB, not read")
    return data


def zip_entries(archive: zipfile.ZipFile, above: tuple[str, ...] = ()) -> Iterator[Entry | Bad]:
    """The members of an archive whose paths stay inside it."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise Refused(f"an archive of {len(members)} files; at most {MAX_MEMBERS} are read")
    for info in members:
        name = decoded(info).replace("\\", "/")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if not parts or any(IGNORED.match(part) for part in parts):
            continue
        label = (*above, *parts)
        if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
            yield Bad(label, "its path leads out of the archive: not read")
        elif stat.S_ISLNK(info.external_attr >> 16):
            yield Bad(label, "a link, and not a file: not followed")
        elif not info.is_dir():
            yield Entry(label, modified(info), lambda info=info: read_member(archive, info))


def decoded(info: zipfile.ZipInfo) -> str:
    """A member's name; UTF-8 that is not marked as such is read as UTF-8."""
    if not info.flag_bits & 0x800:
        try:
            return info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return info.filename


def modified(info: zipfile.ZipInfo) -> float:
    """A number that grows with the member's date."""
    year, month, day, hour, minute, second = info.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    limit = MAX_INNER if info.filename.lower().endswith(".zip") else MAX_BYTES
    if info.flag_bits & 0x1:
        raise Refused("encrypted: not read")
    if info.file_size > limit:
        raise Refused(f"huge: {info.file_size / 1e6:.0f} MB unpacked, at most {limit / 1e6:.0f}")
    try:
        with archive.open(info) as file:
            return capped(file, limit)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise Refused(f"damaged in the archive ({error})") from error
    except Exception as error:  # zlib.error and other decoders have no common base
        raise Refused(f"cannot be unpacked ({error})") from error


def inner_entries(entry: Entry) -> Iterator[Entry | Bad]:
    """The files of an archive within a folder or an archive."""
    above = (*entry.parts[:-1], entry.parts[-1][:-4])
    try:
        yield from zip_entries(zipfile.ZipFile(io.BytesIO(entry.read())), above)
    except (Refused, zipfile.BadZipFile) as error:
        yield Bad(entry.parts, f"an archive that is not read: {error}")

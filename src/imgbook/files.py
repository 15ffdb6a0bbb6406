"""Files that are whole or not there: written under another name first, and folders with the SHA-256 of their files."""

import errno
import hashlib
import json
import os
from pathlib import Path

SEAL = "sha256.json"  # the file that makes a folder whole
UNFINISHED = "unfinished"


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole: a write that is broken off leaves what was there before."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Make the folder and try to write a file in it.

    Raises:
        OSError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "probe", b"x")
        (folder / "probe").unlink()
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(
            error.errno or errno.EIO, f"cannot write into {folder}: {reason}"
        ) from error


def seal(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder into it, as the last thing: a folder without is unfinished."""
    write(folder / SEAL, json.dumps(hashes(folder), indent=2).encode())


def damage(folder: Path) -> str:
    """What is wrong with a sealed folder: nothing (""), unfinished, or damaged and where."""
    try:
        expected = json.loads((folder / SEAL).read_bytes())
    except FileNotFoundError:
        return UNFINISHED
    except ValueError:
        return f"damaged ({SEAL} cannot be read)"
    found = hashes(folder)
    if found == expected:
        return ""
    names = sorted(set(found) | set(expected) if isinstance(expected, dict) else [SEAL])
    first = next((n for n in names if n not in found or found[n] != expected.get(n)), SEAL)
    return f"damaged ({first} has changed)"


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below the folder by its path in it, except the seal itself."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }


def free_name(path: Path) -> Path:
    """`path`, or with a number behind it if that exists."""
    candidates = (path.with_name(f"{path.name}{n or ''}") for n in range(1000))
    return next(candidate for candidate in candidates if not candidate.exists())

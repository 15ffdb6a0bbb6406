"""Control groups for one sandbox, where this process may make them: the kernel then counts all of its memory.

Version 1 (hierarchies `memory` and `pids`) and version 2 (unified). Where neither can be written, `make` returns None
and the supervisor adds up resident sizes itself.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
NAME = "imgbook-contain-"


@dataclass(frozen=True)
class Group:
    """Folders of one sandbox's groups: one for version 2, one or two for version 1."""

    folders: tuple[Path, ...]
    version: int

    def join(self) -> None:
        """Put the calling process into the groups."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def used(self) -> int:
        """Memory in use that is not a mere copy of files, in bytes (0 where the kernel does not say)."""
        wanted = {"total_rss", "total_shmem"} if self.version == 1 else {"anon", "shmem"}
        with contextlib.suppress(OSError, ValueError):
            lines = (self.folders[0] / "memory.stat").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.split()[0] in wanted)
        return 0

    def killed(self) -> int:
        """How many processes the kernel has killed for memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        with contextlib.suppress(OSError):
            for line in (self.folders[0] / name).read_text().splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    return int(number)
        return 0

    def remove(self) -> None:
        """Remove the groups, which works once their last process is gone."""
        for folder in self.folders:
            for _ in range(100):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)


def sweep(parent: Path) -> None:
    """Remove groups that a killed supervisor left behind; those in use refuse."""
    for folder in parent.glob(f"{NAME}*"):
        if not Path("/proc", folder.name.removeprefix(NAME)).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def own_paths(text: str) -> dict[str, str]:
    """Hierarchy -> path of a process, from the content of /proc/PID/cgroup; version 2 has the name ''."""
    paths = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def make(memory: int, tasks: int, root: Path = ROOT, text: str | None = None) -> Group | None:
    """Groups with these limits, named after this process, or None if they cannot be made."""
    try:
        paths = own_paths(Path("/proc/self/cgroup").read_text() if text is None else text)
    except OSError:
        return None
    if "memory" in paths:
        return make_first(memory, tasks, root, paths)
    made = None
    for parent in (root / paths.get("", "/").lstrip("/"), root):
        try:
            if "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                continue
            sweep(parent)
            made = parent / f"{NAME}{os.getpid()}"
            made.mkdir()
            (made / "memory.max").write_text(str(memory))
            with contextlib.suppress(OSError):
                (made / "memory.swap.max").write_text("0")
            with contextlib.suppress(OSError):
                (made / "pids.max").write_text(str(2 * tasks))
            return Group((made,), 2)
        except OSError:
            undo(made)
    return None


def make_first(memory: int, tasks: int, root: Path, paths: dict[str, str]) -> Group | None:
    """Version 1: memory must work, pids may."""
    made = None
    try:
        parent = root / "memory" / paths["memory"].lstrip("/")
        if (
            not parent.is_dir()
        ):  # in a container the path is the host's, and the root is what we see
            parent = root / "memory"
        sweep(parent)
        made = parent / f"{NAME}{os.getpid()}"
        made.mkdir()
        (made / "memory.limit_in_bytes").write_text(str(memory))
    except OSError:
        undo(made)
        return None
    with contextlib.suppress(OSError):
        (made / "memory.memsw.limit_in_bytes").write_text(str(memory))
    folders = [made]
    pids = None
    try:
        parent = root / "pids" / paths.get("pids", "/").lstrip("/")
        sweep(parent)
        pids = parent / made.name
        pids.mkdir()
        (pids / "pids.max").write_text(str(2 * tasks))
        folders.append(pids)
    except OSError:
        undo(pids)
    return Group(tuple(folders), 1)


def undo(folder: Path | None) -> None:
    """Remove a group that could not be set up."""
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.rmdir()

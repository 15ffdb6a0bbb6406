"""The sandbox of one kernel: what it sees (`command`), and the process beside it that ends it (`supervise`).

As root, each kernel has a user id that nobody else has; otherwise it lives in a user namespace. Both have namespaces of
their own for processes, network, mounts and IPC. The file system is the operating system's and Python's, read-only,
plus a home of limited size in memory. This module needs the standard library and, in the supervisor, psutil.
"""

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

HOME = "/home/student"
INSIDE = "/run/contain"  # sockets, connection file and kernel.py, inside
FIRST_UID = 2_000_000_000  # plus the supervisor's process id: no two sandboxes share one
WORKING = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store")
ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "fonts",
    "localtime",
    "mime.types",
)
TOOLS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Limits:
    """What one notebook may use. Bytes and seconds of wall time; `tasks` counts processes and threads."""

    cell_seconds: float = 60.0
    notebook_seconds: float = 600.0
    memory: int = 2 * 2**30
    tasks: int = 256
    disk: int = 64 * 2**20
    files: int = 4096
    open_files: int = 256
    cell_output: int = 2**20
    notebook_output: int = 8 * 2**20
    cpus: int = 2

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"limit {name} is {value}; it must be positive")


def own_uid() -> bool:
    """Whether this process is root and may become any user: root of a container's user namespace may not be."""
    if os.geteuid() != 0:
        return False
    lines = Path("/proc/self/uid_map").read_text().split("\n")
    ranges = [[int(word) for word in line.split()] for line in lines if line]
    last = FIRST_UID + 2**22  # the largest process id
    return any(first <= FIRST_UID and last < first + count for first, _, count in ranges)


def python_folders(paths: tuple[str, ...] | None = None) -> list[Path]:
    """Folders that this interpreter and its packages need: prefixes, installed packages, and what links lead to."""
    if paths is None:
        packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        paths = (sys.prefix, sys.base_prefix, sys.base_exec_prefix, *packages)
        # .venv/bin/python -> .../bin/python3.11: each step of the chain must exist inside, too
        link = Path(sys.executable)
        while link.is_symlink():
            link = link.parent / os.readlink(link)
            paths += (str(link.parent.parent if link.parent.name == "bin" else link.parent),)
    found: list[Path] = []
    for path in [Path(os.path.abspath(p)) for p in paths] + [Path(p).resolve() for p in paths]:
        if path.is_dir() and path != Path("/") and path not in found:
            found.append(path)
    return found


def binds(readable: tuple[str, ...], hide: tuple[str, ...]) -> list[str]:
    """Arguments that build the file system, parents before children, so that what is hidden stays hidden."""
    arguments, steps = [], {}
    for name in WORKING:
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            steps[path] = "bind"
    for name in ETC:
        if Path("/etc", name).exists():
            steps[Path("/etc", name)] = "bind"
    for path in [*python_folders(), *(Path(os.path.abspath(p)) for p in readable)]:
        steps[path] = "bind"
    hidden = [Path(p).resolve() for p in hide]
    for path in hidden:
        if path in steps:
            raise ValueError(
                f"{path} cannot be hidden: Python or the system needs it; move the course elsewhere"
            )
        if any(other in path.parents for other in steps):
            steps[path] = "hide"
    made = {
        Path("/"),
        *(parent for place in (HOME, INSIDE, "/tmp/x") for parent in Path(place).parents),
    }
    for path in sorted(steps, key=lambda p: (len(p.parts), str(p))):
        above = {steps.get(parent) for parent in path.parents}
        if steps[path] == "bind" and "bind" in above and "hide" not in above:
            continue
        # bubblewrap would copy the mode of parents: /root, say, could not be passed
        for parent in reversed(path.parents):
            if parent not in made and not any(
                above in steps for above in (parent, *parent.parents)
            ):
                arguments += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        if steps[path] == "bind":
            arguments += ["--ro-bind", str(path), str(path)]
        else:
            arguments += ["--perms", "0755", "--size", "65536", "--tmpfs", str(path)]
    for path in steps:
        if steps[path] == "hide":
            arguments += ["--remount-ro", str(path)]
    return arguments


def writable(limits: Limits) -> dict[str, int]:
    """Where the hand-in may write, all in memory, and how many bytes."""
    return {
        HOME: limits.disk,
        "/tmp": limits.disk // 2,
        "/dev/shm": limits.disk // 4,
        INSIDE: 2**20,
    }


def environment(cpus: int) -> dict[str, str]:
    """All that the kernel inherits of the environment."""
    inside = {
        "HOME": HOME,
        "USER": "student",
        "LOGNAME": "student",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",
        "IPYTHONDIR": f"{HOME}/.ipython",
        "MPLCONFIGDIR": f"{HOME}/.matplotlib",
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "JAX_PLATFORMS": "cpu",
        "NBGRADER_EXECUTION": "autograde",
    }
    for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        inside[name] = str(cpus)
    for name in ("TZ", "LD_LIBRARY_PATH", "PYTHONHASHSEED", "JAX_ENABLE_X64"):
        if name in os.environ:
            inside[name] = os.environ[name]
    user_site = [
        p for p in sys.path if ".local" in Path(p).parts and Path(p).name == "site-packages"
    ]
    if user_site:
        inside["PYTHONUSERBASE"] = str(Path(user_site[0]).parents[2])
    return inside


def command(
    limits: Limits,
    *,
    uid: int | None,
    readable: tuple[str, ...] = (),
    hide: tuple[str, ...] = (),
    data: dict[str, int] | None = None,
    fonts: str | None = None,
    info: int | None = None,
    seccomp: int | None = None,
) -> list[str]:
    """The start of bubblewrap's command line, to which the program is added.

    `uid` None makes a user namespace. `data` are files inside (path -> descriptor to read). `info` and `seccomp` are
    descriptors, too.
    """
    line = ["bwrap", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "hand-in"]
    line += [
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    if uid is None:
        line += ["--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    else:
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for name, value in environment(limits.cpus).items():
        line += ["--setenv", name, value]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for place, size in writable(
        limits
    ).items():  # first, because Python may be installed below one of them
        line += ["--perms", "0777", "--size", str(size), "--tmpfs", place]
    line += binds(readable, hide)
    if fonts:
        line += ["--perms", "0777", "--dir", f"{HOME}/.matplotlib"]
        line += ["--ro-bind", fonts, f"{HOME}/.matplotlib/{Path(fonts).name}"]
    for path, descriptor in (data or {}).items():
        line += ["--perms", "0444", "--ro-bind-data", str(descriptor), path]
    line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    if info is not None:
        line += ["--info-fd", str(info)]
    if seccomp is not None:
        line += ["--seccomp", str(seccomp)]
    return line


@functools.cache
def containment_available() -> tuple[str, ...]:
    """What keeps hand-ins from being contained on this machine, and what to do; empty if nothing does."""
    if platform.system() != "Linux":
        return (
            f"hand-ins are contained on Linux only, and this is {platform.system()}: use Linux, WSL 2 or a VM",
        )
    if shutil.which("bwrap") is None:
        return ("bubblewrap is missing: install the package `bubblewrap` (apt-get, dnf, pacman)",)
    answer = subprocess.run(["bwrap", "--version"], capture_output=True, text=True).stdout
    version = tuple(int(number) for number in re.findall(r"\d+", answer)[:2])
    if version < (0, 6):
        return (
            f"bubblewrap {answer.strip() or 'of unknown version'} is too old: 0.6 or newer is needed",
        )
    uid = FIRST_UID + os.getpid() if own_uid() else None
    trial = subprocess.run(
        [*command(Limits(), uid=uid), "true"], capture_output=True, text=True, timeout=30
    )
    if trial.returncode == 0:
        return ()
    if uid is None:
        what = (
            "user namespaces are not allowed here: allow them (sysctl kernel.unprivileged_userns_clone=1 on Debian, "
            "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu 24.04), or grade as root"
        )
    else:
        what = "root may not make namespaces here: in a container, start it with --privileged, or grade on the host"
    return (f"bubblewrap does not start ({trial.stderr.strip()[:200]}): {what}",)

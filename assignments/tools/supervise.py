"""The process beside one sandbox, run as `python supervise.py SETTINGS`: it starts bubblewrap, measures, and kills.

SETTINGS is the path of a JSON file: connection (the connection file), folder (private, where `sockets` and
`report.json` appear), limits, readable, hide, fonts, user ("own uid" or "user namespace"). The kernel's sockets lie in
a tmpfs of the sandbox; `sockets` is a link to it through /proc, so that the sandbox needs no folder of the host.
It ends when the sandbox ends, on SIGTERM, with the process that started it, or when a limit is passed; the sandbox's
processes all end with it.
"""

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cgroups
import sandbox
import syscalls

TICK = 0.05  # seconds between two looks


def readable_end(content: bytes) -> int:
    """A descriptor that a child can read `content` from (which must fit into a pipe)."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    os.set_inheritable(reader, True)
    return reader


class Watch:
    """Looks at the sandbox from outside: memory where no cgroup counts it, disk, number of tasks."""

    def __init__(self, first: int, limits: sandbox.Limits, group: cgroups.Group | None) -> None:
        import psutil

        self.psutil, self.first, self.limits, self.group, self.peak = (
            psutil,
            first,
            limits,
            group,
            0,
        )

    def share(self, process) -> int:
        """A process's memory, with what it shares divided among those that share it, where the kernel says so."""
        try:
            return process.memory_full_info().pss
        except (self.psutil.AccessDenied, AttributeError):
            return process.memory_info().rss

    def look(self) -> str | None:
        """The name of a limit that is passed, or None."""
        files = used = 0
        for place in sandbox.writable(self.limits):
            with contextlib.suppress(OSError):
                info = os.statvfs(f"/proc/{self.first}/root{place}")
                files += info.f_files - info.f_ffree
                used += (info.f_blocks - info.f_bfree) * info.f_frsize
        if files > self.limits.files:
            return "DiskLimit"
        if self.group is not None:
            self.peak = max(self.peak, self.group.used())
            return None  # the kernel counts, and kills
        memory, tasks, family = used, 0, []
        with contextlib.suppress(self.psutil.Error):
            top = self.psutil.Process(self.first)
            family = [top, *top.children(recursive=True)]
        if len(family) > 2 * self.limits.tasks:
            return "TaskLimit"
        for process in family:
            with contextlib.suppress(self.psutil.Error):
                memory += process.memory_info().rss
                tasks += process.num_threads()
        if memory > self.limits.memory:  # forked processes share pages: look closely, which is slow
            memory = used
            for process in family:
                with contextlib.suppress(self.psutil.NoSuchProcess):
                    memory += self.share(process)
        self.peak = max(self.peak, memory)
        # Memory that no process's resident size shows (buffers of pipes and sockets) is noticed at the machine's end.
        scarce = self.psutil.virtual_memory().available < 200 * 2**20
        if memory > self.limits.memory or (scarce and memory > self.limits.memory // 2):
            return "MemoryLimit"
        return "TaskLimit" if tasks > 2 * self.limits.tasks else None


def start(
    settings: dict, limits: sandbox.Limits, group: cgroups.Group | None
) -> tuple[int, int, int, int]:
    """Fork bubblewrap. Returns its process id, and the descriptors of its info, of the reports and of the log."""
    uid = sandbox.FIRST_UID + os.getpid() if settings["user"] == "own uid" else None
    connection = json.loads(Path(settings["connection"]).read_text())
    connection["ip"] = f"{sandbox.INSIDE}/k"
    user = 1000 if uid is None else uid
    info_reader, info_writer = os.pipe()
    report_reader, report_writer = os.pipe()
    log_reader, log_writer = os.pipe()
    inside = {"uid": uid, "limits": settings["limits"], "report": report_writer}
    inside["connection"] = f"{sandbox.INSIDE}/connection.json"
    data = {
        inside["connection"]: readable_end(json.dumps(connection).encode()),
        f"{sandbox.INSIDE}/kernel.py": readable_end((sandbox.TOOLS / "kernel.py").read_bytes()),
        "/etc/passwd": readable_end(f"student:x:{user}:{user}::{sandbox.HOME}:/bin/sh\n".encode()),
    }
    program = syscalls.program()
    line = sandbox.command(
        limits,
        uid=uid,
        readable=tuple(settings["readable"]),
        hide=tuple(settings["hide"]),
        data=data,
        fonts=settings["fonts"],
        info=info_writer,
        seccomp=None if program is None else readable_end(program),
    )
    line += [sys.executable, f"{sandbox.INSIDE}/kernel.py", json.dumps(inside)]
    child = os.fork()
    if child == 0:
        try:
            if group is not None:
                group.join()
            # If the machine itself runs out of memory, the kernel takes this one first.
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000")
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log_writer, 1)
            os.dup2(log_writer, 2)
            for descriptor in (info_writer, report_writer):
                os.set_inheritable(descriptor, True)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.execvp(line[0], line)
        finally:
            os._exit(127)
    for descriptor in (info_writer, report_writer, log_writer, *data.values()):
        os.close(descriptor)
    return child, info_reader, report_reader, log_reader


class Pipes:
    """The sandbox's reports and log: read always, so that nothing blocks, but only the first 16 kB are kept."""

    def __init__(self, *descriptors: int) -> None:
        self.kept = dict.fromkeys(descriptors, b"")
        self.selector = selectors.DefaultSelector()
        for descriptor in descriptors:
            self.selector.register(descriptor, selectors.EVENT_READ)

    def read(self) -> None:
        """Wait for at most one tick and take what has come."""
        if not self.selector.get_map():
            time.sleep(TICK)
            return
        for key, _ in self.selector.select(TICK):
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self.selector.unregister(key.fd)
            if len(self.kept[key.fd]) < 16384:
                self.kept[key.fd] += chunk


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    limits, folder = sandbox.Limits(**settings["limits"]), Path(settings["folder"])
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    group = cgroups.make(limits.memory, limits.tasks) if settings["cgroups"] else None
    child, info, reports, log = start(settings, limits, group)
    pipes = Pipes(info, reports, log)
    reason = first = watch = status = None
    began = looked = time.monotonic()
    try:
        while reason is None and not stopped and os.getppid() == settings["parent"]:
            pipes.read()
            if first is None and b"}" in pipes.kept[info]:
                first = json.loads(pipes.kept[info])["child-pid"]
                os.symlink(f"/proc/{first}/root{sandbox.INSIDE}", folder / "sockets")
                watch = Watch(first, limits, group)
            if time.monotonic() - looked < TICK:
                continue
            looked = time.monotonic()
            done, code = os.waitpid(child, os.WNOHANG)
            if done:
                status = os.waitstatus_to_exitcode(code)
                break
            reason = watch.look() if watch is not None else None
            if (
                looked - began > limits.notebook_seconds + 30
            ):  # the grader should have ended it by now
                reason = "NotebookTimeLimit"
    finally:
        if status is None:
            for process in filter(None, (first, child)):
                with contextlib.suppress(OSError):
                    os.kill(
                        process, signal.SIGKILL
                    )  # `first` is process 1 inside: the rest go with it
            os.waitpid(child, 0)
        if group is not None:
            if reason is None and status is not None and group.killed():
                reason = "MemoryLimit"
            group.remove()
        answer = {
            "reason": reason,
            "status": status,
            "peak_memory": watch.peak if watch else 0,
            "memory_by": "watcher" if group is None else "cgroup",
            "network": [json.loads(x) for x in pipes.kept[reports].split(b"\n")[:20] if valid(x)],
            "log": pipes.kept[log].decode(errors="replace")[-4000:],
        }
        (folder / "report.tmp").write_text(json.dumps(answer))
        (folder / "report.tmp").rename(folder / "report.json")


def valid(line: bytes) -> bool:
    """Whether a line of the reports is a list of short strings: the hand-in's code can write there, too."""
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, list) and len(value) <= 2 and all(isinstance(v, str) for v in value)


if __name__ == "__main__":
    main()

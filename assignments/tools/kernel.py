"""What runs inside the sandbox before any of the hand-in's code: become nobody, set limits, listen, start ipykernel.

Called by `sandbox.py` as `python kernel.py SETTINGS` with JSON: uid (None in a user namespace), limits, report (a file
descriptor), connection (path), check (path of the integrity module). Needs nothing but the standard library and
ipykernel.
"""

import contextlib
import json
import os
import resource
import sys


def become(uid: int) -> None:
    """Drop root for good. The sandbox has no capabilities but the two that this needs, and they go with it."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    try:
        os.setuid(0)
    except PermissionError:
        return
    sys.exit("the sandbox could not give up root")


def limit(limits: dict) -> None:
    """Hard limits of each process; tasks are counted for this user, who runs nothing else."""
    seconds = int(limits["notebook_seconds"] * limits["cpus"]) + 60
    for which, value in (
        (resource.RLIMIT_NPROC, limits["tasks"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 2**16),
        (resource.RLIMIT_MSGQUEUE, 2**16),
    ):
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def listen(report: int) -> None:
    """Tell the supervisor which addresses Python code tries to reach. An audit hook cannot be removed again."""
    write, dumps = os.write, json.dumps

    def hook(event: str, args: tuple) -> None:
        if event == "socket.connect" or event == "socket.sendto":
            address = args[1]
        elif event == "socket.getaddrinfo":
            address = args[:2]
        else:
            return
        if isinstance(address, tuple):  # a str or bytes is a Unix socket
            with contextlib.suppress(OSError):
                write(report, dumps([str(part)[:100] for part in address[:2]]).encode() + b"\n")

    sys.addaudithook(hook)


def main() -> None:
    settings = json.loads(sys.argv[1])
    sys.path.pop(0)  # this file's folder
    if settings["uid"] is not None:
        become(settings["uid"])
    limit(settings["limits"])
    os.umask(0o077)
    from ipykernel.kernelapp import IPKernelApp

    listen(settings["report"])
    sys.argv[1:] = []
    IPKernelApp.launch_instance(
        [
            "-f",
            settings["connection"],
            "--HistoryManager.enabled=False",
            "--IPKernelApp.log_level=50",
        ]
    )


if __name__ == "__main__":
    main()

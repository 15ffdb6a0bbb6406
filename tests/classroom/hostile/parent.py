# what: kills its parent, process 1, its group, and everything else that it can see
# ends: finished any
# loses: any
import contextlib
import os
import signal

assert os.path.isdir("/run/contain"), "only in the sandbox"
for target in (os.getppid(), 1, -1):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError):
            os.kill(target, number)
assert not [name for name in os.listdir("/proc") if name.isdigit() and int(name) > 500]


def double(x):
    return 2 * x

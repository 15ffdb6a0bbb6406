# what: starts as many processes as it may, which is not many
# ends: finished
# loses: none
import os
import time

assert os.path.isdir("/run/contain"), "only in the sandbox"
started = []
try:
    while len(started) < 500:
        child = os.fork()
        if child == 0:
            time.sleep(999)
            os._exit(0)
        started.append(child)
except OSError:
    pass
assert 10 < len(started) < 110, f"started {len(started)}"
for child in started:
    os.kill(child, 9)
    os.waitpid(child, 0)


def double(x):
    return 2 * x

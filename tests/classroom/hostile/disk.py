# what: fills every folder that it can write
# ends: finished
# loses: none
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
written = 0
for place in (os.path.expanduser("~"), "/tmp", "/dev/shm", "/run/contain"):
    for number in range(50):
        try:
            with open(f"{place}/{number}", "wb", buffering=0) as file:
                for _ in range(400):
                    written += file.write(bytes(2**20))
        except OSError:
            pass
assert written < 150 * 2**20, f"wrote {written} bytes"
for place in ("/", "/usr", "/etc", os.path.dirname(os.__file__), "/dev", "/proc/sys/kernel"):
    try:
        with open(f"{place}/mine", "wb"):
            pass
    except OSError:
        continue
    raise AssertionError(f"could write into {place}")


def double(x):
    return 2 * x

# what: writes 200 MB past Python's sys.stdout
# ends: OutputLimit any
# loses: any
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
for _ in range(2000):
    os.write(1, b"x" * 100_000)


def double(x):
    return 2 * x

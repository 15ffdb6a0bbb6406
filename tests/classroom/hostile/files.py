# what: makes empty files for ever
# ends: DiskLimit
# loses: double-tests after-tests
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
number = 0
while True:
    number += 1
    with open(f"/tmp/{number}", "wb"):
        pass

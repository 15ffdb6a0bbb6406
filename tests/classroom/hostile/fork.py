# what: forks until it may not, in every child, too; the children come back into the kernel's own code
# ends: any
# loses: double-tests after-tests
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
try:
    while True:
        os.fork()
except OSError:
    pass
while True:
    pass


def double(x):
    return 2 * x

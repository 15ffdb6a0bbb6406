# what: deletes every file that it can
# ends: finished
# loses: none
import os
import shutil

assert os.path.isdir("/run/contain"), "only in the sandbox"
library = os.path.dirname(os.__file__)
for place in ("/home", "/tmp", "/dev", "/run", "/etc", "/root", f"{library}/json"):
    shutil.rmtree(place, ignore_errors=True)


def double(x):
    return 2 * x

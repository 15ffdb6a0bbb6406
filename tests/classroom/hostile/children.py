# what: leaves processes behind, in sessions of their own
# ends: finished
# loses: none
import os
import subprocess
import sys

assert os.path.isdir("/run/contain"), "only in the sandbox"
for _ in range(20):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(999)"], start_new_session=True)


def double(x):
    return 2 * x

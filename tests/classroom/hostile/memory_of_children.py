# what: fills the memory a little in each of many processes
# ends: MemoryLimit any
# loses: double-tests after-tests
import os
import time

assert os.path.isdir("/run/contain"), "only in the sandbox"
for _ in range(60):
    if os.fork() == 0:
        kept = bytearray(os.urandom(4096)) * 20_000
        time.sleep(999)
time.sleep(999)

# what: fills the memory
# ends: MemoryLimit
# loses: double-tests after-tests
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
kept = []
while True:
    kept.append(bytearray(os.urandom(4096)) * 4096)

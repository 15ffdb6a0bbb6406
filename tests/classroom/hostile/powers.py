# what: tries to become root, and what only namespaces or capabilities would allow
# ends: finished
# loses: none
import ctypes
import os

assert os.path.isdir("/run/contain"), "only in the sandbox"
C = ctypes.CDLL(None, use_errno=True)
done = []
for name, call in {
    "setuid": lambda: C.setuid(0),
    "setgroups": lambda: C.setgroups(1, (ctypes.c_uint32 * 1)(0)),
    "chroot": lambda: C.chroot(b"/tmp"),
    "unshare a user namespace": lambda: C.unshare(0x10000000),
    "mount": lambda: C.mount(b"none", b"/tmp", b"tmpfs", 0, None),
    "ptrace": lambda: C.ptrace(16, 1, None, None),
    "memfd_create": lambda: C.memfd_create(b"x", 0),
    "shmget": lambda: C.shmget(0, 4096, 0o1600),
    "sethostname": lambda: C.sethostname(b"mine", 4),
}.items():
    if call() != -1:
        done.append(name)
assert os.getuid() != 0 or "setuid" in done
assert not set(done) - ({"setuid"} if os.getuid() == 0 else set()), done
with open("/proc/self/status") as file:
    effective = next(line.split()[1] for line in file if line.startswith("CapEff"))
assert int(effective, 16) == 0, effective


def double(x):
    return 2 * x

"""A seccomp filter for the sandbox, as bytes for `bwrap --seccomp`: what a notebook never needs is refused.

Namespaces and mounts would open new surfaces of the kernel and unlimited tmpfs; `memfd_create` and System V shared
memory are memory that no process's resident size shows; `ptrace` and its relatives look into other processes.
Everything else is allowed: bubblewrap's namespaces are the fence, this only closes gates in it.
"""

import errno
import platform
import struct

# Number of each call (x86-64, AArch64), from the kernel's asm/unistd_64.h and asm-generic/unistd.h.
REFUSED = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
}
CLONE, CLONE3 = (56, 220), 435
NEW_USER = 0x10000000  # CLONE_NEWUSER, in the first argument of clone(2)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
X32 = 0x40000000  # calls of the x32 ABI have other numbers, hence all are refused

LOAD, RETURN = 0x20, 0x06
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def program(machine: str | None = None) -> bytes | None:
    """The filter for this machine (`platform.machine()`), or None where its call numbers are not known here.

    A jump counts instructions to skip; the three returns stand last: allow, EPERM, ENOSYS.
    """
    known = MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    column, architecture = known
    # (opcode, where to go if true, if false, constant); None: the next instruction
    steps: list[tuple[int, str | None, str | None, int]] = [
        (LOAD, None, None, 4),
        (EQUAL, None, "refuse", architecture),
        (LOAD, None, None, 0),
    ]
    if column == 0:
        steps.append((AT_LEAST, "refuse", None, X32))
    steps += [(EQUAL, "refuse", None, numbers[column]) for numbers in REFUSED.values()]
    # clone3 passes its flags in memory, which a filter cannot read: the C library then falls back to clone.
    steps += [
        (EQUAL, "missing", None, CLONE3),
        (EQUAL, None, "allow", CLONE[column]),
        (LOAD, None, None, 16),
        (ANY_BIT, "refuse", "allow", NEW_USER),
    ]
    ends = {"allow": len(steps), "refuse": len(steps) + 1, "missing": len(steps) + 2}

    def skip(target: str | None, here: int) -> int:
        return 0 if target is None else ends[target] - here - 1

    code = [
        struct.pack("=HBBI", opcode, skip(true, i), skip(false, i), constant)
        for i, (opcode, true, false, constant) in enumerate(steps)
    ]
    ends_with = (ALLOW, FAIL | errno.EPERM, FAIL | errno.ENOSYS)
    code += [struct.pack("=HBBI", RETURN, 0, 0, value) for value in ends_with]
    return b"".join(code)

# what: looks for a way out: addresses, names, the machine's own services, abstract sockets
# ends: finished
# loses: none
import os
import socket

assert os.path.isdir("/run/contain"), "only in the sandbox"
for address in (("192.0.2.1", 80), ("127.0.0.1", 22), ("10.0.0.1", 53), ("169.254.169.254", 80)):
    try:
        socket.create_connection(address, timeout=1)
    except OSError:
        continue
    raise AssertionError(f"reached {address}")
try:
    socket.getaddrinfo("example.com", 80)
except OSError:
    pass
else:
    raise AssertionError("a name was found")
with open("/proc/net/dev") as file:
    assert [line.split(":")[0].strip() for line in file][2:] == ["lo"]
with open("/proc/net/unix") as file:
    assert not [line for line in file if "@" in line], "abstract sockets of the machine can be seen"


def double(x):
    return 2 * x

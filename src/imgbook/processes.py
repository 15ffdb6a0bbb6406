"""Several processes of one run, on one host or many: how they find each other, agree, and end together.

JAX's runtime connects them: process 0 holds its service, the others come to it. What one does all have to do, or the
others wait for it; so a process that fails ends at once (`leave`), and the others with it: those that wait for it in
a collective operation within a second or so, by `ProcessLost`; where JAX cannot tell (a host that went silent, or
several devices a process, of which one waits for another) it ends a process itself when heartbeats have stayed out
for `HEARTBEAT_SECONDS`, and a little helper, started by `connect`, says in one line what that means.
"""

import atexit
import inspect
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

CONNECT_SECONDS = 60  # how long a process waits for the others to come
HEARTBEAT_SECONDS = 20  # a process that has not been heard of for so long is lost
ENDED_SECONDS = 2 * HEARTBEAT_SECONDS  # within which all have ended after one was lost
LAST_SECONDS = (
    2  # process 0 ends so much later than it could: without its service the others cannot speak
)

# Run by the helper: silence (no byte, the end of the pipe) means that the process ended without a word.
LAST_WORDS = "import sys; sys.stdin.buffer.read(1) or print(sys.argv[1], file=sys.stderr)"

_helper: subprocess.Popen | None = None
_serves = False  # whether this is process 0, and all have come


class ProcessLost(ConnectionError):
    """Another process of the run has ended, or cannot be reached."""


def connect(
    coordinator: str,
    num_processes: int,
    process_id: int,
    *,
    timeout_seconds: float = CONNECT_SECONDS,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> None:
    """Join the run's other processes; before anything else that starts JAX. All have to call it with the same values.

    coordinator: HOST:PORT of process 0, as the others reach it. The port, and others chosen by the system for the
    devices' communication, must be open between the hosts, and to nobody else: there is no password. process_id: 0
    to num_processes - 1, each once. An exception that nobody catches ends the process at once from now on, without
    waiting for the others. After an error of `connect` the process has to be started anew.

    Raises:
        ValueError: no HOST:PORT, numbers outside their range, a port in use, or JAX has started already.
        ConnectionError: within `timeout_seconds` there was no process 0, or not all processes came.
    """
    global _serves
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(f"coordinator {coordinator!r}; expected HOST:PORT, as 192.168.0.1:8476")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process {process_id} of {num_processes}; allowed: 0 to {num_processes - 1}, each once"
        )
    deadline = time.monotonic() + timeout_seconds
    if process_id == 0:
        _check_free(int(port))
    else:
        _reach(host, int(port), timeout_seconds)
    _speak_at_the_end(process_id, num_processes)
    _keep_stdout()
    options = dict(
        initialization_timeout=int(timeout_seconds)
        + 60,  # JAX would abort: this one is to speak before
        heartbeat_timeout_seconds=heartbeat_seconds,
        shutdown_timeout_seconds=ENDED_SECONDS,  # not in the oldest JAX
        coordinator_bind_address=coordinator if host in ("127.0.0.1", "localhost") else None,
    )
    known = inspect.signature(jax.distributed.initialize).parameters
    options = {name: value for name, value in options.items() if name in known}
    failed: list[BaseException] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(coordinator, num_processes, process_id, **options)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0.1))
    if thread.is_alive():
        raise ConnectionError(
            f"not all of {num_processes} processes came to {coordinator} within {timeout_seconds:g} s; start them "
            "all, each with its own number, and see what they say"
        )
    if failed:
        raise ValueError(f"cannot connect: {failed[0]}") from failed[0]
    _serves = process_id == 0
    if threading.current_thread() is threading.main_thread():
        # JAX catches it, to let a program save itself; the run has checkpoints, and is to end.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)


def _check_free(port: int) -> None:
    """Raise ValueError if something listens at a port already (JAX's service would share it)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ValueError(
                f"port {port}: {error.strerror}; choose another, the same for all"
            ) from error


def _reach(host: str, port: int, seconds: float) -> None:
    """Wait until something listens at a port of a host; ConnectionError after `seconds`."""
    deadline, reason = time.monotonic() + seconds, "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            socket.create_connection((host, port), timeout=min(left, 5)).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
        time.sleep(min(0.2, left))
    raise ConnectionError(
        f"no process 0 at {host}:{port} within {seconds:g} s ({reason}); check host and port, and that it runs"
    )


def _keep_stdout() -> None:
    """What the runtime prints goes to stderr: stdout is for results."""
    try:
        if sys.stdout.fileno() != 1:
            return
    except (AttributeError, OSError, ValueError):  # as in notebooks and tests
        return
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)


# --- the end --------------------------------------------------------------------------------------------------


def _speak_at_the_end(process_id: int, num_processes: int) -> None:
    global _helper
    words = (
        f"error: process {process_id} of {num_processes} was ended, not by itself: if by JAX (see above), another "
        "process was lost or cannot be reached, or has the same number. Nothing of the last checkpoint is lost: "
        "start all again, with --resume (resume=True)."
    )
    # In a session of its own: Ctrl-C in the terminal is not meant for it.
    _helper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", LAST_WORDS, words],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    atexit.register(_at_exit)


def _at_exit() -> None:
    if getattr(sys, "last_value", None) is not None:  # an exception that nobody caught
        leave(1)
    _said_all()


def _said_all() -> None:
    """Send the helper home."""
    global _helper
    if _helper:
        _helper.communicate(b".")
        _helper = None


def leave(code: int) -> None:
    """End this process at once, and so the others; nothing, if it is alone.

    An ordinary exit would wait for them in JAX, while they wait for this one.
    """
    if not _helper:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    if _serves:
        time.sleep(LAST_SECONDS)
    _said_all()
    os._exit(code)


@contextmanager
def together(last: str = "") -> Iterator[None]:
    """Within the block, raise `ProcessLost` if the devices' communication fails; `last`: where the run can go on."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # As either of them comes the status of a failed operation, "UNKNOWN: Gloo ...".
        if jax.process_count() == 1 or not re.match("[A-Z_]+: ", str(error)):
            raise
        reason = str(error).splitlines()[0]
        raise ProcessLost(
            f"process {jax.process_index()} of {jax.process_count()} lost another one, which has ended or cannot be "
            f"reached: see what that one says ({reason}). {last or 'Start all again.'}"
        ) from error


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block the first interrupt is only noted; the function it yields says whether there was one.

    Raised inside a step it would lose the state: the old one is donated and the new one not assigned yet. A second
    interrupt is raised at once. Outside the main thread, which signals do not reach, nothing changes.
    """
    noted = []

    def note(*_: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(True)

    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, note) if in_main_thread else None
    try:
        yield lambda: bool(noted)
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, previous)


def finish() -> None:
    """Wait until all have come so far, process 0 having written what it writes; all have to call it."""
    with together():
        agree(0, False)


# --- agreement ------------------------------------------------------------------------------------------------


def agree(number: int, stop: bool) -> tuple[int, bool]:
    """Process 0's number, and whether any process wants to stop; all have to call it."""
    from jax.experimental import multihost_utils

    rows = multihost_utils.process_allgather(np.array([number, stop], np.int32))
    return int(rows[0, 0]), bool(rows[:, 1].any())


def exchange(value: Any) -> list[Any]:
    """Every process's value (small, of plain Python or NumPy), in order; all have to call it."""
    from jax.experimental import multihost_utils

    data = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([len(data)], np.int32))[:, 0]
    filled = np.zeros(lengths.max(), np.uint8)
    filled[: len(data)] = data
    rows = multihost_utils.process_allgather(filled)
    return [pickle.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]


def broadcast(value: Any) -> Any:
    """Process 0's value (of plain Python or NumPy), to the last bit; all have to call it."""
    from jax.experimental import multihost_utils

    data = pickle.dumps(value) if jax.process_index() == 0 else b""
    length, _ = agree(len(data), False)
    words = np.zeros(-(-length // 4), np.uint32)  # it is summed up with the others' zeros
    words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    words = np.asarray(multihost_utils.broadcast_one_to_all(words))
    return pickle.loads(words.tobytes()[:length])


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name and both values ("nothing" if missing) of all in which two descriptions differ."""
    pairs = ((k, one.get(k, "nothing"), other.get(k, "nothing")) for k in sorted(one | other))
    return [(name, a, b) for name, a, b in pairs if a != b]


def check_same(description: Mapping[str, Any]) -> None:
    """Raise ValueError, in all processes, unless all were started with the same description; all have to call it."""
    first, *others = exchange(dict(description))
    for i, other in enumerate(others, 1):
        if different := differences(first, other):
            said = "; ".join(f"{name}: {b!r} there, {a!r} in process 0" for name, a, b in different)
            raise ValueError(
                f"process {i} was started with other options or data ({said}); start all alike"
            )

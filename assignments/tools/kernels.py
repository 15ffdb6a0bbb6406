"""The grader's end of a contained kernel: its manager, a client that bounds what it takes, the list of fonts."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from . import sandbox


class BoundedClient(AsyncKernelClient):
    """Takes no message larger than a cell's whole output, and not many in advance: the grader's memory is safe."""

    largest = sandbox.Limits.cell_output

    def _create_connected_socket(self, channel, identity=None):
        found = self.context.socket

        def socket(kind):
            made = found(kind)
            made.setsockopt(zmq.MAXMSGSIZE, 2 * self.largest + 2**20)
            made.setsockopt(zmq.RCVHWM, 64)
            made.setsockopt(zmq.RECONNECT_IVL, 20)
            return made

        self.context.socket = socket
        try:
            return super()._create_connected_socket(channel, identity)
        finally:
            del self.context.socket


class ContainedKernelManager(AsyncKernelManager):
    """Starts `supervise.py`, which starts the kernel in its sandbox; whatever kernel the notebook asks for."""

    def __init__(self, folder: Path, settings: dict, **kwargs) -> None:
        super().__init__(
            transport="ipc",
            ip=str(folder / "sockets" / "k"),
            connection_file=str(folder / "connection.json"),
            client_factory=BoundedClient,
            **kwargs,
        )
        settings = settings | {
            "folder": str(folder),
            "connection": self.connection_file,
            "parent": os.getpid(),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        script = str(sandbox.TOOLS / "supervise.py")
        argv = [sys.executable, script, str(folder / "settings.json")]
        self.contained_spec = KernelSpec(argv=argv, display_name="contained", language="python")

    @property
    def kernel_spec(self) -> KernelSpec:
        return self.contained_spec


@functools.cache
def font_list() -> str | None:
    """Matplotlib's list of fonts, which takes seconds to make: made once here, and read in every sandbox."""
    code = "import matplotlib.font_manager as f, matplotlib as m; print(m.get_cachedir(), f.FontManager.__version__)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if answer.returncode:
        return None
    folder, version = answer.stdout.strip().splitlines()[-1].rsplit(" ", 1)
    path = Path(folder, f"fontlist-v{version}.json")
    return str(path) if path.is_file() else None

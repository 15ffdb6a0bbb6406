"""The worker processes as the driver sees them: started, asked, waited for, and their death reported."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]
TIME_LIMIT = 600.0  # seconds for one answer: several times the longest compilation
# What the caller may have set that changes how a framework computes or what it finds compiled.
FOREIGN = ("JAX_", "XLA_", "TF_", "KERAS_", "TORCH", "PYTORCH", "OMP_", "MKL_", "KMP_", "OPENBLAS")


class WorkerError(Exception):
    """A worker died, took too long or reports an error; the message says which, and what it wrote last."""


def environment(caches: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's variables without FOREIGN ones; what is compiled is kept in `caches`, empty at first."""
    kept = {name: value for name, value in environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "TORCHINDUCTOR_CACHE_DIR": str(caches), "TF_CPP_MIN_LOG_LEVEL": "2"}


class Process:
    """One worker; use it in a `with` block, at whose end it is gone."""

    def __init__(self, model: str, variant: str, data: Path, command: list[str] | None = None):
        self.name = f"{model}, {variant}"
        self.command = [*(command or [sys.executable, "-m", "frameworks.worker"])]
        self.command += [model, variant, str(data)]
        self.caches = data.parent / "caches"

    def __enter__(self) -> "Process":
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command,
            cwd=FOLDER,
            env=environment(self.caches),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        try:
            self._answer(TIME_LIMIT)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # it has nothing to lose
        self.process.communicate()
        self.log.close()

    def ask(self, do: str, time_limit: float = TIME_LIMIT, **arguments: Any) -> dict:
        """The answer to one command.

        Raises:
            WorkerError: see there.
        """
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead, and reading says so
        return self._answer(time_limit)

    def _answer(self, time_limit: float) -> dict:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(time_limit, stop)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line.endswith("\n"):
            code = self.process.wait()
            what = f"no answer in {time_limit:g} s" if late.is_set() else f"died (exit code {code})"
            raise WorkerError(f"{self.name}: {what}{self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}{self._last_words()}")
        return answer

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().splitlines()[-15:]
        return "".join(f"\n    {line}" for line in lines)

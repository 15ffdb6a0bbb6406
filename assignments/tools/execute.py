"""Run a mended notebook: in the sandbox of `contain`, or without one where the teacher asks for that.

Most of a run's time is XLA compiling what every hand-in compiles: the checks, and what their references compute. The
teacher's notebook is run once and leaves its compiled programs in a folder (`warm`); hand-ins read it and cannot write
there. JAX looks programs up by what they compute, so that results are the same with and without.
"""

import copy
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, v4
from nbgrader.preprocessors import Execute
from traitlets.config import Config

from tools import contain
from tools.course import Refused, Template
from tools.mend import Mended


def limits(config: Config, **changed: object) -> contain.Limits:
    """The limits of nbgrader_config.py's section ContainedExecute."""
    names = {one.name for one in fields(contain.Limits)}
    given = {name: value for name, value in config.ContainedExecute.items() if name in names}
    return contain.Limits(**given | changed)


def check_sandbox() -> None:
    """Raises: Refused, if hand-ins cannot be contained here."""
    if missing := contain.containment_available():
        raise Refused(
            "hand-ins cannot be run in a sandbox here: " + "; ".join(missing) + ". "
            "--uncontained runs them with all your rights: only for code that you trust"
        )


@dataclass(frozen=True)
class Setting:
    """How hand-ins are run: limits, folders that they must not see, sandbox or not, folder of compiled programs."""

    bounds: contain.Limits = field(default_factory=contain.Limits)
    hide: tuple[Path, ...] = ()
    contained: bool = True
    compiled: Path | None = None


# Labs compile longer than they compute, so their programs are hardly optimised.
PRELUDE = """
import os as _os
_os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
_os.environ["JAX_COMPILATION_CACHE_DIR"] = {folder!r}
_os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "{least}"
_os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
del _os
"""
NEVER = 10**9  # seconds of compilation from which on a program would be written


def run(mended: Mended, setting: Setting, least: int = NEVER) -> dict:
    """Execute the cells up to the last graded one in place; what happened, as JSON (see `contain`)."""
    notebook, compiled = mended.notebook, setting.compiled
    rest = notebook.cells[mended.to_run :]
    text = PRELUDE.format(folder=str(compiled), least=least) if compiled else "pass"
    notebook.cells = [v4.new_code_cell(text), *notebook.cells[: mended.to_run]]
    try:
        if setting.contained:
            readable = (compiled,) if compiled else ()
            done = contain.contained_execute(
                notebook, setting.bounds, hide=setting.hide, readable=readable
            )
            report = done.as_dict()
        else:
            report = run_plainly(notebook, setting.bounds)
    finally:
        notebook.cells = notebook.cells[1:] + rest
    if isinstance(report.get("stopped_at"), int):
        report["stopped_at"] -= 1
    return report


def warm(lab: Template, setting: Setting) -> Setting:
    """Run the teacher's notebook, without a sandbox, and keep its compiled programs; the setting to read them.

    Once for each text of the notebook; changed programs are compiled anew by whoever needs them.
    """
    text = "\0".join(cell.full for cell in lab.cells) + version("jax") + version("jaxlib")
    folder = setting.compiled / hashlib.sha256(text.encode()).hexdigest()[:16]
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        notebook = v4.new_notebook(cells=[copy.deepcopy(cell.full_cell) for cell in lab.cells])
        whole = Mended(notebook, len(notebook.cells), [], [])
        report = run(whole, replace(setting, contained=False, compiled=folder), least=0)
        if report["status"] == "finished":
            (folder / "complete").touch()
    return replace(setting, compiled=folder)


class Plain(Execute):
    """nbgrader's execution, within a time for the whole notebook."""

    ends = float("inf")

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type == "code" and time.monotonic() > self.ends:
            raise TimeoutError("the time for the whole notebook is over")
        cell, resources = super().preprocess_cell(cell, resources, index)
        cell.metadata["ran"] = True
        return cell, resources


def run_plainly(notebook: NotebookNode, bounds: contain.Limits) -> dict:
    """Without a sandbox; a graded cell that did not run has an error, and a warning is none."""
    start, status = time.monotonic(), "finished"
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        private = {"transport": "ipc", "ip": str(Path(folder) / "ipc")}  # nobody else can listen
        config = Config({"AsyncKernelManager": private if os.name != "nt" else {}})
        runner = Plain(config=config, timeout=int(bounds.cell_seconds))
        runner.ends = start + bounds.notebook_seconds
        try:
            runner.preprocess(notebook, {})
        except (DeadKernelError, CellTimeoutError, TimeoutError, RuntimeError) as error:
            status = f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
    not_run = []
    for cell in notebook.cells:
        ran = cell.metadata.pop("ran", False)
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "stream":
                output.name = "stdout"
        if not ran and cell.metadata.get("nbgrader", {}).get("grade"):
            cell.outputs.append(v4.new_output("error", ename="NotRun", evalue=status, traceback=[]))
            not_run.append(cell.metadata.nbgrader.grade_id)
    seconds = time.monotonic() - start
    return {"status": status, "seconds": seconds, "not_run": not_run, "tampered": {}, "network": []}

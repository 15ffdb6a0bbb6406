"""Execute a hand-in's notebook in a sandbox: no network, no course folder, limits on everything, hard kill.

    from tools.contain import (
        ContainedExecute,       # nbgrader's Execute, contained: a drop-in for Autograde.autograde_preprocessors
        ExecutionReport,        # what happened to one notebook
        Limits,                 # frozen dataclass: cell_seconds, notebook_seconds, memory, tasks, disk, ...
        contained_execute,      # (nb, limits=Limits(), *, hide=(), readable=()) -> ExecutionReport; nb in place
        containment_available,  # () -> list[str]: what is missing and what to do; [] if hand-ins can be contained
    )
    from tools.hidden import feedback_copy  # (autograded, submitted=None) -> nb without anything hidden in it
    from tools.integrity import suspicious  # (nb) -> [(cell index, name, why)]: for the teacher's eyes, costs nothing

(The folder `assignments` is on `sys.path`.) With nbgrader:

    c.Autograde.autograde_preprocessors = [
        ContainedExecute, "nbgrader.preprocessors.IgnorePattern", "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput", "nbgrader.preprocessors.SaveAutoGrades", ...]
    c.ContainedExecute.cell_seconds = 60      # each field of Limits is a trait
    c.ContainedExecute.hide = ["/path/of/course"]   # never bound, even where the Python environment lies inside it

Before the run the locked test cells must have been restored (nbgrader's OverwriteCells does). The kernelspec that the
notebook names is ignored. After the run

- `nb.metadata["containment"]` is `ExecutionReport.as_dict()` (JSON), and `resources["containment"]` the object;
- a graded code cell has an output of type `error` whenever its checks did not run to their end, so that nbgrader's
  `determine_grade` gives 0. `ename` says which: the exception's own name, or one of `ENAMES`: CellTimeLimit,
  NotebookTimeLimit, MemoryLimit, OutputLimit, DiskLimit, TaskLimit, KernelDied, NotRun (a cell after the kernel's end),
  Tampered (the code under test changed NumPy, JAX, builtins, IPython ...: the report says what), NotReached (the cell
  ended without an error, but not at its last line), BadPartialGrade. `evalue` is one sentence for the student. What
  ran before keeps its points;
- output to stderr in a graded cell is moved to stdout: a warning is no error (nbgrader would give 0 for it);
- outputs are cut at the limits.

`ExecutionReport`: `status` ("finished", or the ENAME that ended the kernel), `stopped_at` (grade_id or index of that
cell, or None), `seconds`, `start_seconds`, `peak_memory` (bytes), `memory_by` ("cgroup" | "watcher"), `user`
("own uid" | "user namespace"), `network` (addresses that Python code tried to reach; nothing got out), `tampered`
(grade_id -> list of what was changed), `not_run` (grade_ids), `cells` (list of {grade_id, index, seconds, ended}).
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import nbformat
from jupyter_core.utils import run_sync
from nbclient.client import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute
from traitlets import Bool, Float, Integer, List, Unicode

from . import integrity, sandbox
from .endings import ENAMES
from .judge import Judge
from .kernels import BoundedClient, ContainedKernelManager, font_list
from .sandbox import Limits

__all__ = [
    "ENAMES",
    "ContainedExecute",
    "ExecutionReport",
    "Limits",
    "contained_execute",
    "containment_available",
]


ONE_REFERENCE = threading.Lock()


class ContainmentError(RuntimeError):
    """The sandbox itself does not work: nobody's hand-in is to blame, and nothing is graded."""


@dataclass
class ExecutionReport:
    """What happened to one notebook; the module's docstring explains the fields."""

    status: str = "finished"
    stopped_at: str | int | None = None
    seconds: float = 0.0
    start_seconds: float = 0.0
    peak_memory: int = 0
    memory_by: str = ""
    user: str = ""
    network: list[str] = field(default_factory=list)
    tampered: dict[str, list[str]] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    cells: list[dict] = field(default_factory=list)

    def as_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


def containment_available() -> list[str]:
    """What keeps hand-ins from being contained on this machine, and what to do; empty if nothing does."""
    return list(sandbox.containment_available())


class ContainedExecute(Judge, Execute):
    """nbgrader's Execute in a sandbox with limits; see the module's docstring."""

    cell_seconds = Float(Limits.cell_seconds, help="wall time of one cell").tag(config=True)
    notebook_seconds = Float(Limits.notebook_seconds, help="wall time of all cells").tag(
        config=True
    )
    memory = Integer(Limits.memory, help="bytes").tag(config=True)
    tasks = Integer(Limits.tasks, help="processes and threads").tag(config=True)
    disk = Integer(Limits.disk, help="bytes of files, kept in memory").tag(config=True)
    files = Integer(Limits.files, help="number of files").tag(config=True)
    open_files = Integer(Limits.open_files, help="open files of a process").tag(config=True)
    cell_output = Integer(Limits.cell_output, help="bytes of one cell's output").tag(config=True)
    notebook_output = Integer(Limits.notebook_output, help="bytes of all output").tag(config=True)
    cpus = Integer(Limits.cpus, help="threads that numerical libraries use").tag(config=True)
    hide = List(Unicode(), help="folders that are never bound").tag(config=True)
    readable = List(Unicode(), help="further folders or files that hand-ins may read").tag(
        config=True
    )
    user_namespace = Bool(
        False, help="a user namespace even where root could give a uid of its own"
    ).tag(config=True)
    use_cgroups = Bool(True, help="let the kernel count memory where possible").tag(config=True)
    check_integrity = Bool(
        True, help="notice replaced functions of libraries, builtins and IPython"
    ).tag(config=True)

    interrupt_on_timeout = Bool(False)  # a time-out ends the kernel
    iopub_timeout = Integer(20)
    startup_timeout = Integer(240)
    store_widget_state = Bool(False)

    def limits(self) -> Limits:
        """The traits as one value."""
        return Limits(**{name: getattr(self, name) for name in Limits.__dataclass_fields__})

    def preprocess(self, nb: NotebookNode, resources=None, km=None):
        """Execute `nb` in place; the report goes into its metadata and into `resources`."""
        resources = {} if resources is None else resources
        NotebookClient.__init__(self, nb)
        self.resources = resources
        self.start_over()
        with ONE_REFERENCE:  # hand-ins may be graded in several threads
            self.reference = (
                reference_prints(tuple(self.readable)) if self.check_integrity else None
            )
        with self._kernel():
            for index, cell in enumerate(nb.cells):
                if cell.cell_type == "code":
                    self._cell(cell, index)
        nb.metadata["containment"] = self.report.as_dict()
        resources["containment"] = self.report
        return nb, resources

    def start_over(self) -> None:
        """Forget the notebook before."""
        self.reset_execution_trackers()
        self.report, self.printed, self.over, self.ended = ExecutionReport(), 0, False, None

    @contextlib.contextmanager
    def _kernel(self):
        """A kernel in its sandbox for the length of a `with`; what the supervisor saw is in the report after it."""
        problems = containment_available()
        if problems:
            raise ContainmentError("; ".join(problems))
        limits, began = self.limits(), time.monotonic()
        user = "own uid" if sandbox.own_uid() and not self.user_namespace else "user namespace"
        self.report.user = user
        settings = {
            "limits": asdict(limits),
            "user": user,
            "cgroups": self.use_cgroups,
            "fonts": font_list(),
        }
        settings |= {
            "hide": [str(p) for p in self.hide],
            "readable": [str(p) for p in self.readable],
        }
        self.folder = Path(tempfile.mkdtemp(prefix="contain-"))
        if len(str(self.folder)) > 80:  # a Unix socket's path has at most 107 bytes
            shutil.rmtree(self.folder)
            self.folder = Path(tempfile.mkdtemp(prefix="contain-", dir="/tmp"))
        try:
            self.km = ContainedKernelManager(self.folder, settings)
            BoundedClient.largest = limits.cell_output
            self.start_new_kernel(cwd=str(self.folder))
            try:
                self.start_new_kernel_client()
            except Exception as error:
                seen = self._stop()
                raise ContainmentError(
                    f"the contained kernel did not start: {seen.get('log') or error}"
                ) from error
            self.report.start_seconds = time.monotonic() - began
            self.deadline = time.monotonic() + limits.notebook_seconds
            yield
        finally:
            self._stop()
            self.report.seconds = time.monotonic() - began
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop(self) -> dict:
        """End the sandbox and everything in it, if it still runs, and return what its supervisor saw."""
        km, kc, self.km, self.kc = self.km, self.kc, None, None
        if kc is not None:
            kc.stop_channels()
        if km is not None and km.provisioner is not None and km.provisioner.pid:
            self._terminate(km)
            for _ in range(250):
                if (self.folder / "report.json").exists():
                    break
                time.sleep(0.02)
            run_sync(km.shutdown_kernel)(now=True)
            run_sync(km.cleanup_resources)()
        with contextlib.suppress(OSError, ValueError):
            self.seen = json.loads((self.folder / "report.json").read_text())
            self.report.peak_memory, self.report.memory_by = (
                self.seen["peak_memory"],
                self.seen["memory_by"],
            )
            self.report.network = sorted({" ".join(words) for words in self.seen["network"]})
            return self.seen
        return {}

    def _terminate(self, km=None) -> None:
        """Ask the supervisor to kill the sandbox now."""
        with contextlib.suppress(OSError, AttributeError):
            os.kill((km or self.km).provisioner.pid, signal.SIGTERM)

    def _cell(self, cell: NotebookNode, index: int) -> None:
        """Execute one code cell, or say why not; a graded cell that did not end well gets an error output."""
        settings = cell.metadata.get("nbgrader", {})
        graded = bool(settings.get("grade")) and not settings.get("solution")
        name = settings.get("grade_id", index)
        cell.outputs, cell.execution_count = [], None
        began = time.monotonic()
        if self.ended is not None:
            if graded:
                self._error(cell, "NotRun")
                self.report.not_run.append(name)
            return
        source, mark = cell.source, ""
        if graded:
            cell.source, mark = integrity.marked(source)
        reason = None
        self.cell_printed = 0
        try:
            self.execute_cell(cell, index, store_history=not graded)
        except CellTimeoutError as error:
            late = time.monotonic() >= self.deadline
            reason = (
                "OutputLimit"
                if "IOPub" in str(error)
                else "NotebookTimeLimit"
                if late
                else "CellTimeLimit"
            )
        except Exception as error:  # also what a broken or forged message raises in the client
            reason = "" if isinstance(error, DeadKernelError) else "KernelDied"
            self.log.debug("the contained kernel's client: %r", error)
        finally:
            cell.source = source
        for output in cell.outputs if mark else ():
            if output.output_type == "error":  # the line that was added is nobody's business
                output.traceback = [
                    "\n".join(line for line in part.split("\n") if f"{mark} = " not in line)
                    for part in output.traceback
                ]
        if self.over:
            reason = "OutputLimit"
        if reason is None and graded:
            reason = self._judge(cell, name, mark)
        if reason is not None:
            self._end(cell, name, reason)
        self._cut(cell)
        ended = next((o.ename for o in cell.outputs if o.output_type == "error"), "well")
        seconds = time.monotonic() - began
        self.report.cells.append(
            {
                "grade_id": settings.get("grade_id"),
                "index": index,
                "seconds": seconds,
                "ended": ended,
            }
        )

    def _end(self, cell: NotebookNode, name: str | int, reason: str) -> None:
        """End the kernel; `reason` "" leaves it to the supervisor to know why it has ended."""
        seen = self._stop()
        if reason in ("", "KernelDied"):
            reason = seen.get("reason") or "KernelDied"
        self.ended = self.report.status = reason
        self.report.stopped_at = name
        cell.outputs = [o for o in cell.outputs if o.output_type != "error"]
        self._error(cell, reason)

    # -- time and output ------------------------------------------------------------------------------------------

    def _get_timeout(self, cell):
        """nbclient asks before each cell (and, without a cell, for the start)."""
        if cell is None:
            return self.startup_timeout
        return max(0.1, min(self.cell_seconds, self.deadline - time.monotonic()))

    def process_message(self, msg, cell, cell_index):
        """Count what arrives before it is kept."""
        size = len(json.dumps(msg["content"], default=str))
        self.cell_printed += size
        self.printed += size
        if self.cell_printed > self.cell_output or self.printed > self.notebook_output:
            self.over = True
            self._terminate()  # nbclient notices within a second
            return None
        return super().process_message(msg, cell, cell_index)

    def handle_comm_msg(self, outs, msg, cell_index):
        """Widgets could redirect the output of cells; there are none here."""

    def _cut(self, cell: NotebookNode) -> None:
        """Keep the first `cell_output` bytes of what the cell printed and showed."""
        left = self.cell_output
        for output in list(cell.outputs):
            if output.output_type == "stream":
                text, output.text = output.text, output.text[: max(left, 0)]
                if len(text) > len(output.text):
                    output.text += "\n... output cut ...\n"
                left -= len(text)
            elif output.output_type == "error":
                if sum(map(len, output.traceback)) > 20_000:
                    output.traceback = [
                        *(line[:2000] for line in output.traceback[:4]),
                        "... traceback cut ...",
                    ]
                output.evalue = output.evalue[:2000]
            else:
                left -= len(json.dumps(output.data))
                if left < 0:
                    cell.outputs.remove(output)


@functools.cache
def reference_prints(readable: tuple[str, ...] = ()) -> dict:
    """Fingerprints in a fresh contained kernel with the same libraries, taken once a process."""
    fresh = ContainedExecute(cell_seconds=300.0, readable=list(readable), check_integrity=False)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(integrity.IMPORTS)])
    NotebookClient.__init__(fresh, nb)
    fresh.start_over()
    with fresh._kernel():
        fresh._cell(nb.cells[0], 0)
        answer, _ = fresh._ask()
    if answer is None:
        raise ContainmentError(
            f"a fresh kernel cannot be examined: {nb.cells[0].outputs or fresh.report}"
        )
    return answer


def contained_execute(
    nb: NotebookNode, limits: Limits | None = None, *, hide=(), readable=(), **traits
) -> ExecutionReport:
    """Execute a notebook in place and return what happened; further keywords are traits of ContainedExecute."""
    lists = {"hide": [str(p) for p in hide], "readable": [str(p) for p in readable]}
    executor = ContainedExecute(**asdict(limits or Limits()), **lists, **traits)
    return executor.preprocess(nb, {})[1]["containment"]

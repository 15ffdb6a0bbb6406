"""Run a mended notebook: in the sandbox of `contain`, or without one where the teacher asks for that."""

import time
from dataclasses import fields
from pathlib import Path

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, v4
from nbgrader.preprocessors import Execute
from traitlets.config import Config

from tools import contain
from tools.course import Refused
from tools.mend import Mended


def limits(config: Config, **changed: object) -> contain.Limits:
    """The limits of nbgrader_config.py's section ContainedExecute."""
    names = {field.name for field in fields(contain.Limits)}
    given = {name: value for name, value in config.ContainedExecute.items() if name in names}
    return contain.Limits(**given | changed)


def check_sandbox() -> None:
    """Raises: Refused, if hand-ins cannot be contained here."""
    if missing := contain.containment_available():
        raise Refused(
            "hand-ins cannot be run in a sandbox here: " + "; ".join(missing) + ". "
            "--uncontained runs them with all your rights: only for code that you trust"
        )


def run(mended: Mended, bounds: contain.Limits, hide: tuple[Path, ...], contained: bool) -> dict:
    """Execute the cells up to the last graded one in place; what happened, as JSON (see `contain`)."""
    notebook = mended.notebook
    rest = notebook.cells[mended.to_run :]
    notebook.cells = notebook.cells[: mended.to_run]
    try:
        if contained:
            return contain.contained_execute(notebook, bounds, hide=hide).as_dict()
        return run_plainly(notebook, bounds)
    finally:
        notebook.cells += rest


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
    runner = Plain(timeout=bounds.cell_seconds)
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

"""What a graded cell that ran is worth: errors that a hand-in hides are added, so that nbgrader sees them."""

import ast
import time
from queue import Empty

import nbformat
from jupyter_core.utils import run_sync
from nbformat import NotebookNode

from . import integrity
from .endings import ENAMES


class Judge:
    """Part of ContainedExecute: needs its `kc`, `report`, `reference` and `check_integrity`."""

    def _judge(self, cell: NotebookNode, name: str, mark: str) -> str | None:
        """See to it that a cell without an error output has run to its end and been checked by untouched code.

        Returns why the kernel must be ended now, or None.
        """
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                output.name = "stdout"
        failed = any(output.output_type == "error" for output in cell.outputs)
        self._partial(cell, failed)
        if not self.check_integrity:
            return None
        answer, reason = self._ask(mark)
        if reason is not None:
            return reason
        found = ["the kernel does not answer the question what was changed"]
        if answer is not None:
            found = integrity.changes(self.reference, answer, cell.source)
        if found:
            self.report.tampered[name] = found
            more = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
            if not failed:
                self._error(cell, "Tampered", more)
        elif mark and answer["reached"] != mark and not failed:
            self._error(cell, "NotReached")
        return None

    def _partial(self, cell: NotebookNode, failed: bool = False) -> None:
        """Let a result stand as a partial grade only if the cell ends in an expression, and the number is one.

        nbgrader takes the first result or error that it finds, and a hand-in can show a result before the error.
        """
        try:
            body = ast.parse(cell.source).body
        except (SyntaxError, ValueError):
            body = []
        intended = bool(body) and isinstance(body[-1], ast.Expr)
        results = [output for output in cell.outputs if output.output_type == "execute_result"]
        for output in results:
            cell.outputs.remove(output)
        if failed or not (intended and results):
            return
        try:
            value = float(results[-1].data["text/plain"])
            good = 0 <= value <= float(cell.metadata["nbgrader"]["points"])
        except (KeyError, TypeError, ValueError):
            good = False
        if good:
            cell.outputs.append(results[-1])
        else:
            self._error(cell, "BadPartialGrade")

    def _ask(self, mark: str = "") -> tuple[dict | None, str | None]:
        """The probe's answer (None if it is none), and why the kernel must be ended (None if it need not)."""
        until = time.monotonic() + 30 + self.cell_seconds
        try:
            asked = self.kc.execute(
                "",
                silent=True,
                store_history=False,
                user_expressions={"it": integrity.question(mark)},
            )
            while time.monotonic() < until:
                try:
                    reply = run_sync(self.kc.get_shell_msg)(timeout=0.5)
                except Empty:
                    if not run_sync(self.kc.is_alive)():
                        return None, ""
                    continue
                if reply["parent_header"].get("msg_id") == asked:
                    it = reply["content"].get("user_expressions", {}).get("it", {})
                    return integrity.read(it.get("data", {}).get("text/plain", "")), None
        except Exception as error:  # a broken or forged message
            self.log.debug("the contained kernel's client: %r", error)
            return None, "KernelDied"
        return None, "CellTimeLimit"

    def _error(self, cell: NotebookNode, ename: str, more: str = "") -> None:
        """Give the cell an error output, which is worth no points."""
        text = ENAMES[ename] + (f": {more}" if more else "")
        output = nbformat.v4.new_output(
            "error", ename=ename, evalue=text, traceback=[f"{ename}: {text}"]
        )
        cell.outputs.append(output)

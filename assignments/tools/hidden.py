"""What of a graded notebook its student may see: nothing that hidden tests could have leaked into.

Code of a hand-in that a hidden test calls can read that test (see `contain`) and carry its text into any output that
comes later, as an error's message, or as a picture. So nothing that the graded run printed is shown: test cells get a
sentence made of the teacher's own words, and the other cells get back the outputs that the student handed in.
"""

import ast
import builtins
import copy
import re

from nbformat import NotebookNode, v4

from .endings import ENAMES

BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
SHOWN = ("text/plain", "image/png", "image/jpeg")
LONGEST = 20_000  # characters of a cell's text
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LINE = re.compile(r"(Cell In\s*\[\w*\]|<ipython-input-[^>]*>)[^\n]*?line (\d+)")


def without_hidden(source: str) -> str:
    """A test cell's text with each hidden region replaced by one line."""
    kept, inside = [], False
    for line in source.split("\n"):
        if line.strip() == BEGIN:
            inside = True
            kept.append("# (hidden checks)")
        elif line.strip() == END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def hidden_lines(source: str) -> set[int]:
    """Numbers of the lines, from 1, in hidden regions."""
    found, inside = set(), False
    for number, line in enumerate(source.split("\n"), 1):
        inside = inside or line.strip() == BEGIN
        if inside:
            found.add(number)
        inside = inside and line.strip() != END
    return found


def literal(node: ast.AST | None) -> str:
    """The fixed part of a message, with ... for each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            literal(part) if isinstance(part, ast.Constant) else "..." for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return literal(node.left) + (literal(node.right) if isinstance(node.op, ast.Add) else "")
    return ""


def messages(source: str) -> dict[int, str]:
    """Line -> the teacher's message of the statement there: assert, raise with a text, or err_msg=... of NumPy's."""
    found: dict[int, str] = {}
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return {}
    for node in nodes:
        text = ""
        if isinstance(node, ast.Assert):
            text = literal(node.msg)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            text = literal(node.exc.args[0])
        elif isinstance(node, ast.Call):
            text = next(
                (literal(word.value) for word in node.keywords if word.arg == "err_msg"), ""
            )
        if text:
            for number in range(node.lineno, node.end_lineno + 1):
                found.setdefault(number, text)
    return found


def sentence(source: str, output: NotebookNode, tampered: list[str] = ()) -> str:
    """Why a test cell gave no points, in words that a hand-in cannot choose.

    The line comes from the traceback, which a hand-in can forge: it can choose among the cell's messages, not more.
    """
    ename = output.get("ename", "")
    if ename == "Tampered":
        # what stands in brackets are names that the hand-in chose
        what = "; ".join(re.sub(r" \(.*\)$", "", change) for change in tampered[:3])
        return ENAMES[ename] + (f": {what}" if what else "")
    if ename in ENAMES:
        return ENAMES[ename]
    text = COLOUR.sub("", "\n".join(output.get("traceback", [])))
    numbers = [int(number) for _, number in LINE.findall(text)]
    known, hidden = messages(source), hidden_lines(source)
    said = [number for number in numbers if number in known]
    where = "a hidden check" if (said or numbers[:1] or [0])[-1] in hidden else "a check"
    kind = getattr(builtins, ename, None)
    kind = ename if isinstance(kind, type) and issubclass(kind, Exception) else "an error"
    return f"{where} failed: {known[said[-1]]}" if said else f"{where} ended with {kind}"


def own_outputs(cell: NotebookNode | None) -> list[NotebookNode]:
    """The texts and pictures that a hand-in came with."""
    shown, left = [], LONGEST
    for output in copy.deepcopy(cell.get("outputs", []) if cell else []):
        if output.output_type == "stream":
            output.text = output.text[:left]
            left -= len(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            output.data = {kind: value for kind, value in output.data.items() if kind in SHOWN}
            output.metadata = {}
        elif output.output_type == "error":
            output.traceback = [line[:2000] for line in output.traceback[:30]]
        else:
            continue
        shown.append(output)
    return shown


def feedback_copy(autograded: NotebookNode, submitted: NotebookNode | None = None) -> NotebookNode:
    """A copy of a graded notebook that its student may see; without `submitted` other cells have no outputs."""
    by_name = {}
    for cell in submitted.cells if submitted is not None else []:
        name = cell.metadata.get("nbgrader", {}).get("grade_id") or cell.get("id")
        if name and cell.cell_type == "code":
            by_name[name] = cell
    nb = copy.deepcopy(autograded)
    report = nb.metadata.pop("containment", {})
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        settings = cell.metadata.get("nbgrader", {})
        name = settings.get("grade_id") or cell.get("id")
        if settings.get("grade") and not settings.get("solution"):
            error = next((o for o in cell.outputs if o.output_type == "error"), None)
            tampered = report.get("tampered", {}).get(name, [])
            text = "all checks passed" if error is None else sentence(cell.source, error, tampered)
            cell.outputs = [v4.new_output("stream", name="stdout", text=text + "\n")]
            cell.source = without_hidden(cell.source)
        else:
            cell.source = without_hidden(cell.source)
            cell.outputs = own_outputs(by_name.get(name))
    return nb

"""Does a hand-in change what its checks rely on? Fingerprints of one kernel, compared with those of a fresh one.

    marked(source) -> (source, mark)       a test cell that leaves `mark` behind when its last line has run
    question(mark) -> str                  an expression for the kernel, whose value is a JSON string (see probe.py)
    changes(reference, answer, source) -> list of names that were changed, in words
    suspicious(nb) -> list of (cell index, name, why), found in the text without running it

The reference is computed in a kernel in which no hand-in has run, and stays in the grader's process: a hand-in cannot
change it. The fingerprints of the hand-in's kernel come from that kernel itself, so a hand-in that knows this file can
forge them: this notices tricks, and does not prove their absence.
"""

import ast
import json
import secrets
from pathlib import Path

from nbformat import NotebookNode

PROBE = Path(__file__).with_name("probe.py").read_text()
IMPORTS = (
    "import math, cmath, operator, functools, itertools, statistics, random, copy, inspect, unittest, contextlib\n"
    "import warnings, json, time\n"
    "import numpy, numpy.testing, numpy.linalg, numpy.random, numpy.fft\n"
    "import jax, jax.numpy, jax.nn, jax.random, jax.lax, jax.scipy.special, jax.scipy.stats, jax.test_util\n"
    "import flax, flax.nnx, optax, optax.tree\n"
)

# Names with no honest use in a lab, and what they are good for. Found in the text: the teacher decides.
NAMES = {
    "_getframe": "reads the caller's variables",
    "currentframe": "reads the caller's variables",
    "f_back": "reads the caller's variables",
    "f_locals": "reads the caller's variables",
    "f_globals": "reads the caller's variables",
    "tb_frame": "reads the caller's variables",
    "get_ipython": "reaches the kernel",
    "_ih": "reads the cells that ran",
    "In": "reads the cells that ran",
    "linecache": "reads the cells that ran",
    "getsource": "reads the cells that ran",
    "gc": "reaches all objects of the kernel",
    "ctypes": "reaches the memory of the kernel",
    "settrace": "runs beside the checks",
    "setprofile": "runs beside the checks",
    "monitoring": "runs beside the checks",
    "threading": "runs beside the checks",
    "_thread": "runs beside the checks",
    "atexit": "runs after the checks",
    "signal": "runs beside the checks",
    "setattr": "may replace functions",
    "__setattr__": "may replace functions",
    "__code__": "may replace functions",
    "__dict__": "may replace functions",
    "__builtins__": "may replace functions",
    "builtins": "may replace functions",
    "modules": "may replace modules",
    "meta_path": "may replace modules",
    "reload": "may replace modules",
    "__eq__": "may make an object equal to everything",
    "__array__": "may make an object equal to everything",
    "__array_ufunc__": "may make an object equal to everything",
    "__array_function__": "may make an object equal to everything",
    "__class__": "may pretend to be of another type",
    "exec": "runs text as code",
    "eval": "runs text as code",
    "compile": "runs text as code",
    "__import__": "runs text as code",
    "subprocess": "starts processes",
    "fork": "starts processes",
    "system": "starts processes",
    "popen": "starts processes",
    "socket": "uses the network",
    "urllib": "uses the network",
    "requests": "uses the network",
    "_exit": "ends the kernel",
    "kill": "ends processes",
}
# Words that are also fair names of variables, or of methods (nnx's `model.eval()`): found only in their own role.
IMPORTED = {
    "gc",
    "ctypes",
    "linecache",
    "threading",
    "_thread",
    "atexit",
    "signal",
    "builtins",
    "subprocess",
}
IMPORTED |= {"socket", "urllib", "requests"}
BARE = {"In", "_ih", "exec", "eval", "compile", "setattr"}
LIBRARIES = {"np", "jnp", "jax", "numpy", "optax", "flax", "nnx", "math"}


def marked(source: str) -> tuple[str, str]:
    """The source with a last action that assigns a secret to a secret name; ("unchanged", "") if it is no Python.

    A last expression keeps its place as the cell's value, which is a partial grade to nbgrader.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return source, ""
    mark = f"_reached_{secrets.token_hex(8)}"
    if not body or not isinstance(body[-1], ast.Expr):
        return f"{source}\n{mark} = {mark!r}\n", mark
    last = body[-1].value
    lines = source.encode().split(b"\n")
    first, final = last.lineno - 1, last.end_lineno - 1
    after = lines[final][last.end_col_offset :]
    before = lines[first][: last.col_offset]
    inner = b"\n".join(lines[first : final + 1])
    inner = inner[len(before) : len(inner) - len(after)]
    wrapped = before + b"(" + inner + f", {mark} := {mark!r})[0]".encode() + after
    return b"\n".join([*lines[:first], wrapped, *lines[final + 1 :]]).decode(), mark


def question(mark: str = "") -> str:
    """An expression that evaluates to the probe's answer in a kernel."""
    return f"(lambda names: (exec({PROBE!r}, names), names['answer'](globals(), {mark!r}))[1])({{'__name__': 'probe'}})"


def used_builtins(source: str) -> set[str]:
    """Names that a cell reads and does not define itself."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - {
        n.id for n in names if isinstance(n.ctx, ast.Store)
    }


def changes(reference: dict, answer: dict, source: str = "") -> list[str]:
    """What differs between a kernel and a fresh one, in words; `source` is the test cell that was run.

    Names that the fresh kernel does not have are left aside: libraries add some when they are used.
    """
    found = []
    loaded = {name.rpartition(".")[0] for name in answer["functions"]}
    for name, value in reference["functions"].items():
        if name.rpartition(".")[0] in loaded and answer["functions"].get(name) != value:
            found.append(
                f"{name} was replaced" if name in answer["functions"] else f"{name} was removed"
            )
    for name, value in reference["hooks"].items():
        now = answer["hooks"].get(name)
        if now != value:
            more = [word for word in now or [] if word not in value]
            found.append(f"{name} changed" + (f" ({', '.join(more[:3])})" if more else ""))
    hidden = set(answer["shadows"]) - set(reference["shadows"])
    found += [
        f"the notebook's own `{name}` hides the builtin"
        for name in sorted(hidden & used_builtins(source))
    ]
    return found


def read(text: str) -> dict | None:
    """The probe's answer out of a kernel's reply (the representation of a string), or None if it is none."""
    try:
        answer = json.loads(ast.literal_eval(text))
        good = (
            all(isinstance(answer[key], dict) for key in ("functions", "hooks"))
            and isinstance(answer["shadows"], list)
            and all(
                isinstance(v, list) and all(isinstance(w, str) for w in v)
                for v in answer["hooks"].values()
            )
            and all(isinstance(w, str) for w in answer["shadows"])
        )
    except (
        ValueError,
        SyntaxError,
        KeyError,
        TypeError,
        RecursionError,
        MemoryError,
        AttributeError,
    ):
        return None
    return answer if good else None


def suspicious(nb: NotebookNode) -> list[tuple[int, str, str]]:
    """Names in the cells that students write which can read or replace what checks rely on."""
    found = []
    for index, cell in enumerate(nb.cells):
        locked = cell.metadata.get("nbgrader", {}).get("locked")
        if cell.cell_type != "code" or locked:
            continue
        lines = [
            line for line in cell.source.split("\n") if not line.lstrip().startswith(("%", "!"))
        ]
        if len(lines) < len(cell.source.split("\n")):
            found.append((index, "%", "a magic or shell command"))
        try:
            tree = ast.parse("\n".join(lines))
        except (SyntaxError, ValueError):
            continue
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                names |= {node.id} - IMPORTED
            elif isinstance(node, ast.Attribute):
                names |= {node.attr} - IMPORTED - BARE
                root = node.value
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(node.ctx, ast.Store) and getattr(root, "id", None) in LIBRARIES:
                    found.append((index, f"{root.id}.{node.attr}", "assigns to a library"))
            elif isinstance(node, ast.Import):
                names |= {part for alias in node.names for part in alias.name.split(".")}
            elif isinstance(node, ast.ImportFrom):
                names |= set((node.module or "").split(".")) | {alias.name for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names |= {node.name} - IMPORTED - BARE
        found += [(index, name, NAMES[name]) for name in sorted(names & set(NAMES))]
    return found

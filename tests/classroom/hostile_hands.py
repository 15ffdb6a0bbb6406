"""Hand-ins that mean harm (hostile/*.py), each as a notebook: a task done before, the hand-in's cell, a task after.

Header of a file: `# what:`, `# ends:` the report's status ("any" as well: it may differ), `# loses:` the test cells
without points ("any": see to it only that the grader survives), and for tricks `# names:` what the report must name.
"""

from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

FOLDER = Path(__file__).parent / "hostile"
TESTS = """import numpy as _np

assert double(3) == 6, f"double(3) is {double(3)}"
### BEGIN HIDDEN TESTS
# the canary of hidden tests
_np.testing.assert_allclose(double(_np.ones(3)), 2 * _np.ones(3))
assert all([_np.allclose(double(_x), _x + _x) for _x in (0.5, -2.0)]), "wrong for " + "negative numbers"
assert abs(double(7) - 14) < 1e-9 and isinstance(double(7), int)
### END HIDDEN TESTS
"""


@dataclass(frozen=True)
class Hostile:
    """One file."""

    name: str
    what: str
    ends: set[str]
    loses: set[str]
    names: str
    source: str


def read(path: Path) -> Hostile:
    source = path.read_text()
    head = dict(
        line[2:].split(": ", 1)
        for line in source.splitlines()
        if line.startswith("# ") and ": " in line
    )
    loses = set(head["loses"].split()) - {"none"}
    return Hostile(
        path.stem, head["what"], set(head["ends"].split()), loses, head.get("names", ""), source
    )


def cell(source: str, name: str, points: float | None = None) -> NotebookNode:
    """A solution cell, or with points a test cell."""
    graded = points is not None
    settings = {"schema_version": 3, "grade_id": name, "grade": graded, "solution": not graded}
    settings |= {"locked": graded, "task": False} | ({"points": points} if graded else {})
    return v4.new_code_cell(source, metadata={"nbgrader": settings})


def notebook(source: str, tests: str = TESTS) -> NotebookNode:
    """A hand-in whose second task is done by `source`."""
    return v4.new_notebook(
        cells=[
            cell("def one():\n    return 1\n", "before"),
            cell("assert one() == 1\n", "before-tests", 1),
            cell(source, "double"),
            cell(tests, "double-tests", 2),
            cell("assert one() == 1\n", "after-tests", 1),
        ],
        # whatever a hand-in asks for
        metadata={"kernelspec": {"name": "bash", "display_name": "bash", "language": "bash"}},
    )


def lost(nb: NotebookNode) -> set[str]:
    """Test cells to which nbgrader gives less than all points."""
    from nbgrader.utils import determine_grade

    found = set()
    for one in nb.cells:
        if one.metadata["nbgrader"]["grade"]:
            points, most = determine_grade(one)
            if points < most:
                found.add(one.metadata["nbgrader"]["grade_id"])
    return found


def by_name(nb: NotebookNode, name: str) -> NotebookNode:
    return next(one for one in nb.cells if one.metadata["nbgrader"]["grade_id"] == name)


def text_of(nb: NotebookNode) -> str:
    return nbformat.writes(nb)

"""A small lab, made in a folder: two functions, an experiment, a written answer; no imports, so that a run is short."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4
from tools.course import Course

LAB = "lab0-demo"
SECRET = "SECRET"  # in hidden tests only
SQUARE = '''def square(x):
    """The square of x."""
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION
'''
SQUARE_TESTS = f"""got = square(3)
assert got == 9, f"square(3) is {{got}}, expected 9"
print("visible checks of square passed")
### BEGIN HIDDEN TESTS
print("{SECRET} output")
for value in (-2, 5, 7):  # {SECRET}
    assert square(value) == value * value, "another number than 3"
### END HIDDEN TESTS
"""
HALVE = '''def halve(x):
    """Half of x."""
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION
'''
HALVE_TESTS = """assert halve(4) == 2, "halve(4) should be 2"
### BEGIN HIDDEN TESTS
assert halve(-5) == -2.5
### END HIDDEN TESTS
"""
RUN = """### BEGIN SOLUTION
total = sum(range(5))
### END SOLUTION
"""
RUN_TESTS = 'assert globals().get("total") == 10, "total is not the sum of 0 to 4"\n'
ANSWER = "### BEGIN SOLUTION\nBecause a square has no sign.\n### END SOLUTION\n"
HELPERS = "import math\n\nSCALE = 1\n\n\ndef shout(text):\n    return text.upper()\n"


def marked(
    cell: NotebookNode, name: str, points: float | None = None, **marks: bool
) -> NotebookNode:
    """The cell with nbgrader's metadata."""
    base = {"schema_version": 3, "grade_id": name, "grade": points is not None, "solution": False}
    base |= {"locked": False, "task": False} | marks
    cell.metadata["nbgrader"] = base | ({"points": points} if points is not None else {})
    return cell


def task(name: str, text: str, solution: str, tests: str, points: float) -> list[NotebookNode]:
    return [
        v4.new_markdown_cell(text),
        marked(v4.new_code_cell(solution), name, solution=True),
        marked(v4.new_code_cell(tests), f"{name}-tests", points, locked=True),
    ]


def teacher() -> NotebookNode:
    """The notebook of the teacher: 3 + 2 + 1 points automatically, 2 by hand."""
    cells = [
        v4.new_markdown_cell("# A lab for tests\n\nThe formula $x^2$."),
        v4.new_code_cell(HELPERS),
        *task("square", "## Square\n\nWrite `square`.", SQUARE, SQUARE_TESTS, 3),
        *task("halve", "## Halve\n\nWrite `halve`.", HALVE, HALVE_TESTS, 2),
        *task("run", "## An experiment\n\nStore the sum of 0 to 4 in `total`.", RUN, RUN_TESTS, 1),
        v4.new_markdown_cell("## A question\n\nWhy is a square never negative?"),
        marked(v4.new_markdown_cell(ANSWER), "why", 2, solution=True),
        v4.new_markdown_cell("## More\n\nNot graded."),
        v4.new_code_cell("stretch = 1\n"),
    ]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def course(root: Path) -> Course:
    """A course with this lab in `root`."""
    made = Course(root)
    path = made.source(LAB)
    path.parent.mkdir(parents=True)
    nbformat.write(teacher(), path)
    return made


DONE = {  # a right solution
    "square": "def square(x):\n    return x**2\n",
    "halve": "def halve(x):\n    return 0.5 * x\n",
    "run": "total = 0 + 1 + 2 + 3 + 4\n",
    "why": "A product of two numbers of one sign.",
}


def find(notebook: NotebookNode, name: str) -> NotebookNode:
    """The cell with this grade_id."""
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def solve(notebook: NotebookNode, **sources: str) -> NotebookNode:
    """A student's notebook with the right solution, or with these sources instead."""
    for name, source in (DONE | sources).items():
        find(notebook, name).source = source
    return notebook

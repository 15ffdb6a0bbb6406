"""The folders of a course, and the cells of a lab: what students got, what the teacher has."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from traitlets.config import Config, PyFileConfigLoader

CONFIG = "nbgrader_config.py"
HIDDEN = re.compile(r"^.*BEGIN HIDDEN TESTS.*?END HIDDEN TESTS[^\n]*\n?", re.S | re.M)


class Refused(Exception):
    """Something was given that cannot be taken; the message says what, what is allowed, and what to do."""


@dataclass(frozen=True)
class Course:
    """A course in nbgrader's layout: source/, release/, submitted/, autograded/, feedback/ and gradebook.db."""

    root: Path

    def source(self, lab: str) -> Path:
        return self.root / "source" / lab / f"{lab}.ipynb"

    def release(self, lab: str) -> Path:
        return self.root / "release" / lab / f"{lab}.ipynb"

    def student(self, lab: str) -> Path:
        """The version for students that is committed."""
        return self.root / "student" / f"{lab}.ipynb"

    def submitted(self, lab: str, student: str) -> Path:
        return self.root / "submitted" / student / lab / f"{lab}.ipynb"

    def autograded(self, lab: str, student: str) -> Path:
        return self.root / "autograded" / student / lab / f"{lab}.ipynb"

    def feedback(self, lab: str, student: str) -> Path:
        return self.root / "feedback" / student / lab / f"{lab}.html"

    def record(self, lab: str, step: str) -> Path:
        """Where `collect` and `grade` note what they did with each hand-in."""
        return self.root / "records" / f"{lab}.{step}.json"

    @property
    def database(self) -> str:
        return f"sqlite:///{self.root / 'gradebook.db'}"

    def labs(self) -> list[str]:
        found = (self.root / "source").glob("*/*.ipynb")
        return sorted(path.stem for path in found if path.stem == path.parent.name)

    def lab(self, name: str) -> str:
        """The lab of that name; the beginning of a name is enough.

        Raises:
            Refused: there is none, or more than one.
        """
        labs = self.labs()
        found = [lab for lab in labs if lab == name] or [
            lab for lab in labs if lab.startswith(name)
        ]
        if len(found) != 1:
            raise Refused(f"{name!r} names {len(found)} labs; allowed: {', '.join(labs) or 'none'}")
        return found[0]

    def config(self) -> Config:
        """nbgrader's settings, with this course's root."""
        where = self.root if (self.root / CONFIG).exists() else Path(__file__).resolve().parents[1]
        config = PyFileConfigLoader(CONFIG, path=str(where)).load_config()
        config.CourseDirectory.root = str(self.root)
        config.CourseDirectory.db_url = self.database
        return config


@dataclass(frozen=True)
class TemplateCell:
    """A cell of a lab as given to students, and what stands there in the teacher's notebook."""

    position: int
    id: str | None  # grade_id
    kind: str  # "code", "answer" (written, graded by hand), "test", "locked" or "plain"
    cell_type: str
    given: str  # source for students
    full: str  # source in the teacher's notebook
    points: float
    given_cell: NotebookNode
    full_cell: NotebookNode

    @property
    def is_work(self) -> bool:
        """Whether students write it."""
        return self.kind in ("code", "answer")

    @property
    def is_ours(self) -> bool:
        """Whether it is restored, whatever students do to it."""
        return self.kind in ("test", "locked")

    @property
    def names(self) -> set[str]:
        """The functions and classes that it asks for."""
        return defined(self.given) if self.kind == "code" else set()


@dataclass(frozen=True)
class Template:
    lab: str
    cells: tuple[TemplateCell, ...]
    metadata: NotebookNode

    def __getitem__(self, grade_id: str) -> TemplateCell:
        return next(cell for cell in self.cells if cell.id == grade_id)

    @property
    def ids(self) -> list[str]:
        return [cell.id for cell in self.cells if cell.id]

    @property
    def graded(self) -> list[TemplateCell]:
        return [cell for cell in self.cells if cell.points]

    @property
    def tests(self) -> list[TemplateCell]:
        return [cell for cell in self.cells if cell.kind == "test"]

    @property
    def points(self) -> float:
        return sum(cell.points for cell in self.graded)


def defined(source: str) -> set[str]:
    """Names of functions and classes that code defines at the top; by their look where it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r"^(?:def|class)\s+(\w+)", source, re.M))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def kind_of(cell: NotebookNode) -> str:
    marks = cell.metadata.get("nbgrader", {})
    if marks.get("solution"):
        return "answer" if cell.cell_type == "markdown" else "code"
    if marks.get("grade"):
        return "test"
    return "locked" if marks.get("locked") else "plain"


def template(lab: str, source: NotebookNode, release: NotebookNode) -> Template:
    """Both versions of a lab, cell by cell.

    Raises:
        Refused: they have not the same cells.
    """
    if [kind_of(cell) for cell in source.cells] != [kind_of(cell) for cell in release.cells]:
        raise Refused(
            f"{lab}: source and release have not the same cells; run: classroom.py release"
        )
    cells = []
    for position, (full, given) in enumerate(zip(source.cells, release.cells, strict=True)):
        marks = given.metadata.get("nbgrader", {})
        points = float(marks.get("points", 0)) if marks.get("grade") else 0.0
        cells.append(
            TemplateCell(position, marks.get("grade_id"), kind_of(given), given.cell_type,
                         given.source, full.source, points, given, full)
        )  # fmt: skip
    return Template(lab, tuple(cells), release.metadata)


def read_template(course: Course, lab: str) -> Template:
    """The lab's template from source/ and release/."""
    paths = course.source(lab), course.release(lab)
    for path in paths:
        if not path.exists():
            raise Refused(f"{path} is missing; run: classroom.py release")
    return template(lab, *(nbformat.read(path, as_version=4) for path in paths))


def without_hidden(source: str) -> str:
    """A test cell's source without its hidden tests."""
    return HIDDEN.sub("", source)

"""Grade hand-ins: mended, run two at a time, and entered into the gradebook by one hand."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field

import nbformat
from jupyter_core.utils import ensure_event_loop
from nbformat import NotebookNode
from nbgrader.utils import determine_grade

from tools.collect import Problem
from tools.contain import ContainmentError
from tools.course import Course, Refused, Template
from tools.execute import Setting, run
from tools.mend import mend, unfinished
from tools.notebooks import parse

SKIPPED = ("NotImplementedError",)  # said by `unfinished`


@dataclass
class Graded:
    """A hand-in with its points."""

    name: str
    notebook: NotebookNode | None = None
    scores: dict[str, float | None] = field(
        default_factory=dict
    )  # grade_id -> points; None: by hand
    reasons: dict[str, str] = field(default_factory=dict)  # grade_id -> why points are missing
    problems: list[Problem] = field(default_factory=list)
    report: dict = field(default_factory=dict)  # of the run
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """The points that were given automatically."""
        return sum(score for score in self.scores.values() if score is not None)

    def as_dict(self) -> dict:
        kept = (
            "status",
            "stopped_at",
            "seconds",
            "start_seconds",
            "peak_memory",
            "network",
            "tampered",
        )
        return {
            "scores": self.scores,
            "reasons": self.reasons,
            "problems": [asdict(problem) for problem in self.problems],
            "run": {name: self.report[name] for name in kept if name in self.report},
            "seconds": round(self.seconds, 2),
        }


def grade_notebook(lab: Template, name: str, notebook: NotebookNode, setting: Setting) -> Graded:
    """Mend, run and score one notebook. Whatever goes wrong is a problem of this hand-in and costs its points."""
    start = time.monotonic()
    graded = Graded(name)
    try:
        mended = mend(lab, notebook)
        graded.problems = [*mended.problems, *unfinished(lab, mended)]
        graded.notebook = mended.notebook
        graded.report = run(mended, setting)
        score(lab, graded)
        graded.problems += errors(graded) + reported(graded.report)
    except ContainmentError:  # nobody's hand-in is to blame: nothing is graded
        raise
    except Exception as error:  # one hand-in must not stop the others
        graded.problems.append(Problem("not graded", f"{type(error).__name__}: {error}"))
        graded.scores = dict.fromkeys((cell.id for cell in lab.graded), 0.0)
        graded.notebook = None
    graded.seconds = time.monotonic() - start
    return graded


def score(lab: Template, graded: Graded) -> None:
    """Points of each graded cell by nbgrader's rule, and why some are missing."""
    for cell in graded.notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if not marks.get("grade"):
            continue
        points, most = determine_grade(cell)
        graded.scores[marks.grade_id] = points
        if points is not None and points < most and cell.cell_type == "code":
            found = [o for o in cell.outputs if o.output_type == "error"]
            said = f"{found[0].ename}: {found[0].evalue}" if found else "part of the points"
            graded.reasons[marks.grade_id] = said[:500]
    if missing := {cell.id for cell in lab.graded} - graded.scores.keys():
        raise AssertionError(f"graded cells without a score: {missing}")


def errors(graded: Graded) -> list[Problem]:
    """Errors outside the tests: at import, in the student's own cells."""
    found = []
    for cell in graded.notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or (marks.get("grade") and not marks.get("solution")):
            continue
        for output in cell.outputs:
            if output.output_type == "error" and output.ename not in SKIPPED:
                where = marks.get("grade_id", "") or first_line(cell.source)
                found.append(Problem("error", f"{output.ename}: {output.evalue[:200]}", where))
    return found


def first_line(source: str) -> str:
    return next((line.strip()[:40] for line in source.splitlines() if line.strip()), "")


def reported(report: dict) -> list[Problem]:
    """What the sandbox noticed."""
    found = []
    if report.get("status", "finished") != "finished":
        found.append(Problem("stopped", str(report["status"]), str(report.get("stopped_at") or "")))
    for name, what in report.get("tampered", {}).items():
        found.append(Problem("tampered", "; ".join(map(str, what)), str(name)))
    if report.get("network"):
        where = ", ".join(map(str, report["network"][:5]))
        found.append(Problem("network", f"tried to reach {where}; nothing got out"))
    return found


class Inline(Executor):
    """An executor that runs each task at once, in this process."""

    def submit(self, task, /, *arguments, **keywords) -> Future:
        future: Future = Future()
        try:
            future.set_result(task(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


def workers(jobs: int) -> Executor:
    """What grades `jobs` hand-ins at a time: processes, since `ast.parse` and Jupyter's client dislike threads."""
    if jobs == 1:
        return Inline()
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def grade_many(
    handins: Iterable[tuple[Template, str, NotebookNode, Setting]], pool: Executor
) -> Iterator[Graded]:
    """Graded hand-ins, each as soon as it is done and in a kernel of its own."""
    tasks = [pool.submit(alone, grade_notebook, *handin) for handin in handins]
    try:
        for task in as_completed(tasks):
            yield task.result()
    finally:
        for task in tasks:
            task.cancel()


def alone(task: Callable, *arguments: object) -> object:
    """What a task of a worker returns; the event loop that Jupyter's client makes is closed."""
    try:
        return task(*arguments)
    finally:
        ensure_event_loop().close()


def read_handin(course: Course, lab: Template, student: str) -> NotebookNode | None:
    """What was collected of a student; None if nothing."""
    path = course.submitted(lab.lab, student)
    try:
        return parse(path.read_bytes())[0] if path.exists() else None
    except Refused:
        return None


def write_autograded(course: Course, lab: Template, graded: Graded) -> None:
    path = course.autograded(lab.lab, graded.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # nbgrader's own are read-only
    nbformat.write(graded.notebook, path)

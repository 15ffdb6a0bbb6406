"""Grade a lab's hand-ins and keep what came of it: autograded/, the gradebook, the records."""

from collections.abc import Iterator

from tools import collect, gradebook, report
from tools.collect import Problem
from tools.course import Course, Refused, Template
from tools.execute import Setting, limits, warm
from tools.grade import Graded, grade_many, read_handin, workers, write_autograded


def grade(course: Course, lab: Template, student: str | None = None,
          contained: bool = True, jobs: int = 2) -> Iterator[Graded]:  # fmt: skip
    """Grade all students of a lab, or one; each result is saved before it is given.

    Raises:
        Refused: there is nothing to grade.
    """
    everybody = collect.students(course, lab.lab)
    if not everybody:
        raise Refused(f"no hand-ins of {lab.lab}; run: classroom.py collect FOLDER --lab {lab.lab}")
    if student and student not in everybody:
        raise Refused(f"no hand-in of {student!r}; there are {', '.join(everybody)}")
    names = [student] if student else everybody
    notebooks = {name: read_handin(course, lab, name) for name in names}
    for name in (name for name, notebook in notebooks.items() if notebook is None):
        yield saved(course, lab, nothing(lab, name))
    there = [(name, notebook) for name, notebook in notebooks.items() if notebook is not None]
    if not there:
        return
    setting = Setting(limits(course.config()), (course.root,), contained, course.root / "compiled")
    setting = warm(lab, setting)
    with workers(min(jobs, len(there))) as pool:
        for graded in grade_many([(lab, *handin, setting) for handin in there], pool):
            yield saved(course, lab, graded)


def nothing(lab: Template, name: str) -> Graded:
    """No points for no notebook."""
    said = Problem("not graded", "nothing that can be graded was collected")
    return Graded(name, scores=dict.fromkeys((c.id for c in lab.graded), 0.0), problems=[said])


def saved(course: Course, lab: Template, graded: Graded) -> Graded:
    gradebook.enter(course, lab, graded)
    if graded.notebook is not None:
        write_autograded(course, lab, graded)
    report.note_graded(course, lab.lab, {graded.name: graded})
    return graded

"""nbgrader's gradebook: written by the driver alone, one hand-in after the other."""

from collections.abc import Iterable

from nbgrader.api import Grade, Gradebook, MissingEntry
from nbgrader.preprocessors import SaveAutoGrades

from tools.course import Course, Template
from tools.grade import Graded

COLUMNS = ("student", "lab", "task", "points", "of", "by hand", "to do")


def enter(course: Course, lab: Template, graded: Graded) -> None:
    """Enter a hand-in's points; marks that were given by hand stay, to be looked at again.

    A hand-in that could not be graded has 0 points in every graded cell.
    """
    with Gradebook(course.database) as book:
        book.update_or_create_student(graded.name)
        submission = book.update_or_create_submission(lab.lab, graded.name)
        if graded.notebook is None:
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    grade.auto_score, grade.needs_manual_grade = 0.0, False
            book.db.commit()
            return
    where = {"notebook": lab.lab, "assignment": lab.lab, "student": graded.name}
    SaveAutoGrades().preprocess(graded.notebook, {"nbgrader": where | {"db_url": course.database}})


def marks(course: Course, labs: Iterable[str]) -> list[dict]:
    """One row a graded cell and student: points, of how many, by hand or not, whether a mark is still missing."""
    rows = []
    with Gradebook(course.database) as book:
        for student in book.students:
            for lab in labs:
                try:
                    notebook = book.find_submission_notebook(lab, lab, student.id)
                except MissingEntry:
                    continue
                rows += [mark(student.id, lab, grade) for grade in notebook.grades]
    return sorted(rows, key=lambda row: (row["student"], row["lab"], row["task"]))


def mark(student: str, lab: str, grade: Grade) -> dict:
    by_hand = grade.manual_score is not None or grade.auto_score is None
    values = (
        student,
        lab,
        grade.name,
        grade.score,
        grade.max_score,
        by_hand,
        grade.needs_manual_grade,
    )
    return dict(zip(COLUMNS, values, strict=True))


def set_mark(
    course: Course, lab: str, student: str, task: str, points: float, comment: str
) -> None:
    """Enter a mark given by hand, with a comment for the student.

    Raises:
        MissingEntry: there is no such task, student or hand-in.
        ValueError: the points are not between 0 and what the task is worth.
    """
    with Gradebook(course.database) as book:
        grade = book.find_grade(task, lab, lab, student)
        if not 0 <= points <= grade.max_score:
            raise ValueError(f"{points:g} points for {task}; allowed: 0 to {grade.max_score:g}")
        grade.manual_score, grade.needs_manual_grade = points, False
        if comment:
            book.find_comment(task, lab, lab, student).manual_comment = comment
        book.db.commit()

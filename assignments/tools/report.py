"""What the teacher reads: problems by student, points by student and by task."""

import csv
import json
from pathlib import Path

from tools import collect, gradebook
from tools.collect import Problem
from tools.course import Course
from tools.grade import Graded


def note_graded(course: Course, lab: str, graded: dict[str, Graded]) -> None:
    """Keep what grading found, by student."""
    path = course.record(lab, "grade")
    notes = collect.read_record(course, lab, "grade")
    notes |= {name: one.as_dict() for name, one in graded.items()}
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps(dict(sorted(notes.items())), indent=1, ensure_ascii=False) + "\n", "utf-8"
    )


def problems(course: Course, lab: str) -> dict[str, list[Problem]]:
    """Every problem of every student's hand-in, from collecting to grading; students without any are left out."""
    found: dict[str, list[Problem]] = {}
    for step in ("collect", "grade"):
        for student, note in collect.read_record(course, lab, step).items():
            found.setdefault(student, []).extend(Problem(**one) for one in note["problems"])
    return {student: listed for student, listed in sorted(found.items()) if listed}


def export(course: Course, labs: list[str], folder: Path) -> list[Path]:
    """Write grades.csv (a row a student, a column a lab) and tasks.csv (a row a task of a student)."""
    rows = gradebook.marks(course, labs)
    totals: dict[str, dict[str, float]] = {}
    open_marks: dict[str, int] = {}
    for row in rows:
        mine = totals.setdefault(row["student"], {})
        mine[row["lab"]] = mine.get(row["lab"], 0.0) + (row["points"] or 0.0)
        open_marks[row["student"]] = open_marks.get(row["student"], 0) + row["to do"]
    known = {student for lab in labs for student in collect.students(course, lab)}
    grades = [
        {"student": student}
        | {lab: totals.get(student, {}).get(lab, "") for lab in labs}
        | {
            "total": sum(totals.get(student, {}).values()),
            "marks to give": open_marks.get(student, 0),
        }
        for student in sorted(known | totals.keys())
    ]
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "grades.csv", folder / "tasks.csv"
    heads = ["student", *labs, "total", "marks to give"], list(gradebook.COLUMNS)
    for path, head, lines in zip(paths, heads, (grades, rows), strict=True):
        write_csv(path, head, lines)
    return list(paths)


def write_csv(path: Path, head: list[str], rows: list[dict]) -> None:
    """A table that spreadsheets open as it is: with a byte order mark, and no cell that is a formula to them."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, head)
        writer.writeheader()
        writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)


def harmless(value: object) -> object:
    """A text that a spreadsheet would compute gets an apostrophe before it."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )

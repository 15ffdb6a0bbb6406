"""Written answers as a table, to be marked in any spreadsheet, and back into the gradebook."""

import csv
from pathlib import Path

import nbformat
from nbgrader.api import MissingEntry

from tools import gradebook
from tools.course import Course, Template
from tools.report import write_csv

HEAD = ["student", "lab", "task", "answer", "of", "points", "comment"]


def write(course: Course, lab: Template, path: Path) -> int:
    """Write one row an answer; how many there are. Marks that were given stand in it already."""
    given = {(m["student"], m["task"]): m for m in gradebook.marks(course, [lab.lab])}
    rows = []
    for source in sorted((course.root / "autograded").glob(f"*/{lab.lab}/{lab.lab}.ipynb")):
        student = source.parents[1].name
        for cell in nbformat.read(source, as_version=4).cells:
            task = cell.metadata.get("nbgrader", {}).get("grade_id")
            mark = given.get((student, task))
            if mark is None or lab[task].kind != "answer":
                continue
            points = "" if mark["to do"] or mark["points"] is None else f"{mark['points']:g}"
            row = (student, lab.lab, task, cell.source, f"{mark['of']:g}", points, "")
            rows.append(dict(zip(HEAD, row, strict=True)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, HEAD, rows)
    return len(rows)


def read(course: Course, path: Path) -> tuple[int, list[str]]:
    """Enter the rows that have points; how many, and the rows that cannot be entered with the reason."""
    entered, refused = 0, []
    text = path.read_text(encoding="utf-8-sig")
    delimiter = (
        ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    )
    for number, row in enumerate(
        csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter), 2
    ):
        if not (row.get("points") or "").strip():
            continue
        try:
            points = float(row["points"].replace(",", "."))
            where = row["lab"], row["student"], row["task"]
            gradebook.set_mark(course, *where, points, (row.get("comment") or "").strip())
            entered += 1
        except (ValueError, KeyError, MissingEntry) as error:
            refused.append(f"row {number} ({row.get('student')}): {error}")
    return entered, refused

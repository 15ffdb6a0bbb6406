"""Collect hand-ins from a folder or a learning platform's zip archive into submitted/."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.archives import Bad, Entry, entries
from tools.course import Course, Refused, Template, defined
from tools.notebooks import parse
from tools.students import Owner, distinct, owner, student_id, unwrapped

NOTEBOOK = re.compile(r"\.ipynb(\.(txt|json))?$", re.I)  # browsers add endings
ROSTER = "students.csv"


@dataclass(frozen=True)
class Problem:
    """Something odd about a hand-in: which kind, where, and what was done about it."""

    kind: str
    text: str
    cell: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f' ({self.cell})' if self.cell else ''}: {self.text}"


@dataclass(frozen=True)
class Attempt:
    """One notebook that a student handed in."""

    owner: Owner
    entry: Entry
    notebook: NotebookNode
    remarks: list[str]
    belongs: int  # how many of the lab's cells it has

    @property
    def order(self) -> tuple:
        """Later attempts are larger."""
        return (
            self.belongs > 0,
            self.owner.attempt,
            self.entry.modified,
            natural(self.entry.label),
        )


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key in which "attempt 10" comes after "attempt 9"."""
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in re.split(r"(\d+)", text) if p]


def belongs(notebook: NotebookNode, lab: Template) -> int:
    """How many of the lab's cells are in a notebook: by nbgrader's marks, else by the functions they define."""
    ids = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    marked = len(set(lab.ids) & {name for name in ids if isinstance(name, str)})
    if marked:
        return marked
    names = set().union(*(defined(cell.source) for cell in notebook.cells))
    given = {cell.given.strip() for cell in lab.cells if len(cell.given) > 40}
    same = sum(cell.source.strip() in given for cell in notebook.cells)
    return sum(bool(cell.names & names) for cell in lab.cells) + same


def collect(course: Course, lab: Template, source: Path) -> dict[str, dict]:
    """Write each student's latest notebook to submitted/, and note what was found; the notes by student.

    A student's notebook that was collected before stays if nothing that can be read came this time.

    Raises:
        Refused: `source` is neither a folder nor a zip archive.
    """
    files, notes = owned(source, lab.lab)
    by_student: dict[str, list[tuple[Owner, Entry | Bad]]] = {}
    for who, file in files:
        by_student.setdefault(who.id, []).append((who, file))
    found = {name: take(course, lab, name, given) for name, given in by_student.items()}
    for name, problem in notes:
        found[name]["problems"].insert(0, asdict(problem))
    for name in sorted(set(roster(course)) - found.keys()):
        there = course.submitted(lab.lab, name).exists()
        missing = Problem("no hand-in", "on the list of students, and nothing came")
        found[name] = {"file": None, "problems": [] if there else [asdict(missing)]}
    write_record(course, lab.lab, found)
    return found


def owned(
    source: Path, lab: str
) -> tuple[list[tuple[Owner, Entry | Bad]], list[tuple[str, Problem]]]:
    """The files with whose they are, and a remark on each name that two students share."""
    files = list(entries(source))
    above = unwrapped([file.parts for file in files], lab)
    owners, shared = distinct([owner(file.parts[above:], lab) for file in files])
    text = "two students have this name: told apart by the platform's number; rename them for the next lab"
    same = [
        (one, Problem("same name", text))
        for one in sorted({one.id for one in owners})
        if one.rpartition("_")[0] in shared
    ]
    return list(zip(owners, files, strict=True)), same


def take(course: Course, lab: Template, name: str, files: list[tuple[Owner, Entry | Bad]]) -> dict:
    """Write the latest readable notebook of one student; the note about it."""
    problems, attempts, others = [], [], []
    for who, file in files:
        if isinstance(file, Bad):
            problems.append(Problem("not read", f"{file.label}: {file.reason}"))
        elif not NOTEBOOK.search(file.parts[-1]):
            others.append(file.label)
        else:
            try:
                notebook, remarks = parse(file.read())
                attempts.append(Attempt(who, file, notebook, remarks, belongs(notebook, lab)))
            except Refused as error:
                problems.append(Problem("not read", f"{file.label}: {error}"))
    if not attempts:
        came = f"; what came: {', '.join(others[:5])}" if others else ""
        problems.append(Problem("no notebook", f"no notebook that can be read{came}"))
        return {"file": None, "problems": [asdict(problem) for problem in problems]}
    best = max(attempts, key=lambda attempt: attempt.order)
    problems += remarks_on(best, attempts, lab)
    path = course.submitted(lab.lab, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(best.notebook, path)
    return {"file": best.entry.label, "problems": [asdict(problem) for problem in problems]}


def remarks_on(best: Attempt, attempts: list[Attempt], lab: Template) -> list[Problem]:
    remarks = [Problem(*remark.split(": ", 1)) for remark in best.remarks]
    if len(attempts) > 1:
        which = f"{best.entry.label}, the latest with cells of this lab"
        remarks.append(Problem("several notebooks", f"{len(attempts)} came; graded is {which}"))
    if not best.belongs:
        remarks.append(Problem("other notebook", f"{best.entry.label} has no cell of {lab.lab}"))
    short = lab.lab.partition("-")[0]
    if len(best.entry.parts) > 1 and short not in best.entry.parts[-1].lower():
        remarks.append(Problem("file name", f"{best.entry.parts[-1]}, not {lab.lab}.ipynb"))
    return remarks


def roster(course: Course) -> list[str]:
    """The students of students.csv, if there is one: the first column, with or without a heading `student`."""
    path = course.root / ROSTER
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [line.split(",")[0].split(";")[0].strip().strip('"') for line in lines]
    return [student_id(name) for name in names if name and name.lower() not in ("student", "id")]


def write_record(course: Course, lab: str, found: dict[str, dict]) -> None:
    """Add to the notes about a lab's hand-ins; a student's newer note replaces the older."""
    path = course.record(lab, "collect")
    notes = read_record(course, lab, "collect") | found
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(sorted(notes.items())), indent=1, ensure_ascii=False) + "\n")


def read_record(course: Course, lab: str, step: str) -> dict[str, dict]:
    path = course.record(lab, step)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def students(course: Course, lab: str) -> list[str]:
    """All students of whom something is known for this lab."""
    there = {
        path.parents[1].name for path in (course.root / "submitted").glob(f"*/{lab}/{lab}.ipynb")
    }
    return sorted(there | set(roster(course)) | read_record(course, lab, "collect").keys())

"""Test the graders: right hand-ins have full marks, wrong ones lose points in exactly the cells that they name."""

import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tools import handins
from tools.course import Course, Refused, Template, read_template
from tools.execute import limits
from tools.grade import Graded, grade_many
from tools.handins import Handin
from tools.release import copy_of, generate


@dataclass(frozen=True)
class Row:
    """What one hand-in should have lost, and what it lost."""

    lab: str
    kind: str
    name: str
    points: float
    of: float
    expected: list[str]
    lost: list[str]
    reasons: dict[str, str]
    problems: list[str]
    seconds: float

    @property
    def ok(self) -> bool:
        return self.expected == self.lost


def row(handin: Handin, graded: Graded, lab: Template) -> Row:
    most = {cell.id: cell.points for cell in lab.tests}
    lost = sorted(name for name, points in most.items() if graded.scores[name] < points)
    return Row(
        handin.lab, handin.kind, handin.name, graded.points, sum(most.values()),
        sorted(handin.loses), lost, graded.reasons, [str(p) for p in graded.problems],
        round(graded.seconds, 2),
    )  # fmt: skip


def run_lab(
    course: Course, lab: str, only: str = "", contained: bool = True, jobs: int = 2
) -> list[Row]:
    """Grade the hand-ins of one lab whose name contains `only`."""
    folder = course.root / "handins"
    with tempfile.TemporaryDirectory() as scratch:
        copied = copy_of(course, [lab], Path(scratch))
        generate(copied, lab, database=False)
        template = read_template(copied, lab)
        made = [*handins.built_in(template), *handins.read_all(folder, lab)]
        made = {f"{one.kind}/{one.name}": one for one in made if only in f"{one.kind}/{one.name}"}
        notebooks = [(key, handins.notebook(one, template)) for key, one in made.items()]
        bounds = limits(course.config())
        done = grade_many(template, notebooks, bounds, (course.root,), contained, jobs)
        rows = {graded.name: row(made[graded.name], graded, template) for graded in done}
    return [rows[key] for key in made]


def run(
    course: Course, labs: Iterable[str], only: str = "", contained: bool = True, jobs: int = 2
) -> dict:
    """All rows, and the seconds that it took."""
    start = time.monotonic()
    rows = [row for lab in labs for row in run_lab(course, lab, only, contained, jobs)]
    if not rows:
        raise Refused(f"no hand-in has {only!r} in its name")
    times = [row.seconds for row in rows]
    return {
        "seconds": round(time.monotonic() - start, 1),
        "median seconds a hand-in": statistics.median(times),
        "contained": contained,
        "rows": [asdict(row) | {"ok": row.ok} for row in rows],
    }


def table(result: dict) -> str:
    """One line a hand-in, and what differs from what it says."""
    lines = []
    for row in result["rows"]:
        name = f"{row['lab']:16} {row['kind']}/{row['name']}"
        points = f"{row['points']:g}/{row['of']:g}"
        lines.append(
            f"{'ok  ' if row['ok'] else 'FAIL'} {name:58} {points:>6} {row['seconds']:6.1f} s"
        )
        if not row["ok"]:
            lines += [
                f"       expected to lose {row['expected'] or 'nothing'}, lost {row['lost'] or 'nothing'}"
            ]
            lines += [f"       {cell}: {why}" for cell, why in row["reasons"].items()]
            lines += [f"       {problem}" for problem in row["problems"]]
    bad = sum(not row["ok"] for row in result["rows"])
    lines.append(f"{len(result['rows'])} hand-ins, {bad} not as expected, {result['seconds']} s")
    return "\n".join(lines)


def write(result: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

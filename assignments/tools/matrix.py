"""Test the graders: right hand-ins have full marks, wrong ones lose points in exactly the cells that they name.

Tests do not depend on each other's tasks, so that wrong hand-ins of different tasks are put into one notebook, which
has to lose what they lose together. Where it does not, each of them is run by itself.
"""

import json
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path

from nbformat import NotebookNode, v4

from tools import feedback, handins, report
from tools.course import Course, Refused, Template, read_template
from tools.execute import Setting, limits, warm
from tools.grade import Graded, grade_many, workers
from tools.handins import Handin
from tools.mend import mend
from tools.release import copy_of, generate


@dataclass(frozen=True)
class Row:
    """What one hand-in should have lost, and what it lost; `beside`: the others in its notebook."""

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
    beside: list[str]

    @property
    def ok(self) -> bool:
        return self.expected == self.lost


def packed(made: list[Handin]) -> list[list[Handin]]:
    """Groups to be run in one notebook: each right hand-in alone, wrong ones with those of other tasks."""
    groups: list[list[Handin]] = []
    for one in made:
        fitting = (
            group
            for group in groups
            if one.kind == group[0].kind == "wrong" and one.blocks and group[0].blocks
            if all(fit(one, other) for other in group)
        )
        group = next(fitting, None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return groups


def fit(one: Handin, other: Handin) -> bool:
    return not (one.blocks.keys() & other.blocks.keys() or one.loses & other.loses)


def notebook(group: list[Handin], lab: Template) -> NotebookNode:
    """The notebook with the cells of all hand-ins of a group."""
    first, *others = (handins.notebook(one, lab) for one in group)
    for one, more in zip(group[1:], others, strict=True):
        for index, cell in enumerate(lab.cells):
            if cell.id in one.blocks:
                first.cells[index] = more.cells[index]
    return first


def lost_in(graded: Graded, lab: Template) -> list[str]:
    return sorted(cell.id for cell in lab.tests if graded.scores[cell.id] < cell.points)


def rows_of(group: list[Handin], graded: Graded, lab: Template) -> list[Row] | None:
    """The rows of a group; None if its members have to be run alone."""
    lost, most = lost_in(graded, lab), {cell.id: cell.points for cell in lab.tests}
    if len(group) > 1 and lost != sorted(set().union(*(one.loses for one in group))):
        return None
    rows = []
    for one in group:
        mine = lost if len(group) == 1 else sorted(one.loses)
        points = sum(most.values()) - sum(most[name] - graded.scores[name] for name in mine)
        rows.append(
            Row(
                one.lab, one.kind, one.name, points, sum(most.values()), sorted(one.loses), mine,
                {name: why for name, why in graded.reasons.items() if name in mine},
                [str(problem) for problem in graded.problems],
                round(graded.seconds / len(group), 2),
                [other.name for other in group if other is not one],
            )
        )  # fmt: skip
    return rows


def write_feedback(group: list[Handin], graded: Graded, lab: Template, folder: Path) -> None:
    """The page that a student who hands this notebook in would get, named after the group's first."""
    first = group[0]
    marks = {c.id: (graded.scores[c.id], c.points, c.kind == "answer") for c in lab.graded}
    if graded.notebook is None:
        page = v4.new_notebook()
    else:
        raw = mend(lab, notebook(group, lab)).notebook
        page = feedback.annotated(feedback.feedback_copy(graded.notebook, raw), marks, {})
    title = f"{lab.lab}: {first.kind}, {', '.join(one.name for one in group)}"
    path = folder / lab.lab / f"{first.kind}-{first.name.strip('()')}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = feedback.page(page, title, feedback.summary(marks, graded.problems))
    path.write_text(text, encoding="utf-8")


def run_groups(
    groups: list[list[Handin]], lab: Template, setting: Setting, pool: Executor, pages: Path | None
) -> list[Row]:
    """Grade groups; those that are not as expected are taken apart and graded again."""
    todo = [(str(number), notebook(group, lab)) for number, group in enumerate(groups)]
    rows, apart = [], []
    for graded in grade_many(lab, todo, setting, pool):
        group = groups[int(graded.name)]
        if pages:
            write_feedback(group, graded, lab, pages)
        found = rows_of(group, graded, lab)
        rows += found or []
        apart += [] if found else [[one] for one in group]
    return rows + (run_groups(apart, lab, setting, pool, pages) if apart else [])


def run_lab(
    course: Course,
    lab: str,
    only: str,
    setting: Setting,
    singly: bool,
    pool: Executor,
    pages: Path | None,
) -> list[Row]:
    """Grade the hand-ins of one lab whose `right/name` or `wrong/name` contains `only`."""
    with tempfile.TemporaryDirectory() as scratch:
        copied = copy_of(course, [lab], Path(scratch))
        generate(copied, lab, database=False)
        template = read_template(copied, lab)
    made = [*handins.built_in(template), *handins.read_all(course.root / "handins", lab)]
    made = [one for one in made if only in f"{one.kind}/{one.name}"]
    if not made:
        return []
    groups = [[one] for one in made] if singly else packed(made)
    rows = run_groups(groups, template, warm(template, setting), pool, pages)
    order = [(one.kind, one.name) for one in made]
    return sorted(rows, key=lambda row: order.index((row.kind, row.name)))


def run(course: Course, labs: Iterable[str], only: str = "", *, compiled: Path,
        contained: bool = True, singly: bool = False, jobs: int = 2,
        pages: Path | None = None) -> dict:  # fmt: skip
    """All rows, and the seconds that it took. `compiled`: a folder for compiled programs; `pages`: one for feedback.

    Raises:
        Refused: no hand-in has `only` in its name, or one is not as specified.
    """
    start = time.monotonic()
    setting = Setting(limits(course.config()), (course.root,), contained, compiled)
    with workers(jobs) as pool:
        rows = [
            row for lab in labs for row in run_lab(course, lab, only, setting, singly, pool, pages)
        ]
    if not rows:
        raise Refused(f"no hand-in has {only!r} in its name")
    return {
        "seconds": round(time.monotonic() - start, 1),
        "contained": contained,
        "rows": [asdict(row) | {"ok": row.ok} for row in rows],
    }


def table(result: dict) -> str:
    """One line a hand-in, and what differs from what it says."""
    lines = []
    for row in result["rows"]:
        name = f"{row['lab']:16} {row['kind']}/{row['name']}"
        points, said = f"{row['points']:g}/{row['of']:g}", "ok  " if row["ok"] else "FAIL"
        beside = f"  beside {len(row['beside'])}" if row["beside"] else ""
        lines.append(f"{said} {name:58} {points:>7} {row['seconds']:6.1f} s{beside}")
        if not row["ok"]:
            lines.append(explain(row))
    bad = sum(not row["ok"] for row in result["rows"])
    lines.append(f"{len(result['rows'])} hand-ins, {bad} not as expected, {result['seconds']} s")
    return "\n".join(lines)


def explain(row: dict) -> str:
    """What a hand-in should have lost, what it lost, and why."""
    expected, lost = row["expected"] or "nothing", row["lost"] or "nothing"
    lines = [f"expected to lose {expected}, lost {lost}"]
    lines += [f"{cell}: {why}" for cell, why in row["reasons"].items()] + row["problems"]
    return "\n".join(f"       {line}" for line in lines)


def write(result: dict, path: Path) -> None:
    """The whole result as JSON, and its table as CSV beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    head = ["lab", "kind", "name", "points", "of", "ok", "expected", "lost", "seconds"]
    rows = [
        {name: ", ".join(v) if isinstance(v := row[name], list) else v for name in head}
        for row in result["rows"]
    ]
    report.write_csv(path.with_suffix(".csv"), head, rows)

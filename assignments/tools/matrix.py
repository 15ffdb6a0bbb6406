"""Test the graders: right hand-ins have full marks, wrong ones lose points in exactly the cells that they name.

Tests do not depend on each other's tasks, so that wrong hand-ins of different tasks are put into one notebook, which
has to lose what they lose together. Where it does not, each of them is run by itself.
"""

import json
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nbformat import NotebookNode, v4

from tools import feedback, handins, report
from tools.course import Course, Refused, Template, read_template
from tools.execute import Setting, limits, warm
from tools.grade import Graded, alone, grade_many, workers
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


@dataclass(frozen=True)
class Group:
    """Hand-ins of one notebook."""

    lab: Template
    setting: Setting
    made: list[Handin]


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


def run_groups(groups: list[Group], pool: Executor, pages: Path | None) -> list[Row]:
    """Grade groups; those that are not as expected are taken apart and graded again."""
    todo = [
        (group.lab, str(number), notebook(group.made, group.lab), group.setting)
        for number, group in enumerate(groups)
    ]
    rows, apart = [], []
    for graded in grade_many(todo, pool):
        group = groups[int(graded.name)]
        if pages:
            write_feedback(group.made, graded, group.lab, pages)
        found = rows_of(group.made, graded, group.lab)
        rows += found or []
        apart += [] if found else [replace(group, made=[one]) for one in group.made]
    return rows + (run_groups(apart, pool, pages) if apart else [])


def read_lab(course: Course, lab: str) -> Template:
    """A lab as released now, made in a copy of the course."""
    with tempfile.TemporaryDirectory() as scratch:
        copied = copy_of(course, [lab], Path(scratch))
        generate(copied, lab, database=False)
        return read_template(copied, lab)


def run(course: Course, labs: Iterable[str], only: str = "", *, compiled: Path,
        contained: bool = True, singly: bool = False, jobs: int = 2,
        pages: Path | None = None) -> dict:  # fmt: skip
    """All rows, and the seconds that it took. `only`: hand-ins whose `right/name` or `wrong/name` contains it;
    `compiled`: a folder for compiled programs; `pages`: one for feedback.

    Raises:
        Refused: no hand-in has `only` in its name, or one is not as specified.
    """
    start = time.monotonic()
    setting = Setting(limits(course.config()), (course.root,), contained, compiled)
    made = {}
    for template in (read_lab(course, lab) for lab in labs):
        all_of_lab = [
            *handins.built_in(template),
            *handins.read_all(course.root / "handins", template.lab),
        ]
        if some := [one for one in all_of_lab if only in f"{one.kind}/{one.name}"]:
            made[template.lab] = template, some
    if not made:
        raise Refused(f"no hand-in has {only!r} in its name")
    with workers(jobs) as pool:
        # Labs do not wait for each other: a worker is idle only at the very end.
        warming = [pool.submit(alone, warm, lab, setting) for lab, _ in made.values()]
        groups = [
            Group(lab, warmed.result(), group)
            for (lab, some), warmed in zip(made.values(), warming, strict=True)
            for group in ([[one] for one in some] if singly else packed(some))
        ]
        # Right ones are graded first: they take longest.
        rows = run_groups(sorted(groups, key=lambda group: group.made[0].kind), pool, pages)
    order = [(one.lab, one.kind, one.name) for _, some in made.values() for one in some]
    rows.sort(key=lambda row: order.index((row.lab, row.kind, row.name)))
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

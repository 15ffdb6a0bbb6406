"""Right hand-ins of every lab have full marks; wrong ones lose points in exactly the test cells that they name."""

import os
import sys
from pathlib import Path

import pytest
from tools import contain, matrix
from tools.course import Course
from tools.handins import read_all

ROOT = Path(__file__).parents[2]
COURSE = Course(ROOT / "assignments")
# Elsewhere, and where a machine forbids a sandbox and it was said so, our own hand-ins run plainly.
CONTAINED = sys.platform == "linux" and os.environ.get("IMGBOOK_UNCONTAINED") != "1"
CASES = [
    (lab, f"{kind}/{name}")
    for lab in COURSE.labs()
    for kind, name in [
        ("right", "(teacher)"),
        ("wrong", "(untouched)"),
        *((one.kind, one.name) for one in read_all(COURSE.root / "handins", lab)),
    ]
]


@pytest.fixture(scope="session")
def rows() -> dict[tuple[str, str], dict]:
    """All hand-ins, graded once, two at a time; the table is printed and kept."""
    assert not CONTAINED or contain.containment_available() == []
    built = ROOT / "_build" / "classroom"
    where = {"compiled": built / "compiled", "pages": built / "feedback"}
    result = matrix.run(COURSE, COURSE.labs(), contained=CONTAINED, **where)
    matrix.write(result, built / "matrix.json")
    print(matrix.table(result))
    return {(row["lab"], f"{row['kind']}/{row['name']}"): row for row in result["rows"]}


@pytest.mark.parametrize(("lab", "name"), CASES)
def test_hand_in(rows, lab, name):
    row = rows[lab, name]
    assert row["lost"] == row["expected"], matrix.explain(row)


def test_table_and_feedback_are_written(rows):
    built = ROOT / "_build" / "classroom"
    assert (built / "matrix.csv").read_text(encoding="utf-8-sig").count("\n") == len(rows) + 1
    for lab in COURSE.labs():
        page = (built / "feedback" / lab / "right-teacher.html").read_text(encoding="utf-8")
        assert f"{lab}: right, (teacher)" in page
        assert "BEGIN HIDDEN" not in page


@pytest.mark.parametrize("lab", COURSE.labs())
def test_there_are_enough_hand_ins(lab):
    made = read_all(COURSE.root / "handins", lab)
    assert sum(one.kind == "right" for one in made) >= 3
    assert sum(one.kind == "wrong" for one in made) >= 10


@pytest.mark.parametrize("lab", COURSE.labs())
def test_first_scores_of_right_hand_ins_are_recorded(lab):
    """How many points a right solution got before any test was changed for it."""
    for one in read_all(COURSE.root / "handins", lab):
        if one.kind == "right":
            assert "score" in one.header, f"{lab}/right/{one.name}: `# score: got/of`"

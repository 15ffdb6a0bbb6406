"""Student versions: current, without solutions, hidden tests and outputs, with stubs that stop politely."""

import json
import re
from pathlib import Path

import demo
import nbformat
import pytest
from tools import release
from tools.course import Course, Refused, kind_of

COURSE = Course(Path(__file__).parents[2] / "assignments")
LABS = COURSE.labs()


def test_a_student_version_has_no_solution_no_hidden_test_and_no_output(released):
    text = released.student(demo.LAB).read_text()
    for secret in ("return x * x", "SOLUTION", "HIDDEN", demo.SECRET, "no sign", "sum(range"):
        assert secret not in text
    assert text.count("raise NotImplementedError()") == 3
    assert "YOUR ANSWER HERE" in text
    assert "expected 9" in text  # visible checks stay


def test_student_versions_are_the_same_bytes_each_time(released, tmp_path):
    again = demo.course(tmp_path)
    release.release(again, [demo.LAB])
    assert again.student(demo.LAB).read_bytes() == released.student(demo.LAB).read_bytes()


def test_a_changed_source_makes_the_student_version_stale(tmp_path):
    course = demo.course(tmp_path)
    assert release.stale(course, [demo.LAB]) == [demo.LAB], "there is none yet"
    release.release(course, [demo.LAB])
    assert release.stale(course, [demo.LAB]) == []
    source = course.source(demo.LAB)
    source.write_text(source.read_text().replace("Write `halve`.", "Please write `halve`."))
    assert release.stale(course, [demo.LAB]) == [demo.LAB]
    source.write_text(source.read_text().replace("return x / 2", "return x * 0.5"))  # a solution
    release.release(course, [demo.LAB])
    source.write_text(source.read_text().replace("return x * 0.5", "return x / 2.0"))
    assert release.stale(course, [demo.LAB]) == []


def test_a_broken_source_is_refused_with_nbgraders_reason(tmp_path):
    course = demo.course(tmp_path)
    source = course.source(demo.LAB)
    source.write_text(source.read_text().replace("### END SOLUTION", "### the end", 1))
    with pytest.raises(Refused, match=f"{demo.LAB}: .*no end solution statement found"):
        release.generate(course, demo.LAB, database=False)


def test_the_beginning_of_a_name_is_enough_and_an_unknown_one_is_refused(released):
    assert released.lab("lab0") == demo.LAB
    with pytest.raises(Refused, match="'lab7' names 0 labs; allowed: lab0-demo"):
        released.lab("lab7")


# --- the labs of this checkout --------------------------------------------------------------------------------


def test_committed_student_versions_are_current():
    assert release.stale(COURSE, LABS) == [], "run: python assignments/classroom.py release"


def test_there_are_no_other_student_versions():
    assert sorted(path.stem for path in (COURSE.root / "student").glob("*.ipynb")) == LABS


@pytest.mark.parametrize("lab", LABS)
def test_student_versions_give_nothing_away(lab):
    given = COURSE.student(lab).read_text(encoding="utf-8")
    source = nbformat.read(COURSE.source(lab), as_version=4)
    notebook = json.loads(given)
    assert not re.search(r"BEGIN (SOLUTION|HIDDEN|MARK)|END (SOLUTION|HIDDEN|MARK)", given)
    assert all(
        not cell.get("outputs") and not cell.get("execution_count") for cell in notebook["cells"]
    )
    there = {
        line.strip() for cell in notebook["cells"] for line in "".join(cell["source"]).splitlines()
    }
    for cell in source.cells:
        inside = False
        for line in cell.source.splitlines():
            inside = (
                inside if not re.search("(BEGIN|END) (SOLUTION|HIDDEN)", line) else "BEGIN" in line
            )
            long = inside and len(line.strip()) > 30 and "BEGIN" not in line
            assert not (long and line.strip() in there), f"{lab}: {line}"


@pytest.mark.parametrize("lab", LABS)
def test_sources_are_committed_without_outputs_and_sum_to_twenty_points(lab):
    source = nbformat.read(COURSE.source(lab), as_version=4)
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    graded = [
        c.metadata.nbgrader for c in source.cells if c.metadata.get("nbgrader", {}).get("grade")
    ]
    assert sum(marks.points for marks in graded) == 20
    assert len({marks.grade_id for marks in graded}) == len(graded)
    assert {"code", "test", "answer"} <= {kind_of(cell) for cell in source.cells}

"""Hand-ins are run and scored, bad ones beside good ones, and the gradebook has what came of it."""

import copy
import csv
import shutil
import sys

import classroom
import demo
import nbformat
import pytest
from click.testing import CliRunner
from nbformat import v4
from nbgrader.api import Gradebook
from tools import collect, contain, driver, execute, grade, gradebook, handins, matrix, report
from tools.course import Course, Refused

CAN_CONTAIN = sys.platform == "linux" and not contain.containment_available()
SETTING = execute.Setting(contain.Limits(cell_seconds=10, notebook_seconds=60))


# --- scores, without kernels ----------------------------------------------------------------------------------


def scored(lab, outputs: dict[str, list]) -> grade.Graded:
    """The score of a notebook with these outputs of test cells."""
    notebook = v4.new_notebook(cells=[copy.deepcopy(cell.full_cell) for cell in lab.cells])
    for cell, given in zip(notebook.cells, lab.cells, strict=True):
        cell.metadata = copy.deepcopy(given.given_cell.metadata)
    for name, found in outputs.items():
        demo.find(notebook, name).outputs = found
    graded = grade.Graded("anna", notebook)
    grade.score(lab, graded)
    return graded


def test_scores_are_nbgraders(lab):
    error = v4.new_output("error", ename="AssertionError", evalue="no", traceback=[])
    half = v4.new_output("execute_result", {"text/plain": "0.5"})
    graded = scored(lab, {"square-tests": [error], "halve-tests": [half]})
    assert graded.scores == {"square-tests": 0, "halve-tests": 0.5, "run-tests": 1, "why": None}
    assert graded.points == 1.5
    assert graded.reasons == {
        "square-tests": "AssertionError: no",
        "halve-tests": "part of the points",
    }


def test_a_failure_of_the_grader_costs_one_hand_in_and_is_named(lab, solved, monkeypatch):
    def broken(*_):
        raise ValueError("control")

    monkeypatch.setattr(grade, "run", broken)
    graded = grade.grade_notebook(lab, "anna", solved(), SETTING)
    assert set(graded.scores.values()) == {0.0}
    assert [str(problem) for problem in graded.problems] == ["not graded: ValueError: control"]


def test_a_sandbox_that_does_not_work_is_nobodys_fault(lab, solved, monkeypatch):
    def broken(*_):
        raise contain.ContainmentError("control")

    monkeypatch.setattr(grade, "run", broken)
    with pytest.raises(contain.ContainmentError, match="control"):
        list(grade.grade_many([(lab, "anna", solved(), SETTING)], grade.workers(1)))


def test_without_a_sandbox_nothing_runs_unless_asked_for(monkeypatch):
    monkeypatch.setattr(contain, "containment_available", lambda: ["bwrap is missing: install it"])
    with pytest.raises(Refused, match=r"bwrap is missing: install it\. --uncontained runs them"):
        execute.check_sandbox()


def test_limits_are_read_from_the_course(released):
    config = released.config()
    config.ContainedExecute.cell_seconds = 7
    config.ContainedExecute.hide = ["not a limit"]
    assert execute.limits(config).cell_seconds == 7
    assert execute.limits(config, cell_seconds=8).cell_seconds == 8


def test_spreadsheets_compute_nothing(tmp_path):
    path = tmp_path / "x.csv"
    report.write_csv(path, ["a", "b"], [{"a": "=1+1", "b": -1}, {"a": "@x", "b": ""}])
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    assert rows == [["a", "b"], ["'=1+1", "-1"], ["'@x", ""]]


# --- made hand-ins --------------------------------------------------------------------------------------------

RIGHT = """# who: a test
# score: 6/6
# %% square
def square(x):
    return x**2
# %% halve
def halve(x):
    return x * 0.5
# %% run
total = 10
# %% [markdown] why
# Because.
"""


def made(tmp_path, kind: str, text: str) -> handins.Handin:
    path = tmp_path / demo.LAB / kind / "x.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return handins.read(path, demo.LAB, kind)


def test_a_right_hand_in_is_put_into_the_students_notebook(lab, tmp_path):
    notebook = handins.notebook(made(tmp_path, "right", RIGHT), lab)
    assert demo.find(notebook, "square").source == "def square(x):\n    return x**2"
    assert demo.find(notebook, "why").source == "Because."
    assert "HIDDEN" not in demo.find(notebook, "square-tests").source


def test_a_wrong_hand_in_is_the_teachers_but_for_its_blocks(lab, tmp_path):
    text = "# loses: square-tests\n# why: doubled\n# %% square\ndef square(x):\n    return 2 * x\n"
    handin = made(tmp_path, "wrong", text)
    assert (handin.loses, handin.header["why"]) == ({"square-tests"}, "doubled")
    notebook = handins.notebook(handin, lab)
    assert "2 * x" in demo.find(notebook, "square").source
    assert "return x / 2" in demo.find(notebook, "halve").source


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("right", RIGHT.replace("# %% run\n", ""), r"writes \['run'\] too"),
        ("right", RIGHT + "# %% unknown\nx = 1\n", r"no cell \['unknown'\]"),
        ("right", RIGHT + "# %% square\nx = 1\n", "each once"),
        ("wrong", "# %% square\nx = 1\n", "loses"),
        ("wrong", "# loses: a-tests\n# %% square\nx = 1\n", r"no test cell \['a-tests'\]"),
        ("wrong", "# loses: none\n", "blocks"),
    ],
)
def test_hand_ins_that_are_not_as_specified_are_refused(lab, tmp_path, kind, text, reason):
    with pytest.raises(Refused, match=reason):
        handins.notebook(made(tmp_path, kind, text), lab)


# --- runs, with kernels ---------------------------------------------------------------------------------------


def broken_in_many_ways(given, solved) -> dict[str, nbformat.NotebookNode]:
    """Hand-ins by student."""
    early = solved()
    early.cells.insert(0, v4.new_code_cell("import a_module_that_is_not_there\n"))
    warns = solved(
        square="import sys\ndef square(x):\n    print('careful', file=sys.stderr)\n    return x * x\n"
    )
    cheat = solved(square="def square(x):\n    return 9\n")
    demo.find(cheat, "square-tests").source = "pass"
    leaves = solved(square="def square(x):\n    raise SystemExit\n")
    dies = solved(halve="import os\ndef halve(x):\n    os._exit(3)\n")
    torn = solved(run="total = (\n")
    return {"anna": solved(), "ben": given, "cem": early, "dora": warns, "emil": cheat, "finn": leaves,
            "gus": dies, "hana": torn}  # fmt: skip


EXPECTED = {
    "anna": (3, 2, 1), "ben": (0, 0, 0), "cem": (3, 2, 1), "dora": (3, 2, 1), "emil": (0, 2, 1), "finn": (0, 2, 1),
    "gus": (3, 0, 0), "hana": (3, 2, 0), "ida": (0, 0, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def graded(released, tmp_path_factory) -> Course:
    """The course after one run of all of these."""
    root = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(released.root, root)
    course = Course(root)
    given = nbformat.read(course.release(demo.LAB), as_version=4)
    handed_in = root.parent / "in"
    handed_in.mkdir()
    made = broken_in_many_ways(given, lambda **s: demo.solve(copy.deepcopy(given), **s))
    for name, notebook in made.items():
        nbformat.write(notebook, handed_in / f"{name}.ipynb")
    (handed_in / "ida.ipynb").write_text("not a notebook")
    calls = [["collect", str(handed_in), "--lab", "lab0"], ["grade", "lab0"]]
    for call in calls:
        more = [] if CAN_CONTAIN or call[0] == "collect" else ["--uncontained"]
        result = CliRunner().invoke(classroom.main, ["--course", str(root), *call, *more])
        assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    return course


def test_each_hand_in_gets_what_it_deserves(graded):
    rows = gradebook.marks(graded, [demo.LAB])
    tests = ("square-tests", "halve-tests", "run-tests")
    points = {(row["student"], row["task"]): row["points"] for row in rows}
    found = {name: tuple(points[name, test] for test in tests) for name in EXPECTED}
    assert found == EXPECTED


def test_everything_odd_is_listed_with_its_reason(graded):
    found = {n: [str(p) for p in many] for n, many in report.problems(graded, demo.LAB).items()}
    assert "anna" not in found
    assert [text.split(" (")[0] for text in found["ben"]] == ["unfinished"] * 4
    assert "ModuleNotFoundError" in found["cem"][0]
    assert found["emil"] == ["edited (square-tests): changed: the teacher's cell takes its place"]
    assert any(text.startswith("stopped") for text in found["gus"])
    assert any("SyntaxError" in text for text in found["hana"])
    assert any("not JSON" in text for text in found["ida"])


def test_grading_one_student_again_leaves_the_others(graded, lab):
    before = gradebook.marks(graded, [demo.LAB])
    (again,) = driver.grade(graded, lab, "anna", contained=CAN_CONTAIN)
    assert again.points == 6
    assert gradebook.marks(graded, [demo.LAB]) == before
    with pytest.raises(Refused, match="no hand-in of 'nobody'; there are anna, ben"):
        list(driver.grade(graded, lab, "nobody"))


def test_marks_by_hand_come_back_from_the_table_and_outlast_grading(graded, lab, tmp_path):
    runner, table = CliRunner(), tmp_path / "answers.csv"
    start = ["--course", str(graded.root)]
    assert (
        runner.invoke(classroom.main, [*start, "answers", "lab0", "--out", str(table)]).exit_code
        == 0
    )
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["student"] for row in rows} == set(EXPECTED) - {"ida"}
    for row in rows:
        row |= {
            "points": {"anna": "1,5", "cem": "7", "dora": "x"}.get(row["student"], ""),
            "comment": "Good.",
        }
    report.write_csv(table, list(rows[0]), rows)
    result = runner.invoke(classroom.main, [*start, "marks", str(table)])
    assert result.exit_code == 1
    assert "1 marks entered" in result.output
    assert "(cem): 7 points for why; allowed: 0 to 2" in result.output
    assert "(dora)" in result.output
    list(driver.grade(graded, lab, "anna", contained=CAN_CONTAIN))
    mine = [row for row in gradebook.marks(graded, [demo.LAB]) if row["student"] == "anna"]
    assert sum(row["points"] for row in mine) == 7.5


def test_export_has_a_row_a_student_and_a_row_a_task(graded, tmp_path):
    by_student, by_task = report.export(graded, [demo.LAB], tmp_path)
    with by_student.open(encoding="utf-8-sig", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(EXPECTED)
    assert float(rows["hana"][demo.LAB]) == 5
    with by_task.open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * len(EXPECTED)


def test_nbgrader_itself_reads_the_gradebook(graded):
    with Gradebook(graded.database) as book:
        assert book.find_assignment(demo.LAB).max_score == 8
        assert book.find_submission(demo.LAB, "cem").score == 6


def test_nothing_collected_is_refused(released, lab):
    with pytest.raises(Refused, match=r"no hand-ins of lab0-demo; run: classroom\.py collect"):
        list(driver.grade(released, lab))
    assert collect.students(released, demo.LAB) == []


# --- the matrix -----------------------------------------------------------------------------------------------


def test_the_matrix_notices_a_wrong_claim(released, tmp_path):
    root = tmp_path / "course"
    shutil.copytree(released.root / "source", root / "source")
    blocks = {
        "right/plain": RIGHT,
        "wrong/doubled": "# loses: square-tests\n# %% square\ndef square(x):\n    return 3 * x\n",
        "wrong/claims": "# loses: halve-tests\n# %% square\ndef square(x):\n    return 9\n",
        "wrong/halved": "# loses: halve-tests\n# %% halve\ndef halve(x):\n    return x // 2\n",
        "wrong/edited": "# loses: none\n# %% square-tests\nassert False\n",
    }
    for name, text in blocks.items():
        path = root / "handins" / demo.LAB / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    built = {"compiled": tmp_path / "compiled", "contained": CAN_CONTAIN}
    result = matrix.run(Course(root), [demo.LAB], pages=tmp_path / "pages", **built)
    written = {path.stem for path in (tmp_path / "pages" / demo.LAB).glob("*.html")}
    assert {"right-teacher", "right-plain", "wrong-untouched", "wrong-claims"} <= written
    page = (tmp_path / "pages" / demo.LAB / "right-plain.html").read_text()
    assert "<strong>6 of 8 points</strong>" in page
    matrix.write(result, tmp_path / "matrix.json")
    table = (tmp_path / "matrix.csv").read_text(encoding="utf-8-sig").splitlines()
    assert table[0] == "lab,kind,name,points,of,ok,expected,lost,seconds"
    assert f"{demo.LAB},right,plain,6" in "\n".join(table)
    rows = {f"{row['kind']}/{row['name']}": row for row in result["rows"]}
    assert [name for name, row in rows.items() if not row["ok"]] == ["wrong/claims"]
    assert rows["wrong/claims"]["beside"] == [], "taken apart"
    assert rows["right/(teacher)"]["points"] == rows["right/plain"]["points"] == 6
    assert rows["wrong/(untouched)"]["points"] == 0
    assert "lost ['square-tests']" in matrix.table(result)
    with pytest.raises(Refused, match="no hand-in has 'nothing' in its name"):
        matrix.run(Course(root), [demo.LAB], only="nothing", **built)

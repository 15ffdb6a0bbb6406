"""What a hand-in changes in the kernel is noticed, and costs the points of the checks that can no longer be trusted."""

import sys

import hostile_hands as hands
import pytest
from nbformat import v4
from tools import contain, integrity
from tools.integrity import changes, marked, suspicious

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
PREFIXES = ("patch_", "hide_", "forge_", "hook_", "innocent_")
TRICKS = [p for p in sorted(hands.FOLDER.glob("*.py")) if p.stem.startswith(PREFIXES)]
LIMITS = contain.Limits(cell_seconds=60, notebook_seconds=200)


@needs_linux
@pytest.mark.parametrize("path", TRICKS, ids=lambda p: p.stem)
def test_tricks_are_noticed_and_nothing_else_is(path):
    hostile = hands.read(path)
    nb = hands.notebook(hostile.source)
    report = contain.contained_execute(nb, LIMITS)
    seen = f"{hostile.what}: {report} {nb.cells[3].outputs}"
    assert hands.lost(nb) == hostile.loses, seen
    assert report.status in hostile.ends or "any" in hostile.ends, seen
    assert "before-tests" not in report.tampered, seen
    if hostile.names == "none":
        assert report.tampered == {}, seen
    elif hostile.names != "any":
        for name in hostile.names.split("; "):
            assert any(found.startswith(name) for found in report.tampered["double-tests"]), (
                name,
                seen,
            )
        assert any(
            o.ename in ("Tampered", "AssertionError") for o in nb.cells[3].outputs if "ename" in o
        ), seen


@needs_linux
def test_fingerprints_of_two_fresh_kernels_are_the_same():
    """Which covers hash randomisation, addresses and the order of imports."""
    first = contain.reference_prints()
    contain.reference_prints.cache_clear()
    second = contain.reference_prints()
    assert changes(first, second) == []
    assert len(first["functions"]) > 2000


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\nassert x == 1",
        "x = 1\nassert x == 1  # comment",
        "max(1,\n    2)",
        "'é' * 2; (1 +\n 2)  # ü",
        "x = 3\nx;",
        "# nothing",
        "def f():\n    return 1\n\nf()",
        "",
    ],
)
def test_a_mark_is_left_by_the_last_line_and_changes_nothing_else(source: str):
    text, mark = marked(source)
    names: dict = {}
    exec(compile(text, "cell", "exec"), names)
    assert names[mark] == mark
    plain = marked(source)[1]
    assert plain != mark
    import ast

    before, after = ast.parse(source).body, ast.parse(text).body
    if before and isinstance(before[-1], ast.Expr):
        value = eval(ast.unparse(before[-1]), dict(names))
        assert eval(ast.unparse(after[-1]), dict(names)) == value


def test_a_failing_cell_leaves_no_mark():
    text, mark = marked("assert 1 == 2")
    names: dict = {}
    with pytest.raises(AssertionError):
        exec(text, names)
    assert mark not in names
    assert marked("not python (") == ("not python (", "")


REFERENCE = {
    "functions": {"a.f": "1", "a.g": "2", "b.f": "3"},
    "hooks": {"x": ["1"]},
    "shadows": ["open"],
}


def answer(**parts) -> dict:
    return REFERENCE | {"reached": None} | parts


def test_changes_are_named():
    assert changes(REFERENCE, answer()) == []
    # a library adds names when it is used, and one that was not imported cannot have been changed
    assert changes(REFERENCE, answer(functions={"a.f": "1", "a.g": "2", "a.new": "9"})) == []
    assert changes(REFERENCE, answer(functions={"a.f": "7", "b.f": "3"})) == [
        "a.f was replaced",
        "a.g was removed",
    ]
    assert changes(REFERENCE, answer(hooks={"x": ["1", "__main__.f"]})) == [
        "x changed (__main__.f)"
    ]
    assert changes(REFERENCE, answer(hooks={})) == ["x changed"]
    hidden = answer(shadows=["all", "open", "sum"])
    assert changes(REFERENCE, hidden, "assert all(x)") == [
        "the notebook's own `all` hides the builtin"
    ]
    assert changes(REFERENCE, hidden, "all = 1\nall") == []


@pytest.mark.parametrize(
    "text", ["", "'{}'", "1", "'[]'", "'{\"functions\": 1}'", "'" + "[" * 10**4 + "'", "x("]
)
def test_forged_answers_are_no_answers(text: str):
    assert integrity.read(text) is None


def test_suspicious_names_are_found_in_cells_of_students_only():
    source = (
        "%matplotlib inline\nimport gc\nfrom sys import settrace\nnp.testing.assert_allclose = f\n"
        "sys._getframe(1).f_locals\nIn[-1]\nclass A:\n    def __eq__(self, other):\n        return True\n"
    )
    nb = v4.new_notebook(cells=[hands.cell(source, "double"), hands.cell(source, "t", 1)])
    found = suspicious(nb)
    assert {index for index, _, _ in found} == {0}
    names = {"%", "gc", "settrace", "np.assert_allclose", "_getframe", "f_locals", "In", "__eq__"}
    assert {name for _, name, _ in found} == names


def test_a_test_cell_that_did_not_reach_its_last_line_has_no_points(monkeypatch):
    """Whatever made it end early: the kernel's other answers are as in a fresh one."""
    judge = contain.ContainedExecute()
    judge.reference, judge.report = REFERENCE, contain.ExecutionReport()
    for reached, ename in ((None, "NotReached"), ("wrong", "NotReached"), ("right", None)):
        cell = hands.cell("assert 1 == 1", "t", 1)
        cell.outputs = []
        monkeypatch.setattr(judge, "_ask", lambda mark, now=reached: (answer(reached=now), None))
        assert judge._judge(cell, "t", "right") is None
        assert [output.ename for output in cell.outputs] == ([ename] if ename else [])
    monkeypatch.setattr(judge, "_ask", lambda mark: (None, None))
    assert judge._judge(cell, "t", "right") is None
    assert cell.outputs[0].ename == "Tampered"


def test_fair_names_are_not_suspicious():
    source = "signal = np.sin(x)\nmodel.eval()\njax.jit(f).lower(x).compile()\nmodel.bias = 0\nrequests = 3"
    assert suspicious(v4.new_notebook(cells=[hands.cell(source, "double")])) == []


def test_right_solutions_are_not_suspicious():
    for path in sorted(hands.FOLDER.parents[2].glob("assignments/source/*/*.ipynb")):
        import nbformat

        assert suspicious(nbformat.read(path, 4)) == [], path

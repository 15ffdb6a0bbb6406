"""Whatever students do to a notebook, each graded cell is there once, and tests are the teacher's. No kernels."""

import copy
import random

import demo
import nbformat
import pytest
from nbformat import v4
from tools import release
from tools.course import read_template
from tools.mend import mend, unfinished

IDS = ["square", "square-tests", "halve", "halve-tests", "run", "run-tests", "why"]


def ids(notebook) -> list[str]:
    found = (cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells)
    return [name for name in found if name]


def kinds(mended) -> list[tuple[str, str]]:
    return [(problem.kind, problem.cell) for problem in mended.problems]


def index(notebook, name: str) -> int:
    return next(i for i, c in enumerate(notebook.cells) if c is demo.find(notebook, name))


def strip(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
    return notebook


def restored_tests(lab, mended) -> bool:
    full = {cell.id: cell.full for cell in lab.tests}
    return all(demo.find(mended.notebook, name).source == text for name, text in full.items())


def test_an_untouched_structure_stays(lab, solved):
    mended = mend(lab, solved())
    assert kinds(mended) == []
    assert ids(mended.notebook) == IDS
    assert restored_tests(lab, mended)
    assert demo.find(mended.notebook, "square").source == demo.DONE["square"]
    nbformat.validate(mended.notebook)


def test_cells_after_the_last_graded_one_need_not_run(lab, solved):
    mended = mend(lab, solved())
    assert ids(mended.notebook)[-1] == "why"
    assert (
        mended.to_run == len(mended.notebook.cells) - 2
    )  # the heading and the cell of the stretch task


def test_an_edited_test_is_replaced(lab, solved):
    notebook = solved()
    demo.find(notebook, "square-tests").source = "pass"
    mended = mend(lab, notebook)
    assert kinds(mended) == [("edited", "square-tests")]
    assert restored_tests(lab, mended)


def test_nothing_stands_between_tests_and_their_tools(tmp_path):
    course = demo.course(tmp_path)
    teacher = nbformat.read(course.source(demo.LAB), as_version=4)
    tools = demo.marked(v4.new_code_cell("nine = 9"), "square-tools", locked=True)
    teacher.cells.insert(index(teacher, "square-tests"), tools)
    nbformat.write(teacher, course.source(demo.LAB))
    given = nbformat.read(release.generate(course, demo.LAB, database=False), as_version=4)
    lab, notebook = read_template(course, demo.LAB), demo.solve(given)
    notebook.cells.insert(index(notebook, "square-tests"), v4.new_code_cell("nine = 0"))
    mended = mend(lab, notebook)
    order = [cell.source for cell in mended.notebook.cells]
    at = index(mended.notebook, "square-tools")
    assert order.index("nine = 0") < at == index(mended.notebook, "square-tests") - 1
    assert kinds(mended) == []


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_a_test_made_text_is_code_again(lab, solved, kind):
    notebook = solved()
    at = index(notebook, "square-tests")
    cell = notebook.cells[at]
    make = v4.new_markdown_cell if kind == "markdown" else v4.new_raw_cell
    notebook.cells[at] = make(cell.source, metadata=cell.metadata)
    mended = mend(lab, notebook)
    assert kinds(mended) == [("edited", "square-tests")]
    assert demo.find(mended.notebook, "square-tests").cell_type == "code"


@pytest.mark.parametrize("fence", ["{}", "```python\n{}\n```"])
def test_code_made_markdown_is_graded_as_code(lab, solved, fence):
    notebook = solved()
    at = index(notebook, "halve")
    cell = notebook.cells[at]
    notebook.cells[at] = v4.new_markdown_cell(fence.format(cell.source), metadata=cell.metadata)
    mended = mend(lab, notebook)
    assert kinds(mended) == [("retyped", "halve")]
    found = demo.find(mended.notebook, "halve")
    assert (found.cell_type, found.source.strip()) == ("code", demo.DONE["halve"].strip())


def test_an_answer_made_code_is_an_answer(lab, solved):
    notebook = solved()
    at = index(notebook, "why")
    notebook.cells[at] = v4.new_code_cell(
        notebook.cells[at].source, metadata=notebook.cells[at].metadata
    )
    mended = mend(lab, notebook)
    assert kinds(mended) == [("retyped", "why")]
    assert demo.find(mended.notebook, "why").cell_type == "markdown"


def test_a_deleted_test_is_put_back_after_its_work(lab, solved):
    notebook = solved()
    del notebook.cells[index(notebook, "square-tests")]
    mended = mend(lab, notebook)
    assert kinds(mended) == [("missing", "square-tests")]
    order = ids(mended.notebook)
    assert order.index("square") < order.index("square-tests") < order.index("halve")


def test_a_deleted_solution_costs_its_task_only(lab, solved):
    notebook = solved()
    del notebook.cells[index(notebook, "halve")]
    mended = mend(lab, notebook)
    assert kinds(mended) == [("missing", "halve")]
    assert mended.missing == ["halve"]
    assert "raise NotImplementedError" in demo.find(mended.notebook, "halve").source
    assert ids(mended.notebook) == IDS


def test_of_two_solutions_the_last_changed_one_counts(lab, solved, given):
    notebook = solved(square="# first")
    at = index(notebook, "square")
    second, stub = copy.deepcopy(notebook.cells[at]), copy.deepcopy(demo.find(given, "square"))
    second.source = "# second"
    notebook.cells[at + 1 : at + 1] = [second, stub]
    mended = mend(lab, notebook)
    assert kinds(mended) == [("duplicated", "square")]
    assert demo.find(mended.notebook, "square").source == "# second"
    sources = [cell.source for cell in mended.notebook.cells]
    assert "# first" not in sources
    assert stub.source not in sources, "it would undo the solution"
    assert len({cell.id for cell in mended.notebook.cells}) == len(sources)


def test_a_duplicated_test_runs_once(lab, solved):
    notebook = solved()
    at = index(notebook, "square-tests")
    notebook.cells.insert(at, copy.deepcopy(notebook.cells[at]))
    mended = mend(lab, notebook)
    assert kinds(mended) == [("duplicated", "square-tests")]
    assert ids(mended.notebook) == IDS


def test_stripped_metadata_is_restored_by_functions_and_places(lab, solved):
    mended = mend(lab, strip(solved()))
    assert ids(mended.notebook) == IDS
    assert mended.missing == []
    for name, source in demo.DONE.items():
        assert demo.find(mended.notebook, name).source == source
    assert [kind for kind, _ in kinds(mended)] == ["no marks"] + ["restored"] * 4
    assert restored_tests(lab, mended)
    assert len(mended.notebook.cells) == len(lab.cells), "no test is there twice"


def test_stripped_metadata_and_other_cells_between(lab, solved):
    notebook = strip(
        solved(square="def helper():\n    return 2\n\ndef square(x):\n    return x**helper()")
    )
    notebook.cells.insert(0, v4.new_markdown_cell("My name"))
    notebook.cells.insert(4, v4.new_code_cell("print('trying')"))
    notebook.cells.append(v4.new_code_cell("def halve(x):\n    return x / 2.0"))
    mended = mend(lab, notebook)
    assert "helper" in demo.find(mended.notebook, "square").source
    assert demo.find(mended.notebook, "halve").source == "def halve(x):\n    return x / 2.0"
    assert sorted(ids(mended.notebook)) == sorted(IDS)


def test_work_in_another_cell_is_found_where_the_given_one_was_left(lab, given):
    at = index(given, "square")
    given.cells.insert(at, v4.new_code_cell("def square(x):\n    return x * x"))
    mended = mend(lab, given)
    assert ("restored", "square") in kinds(mended)
    assert demo.find(mended.notebook, "square").source == "def square(x):\n    return x * x"
    assert sum("def square" in cell.source for cell in mended.notebook.cells) == 1


def test_a_notebook_of_something_else_gets_no_points_and_no_error(lab):
    for cells in ([], [v4.new_code_cell("x = 1")], [v4.new_markdown_cell("# Essay")] * 3):
        mended = mend(lab, v4.new_notebook(cells=copy.deepcopy(cells)))
        assert sorted(ids(mended.notebook)) == sorted(IDS)
        assert mended.missing == ["square", "halve", "run", "why"]


def test_points_and_kinds_in_the_students_metadata_do_not_count(lab, solved):
    notebook = solved()
    demo.find(notebook, "square-tests").metadata.nbgrader.points = 300
    demo.find(notebook, "halve").metadata.nbgrader.update(grade=True, points=50)
    extra = copy.deepcopy(demo.find(notebook, "run-tests"))
    extra.metadata.nbgrader.grade_id = "gift"
    notebook.cells.append(extra)
    weird = copy.deepcopy(extra)
    weird.metadata.nbgrader.grade_id = ["a", "list"]
    notebook.cells.append(weird)
    mended = mend(lab, notebook)
    marks = {
        name: demo.find(mended.notebook, name).metadata.nbgrader for name in ids(mended.notebook)
    }
    assert list(marks) == IDS
    assert [marks[name].get("points") for name in IDS] == [None, 3, None, 2, None, 1, 2]


def test_deleted_helpers_are_put_back_and_changed_ones_stay(lab, solved):
    notebook = solved()
    del notebook.cells[1]
    mended = mend(lab, notebook)
    assert kinds(mended) == [("missing", "")]
    assert mended.notebook.cells[0].source.strip() == demo.HELPERS.strip()
    notebook = solved()
    notebook.cells[1].source = demo.HELPERS.replace("SCALE = 1", "SCALE = 2")
    assert kinds(mend(lab, notebook)) == []


def test_moved_cells_keep_tests_after_the_work(lab, solved):
    notebook = solved()
    moved = notebook.cells.pop(index(notebook, "square"))
    notebook.cells.insert(index(notebook, "run-tests") + 1, moved)
    mended = mend(lab, notebook)
    order = ids(mended.notebook)
    assert order.index("square") < order.index("square-tests")
    assert sorted(order) == sorted(IDS)


def test_any_shuffled_torn_notebook_can_be_mended(lab, solved):
    for seed in range(60):
        chance = random.Random(seed)
        notebook = solved()
        for cell in notebook.cells:
            if chance.random() < 0.3:
                cell.metadata = nbformat.NotebookNode()
        cells = [c for c in notebook.cells if chance.random() < 0.8]
        cells += [copy.deepcopy(chance.choice(notebook.cells)) for _ in range(chance.randrange(4))]
        chance.shuffle(cells)
        mended = mend(lab, v4.new_notebook(cells=cells))
        order = ids(mended.notebook)
        assert sorted(order) == sorted(IDS), seed
        assert all(
            order.index(n) < order.index(f"{n}-tests") for n in ("square", "halve", "run")
        ), seed
        assert restored_tests(lab, mended)
        nbformat.validate(mended.notebook)


def test_what_is_not_done_is_named(lab, given, solved):
    left = unfinished(lab, mend(lab, given))
    assert [problem.cell for problem in left] == ["square", "halve", "run", "why"]
    assert unfinished(lab, mend(lab, solved())) == []

"""Feedback that students may read: nothing hidden in it, nothing that needs a network or runs. No kernels."""

import copy
import re
import shutil

import demo
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4
from tools import collect, driver, feedback, gradebook
from tools.collect import Problem
from tools.course import Course
from tools.grade import Graded, score
from tools.mend import mend

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
EVIL = '<script>alert(1)</script> <img src="https://example.org/x.png" onerror="alert(2)"> $x^2$'


@pytest.fixture
def course(released, tmp_path) -> Course:
    root = tmp_path / "course"
    shutil.copytree(released.root, root)
    return Course(root)


def graded_page(course, lab, notebook, errors: dict[str, tuple[str, str]]) -> str:
    """The page of a hand-in whose graded run would have ended like this."""
    path = course.submitted(lab.lab, "anna")
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    graded = Graded("anna", mend(lab, notebook).notebook)
    for name, (ename, evalue) in errors.items():
        trace = [
            f"Cell In[4], line 7\n      6 for value in (-2, 5, 7):  # {demo.SECRET}\n----> 7 {evalue}"
        ]
        error = v4.new_output("error", ename=ename, evalue=evalue, traceback=trace)
        demo.find(graded.notebook, name).outputs = [
            v4.new_output("stream", text=f"{demo.SECRET} output"),
            error,
        ]
    for cell in graded.notebook.cells:
        if cell.cell_type == "code" and not cell.outputs:
            cell.outputs = [v4.new_output("stream", text=f"carried out: {demo.SECRET}")]
    score(lab, graded)
    graded.problems = [Problem("restored", "its mark is gone: <found>", "halve")]
    driver.saved(course, lab, graded)
    (written,) = feedback.feedback(course, lab)
    assert written == course.feedback(lab.lab, "anna")
    return written.read_text(encoding="utf-8")


@pytest.fixture
def notebook(solved):
    made = solved(square="def square(x):\n    return 9\n", why=EVIL)
    made.cells[1].outputs = [
        v4.new_output("display_data", {"image/png": PICTURE}),
        v4.new_output("stream", text="what the student saw"),
    ]
    return made


def test_nothing_hidden_is_in_it(course, lab, notebook):
    text = graded_page(
        course, lab, notebook, {"square-tests": ("AssertionError", f"{demo.SECRET} message")}
    )
    assert demo.SECRET not in text
    assert "HIDDEN TESTS" not in text
    plain = BeautifulSoup(text, "html.parser").get_text()
    assert "-2.5" not in plain, "a hidden value of halve-tests"
    assert "a hidden check failed: another number than 3" in plain, "the teacher's fixed words"
    assert "expected 9" in plain
    assert "what the student saw" in plain
    assert f"data:image/png;base64,{PICTURE}" in text


def test_it_needs_no_network_and_runs_nothing(course, lab, notebook):
    text = graded_page(course, lab, notebook, {})
    soup = BeautifulSoup(text, "html.parser")
    assert soup.find_all(["script", "link", "iframe", "object"]) == []
    assert not [tag for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert [heading.text for heading in soup.find_all("h2")][-2:] == ["A question", "More"]
    policy = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert policy.startswith("default-src 'none'; img-src data:;"), "remote pictures are not loaded"
    assert not re.search(r"url\(|@import", text)
    assert len(text) < 100_000


def test_points_comments_and_remarks_are_in_it(course, lab, notebook):
    graded_page(course, lab, notebook, {"square-tests": ("ValueError", "x")})
    gradebook.set_mark(course, lab.lab, "anna", "why", 1.5, "Say <why>.")
    soup = BeautifulSoup(feedback.student_page(course, lab, "anna"), "html.parser")
    rows = [[cell.text for cell in row.find_all("td")] for row in soup.find("table").find_all("tr")]
    assert rows == [
        ["square-tests", "0 of 3 points"],
        ["halve-tests", "2 of 2 points"],
        ["run-tests", "1 of 1 points"],
        ["why", "1.5 of 2 points"],
    ]
    assert soup.find("strong").text == "4.5 of 8 points"
    assert "restored (halve): its mark is gone: <found>" in soup.text
    quotes = [quote.text for quote in soup.find_all("blockquote")]
    assert any("square-tests: 0 of 3 points" in quote for quote in quotes)
    assert any("Say" in quote for quote in quotes)


def test_an_answer_without_a_mark_says_so(course, lab, notebook):
    assert "not marked yet, of 2 points" in graded_page(course, lab, notebook, {})


def test_outputs_of_a_restored_cell_are_the_students(course, lab, notebook):
    at = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("def halve"))
    notebook.cells[at].metadata = nbformat.NotebookNode()
    notebook.cells[at].outputs = [v4.new_output("stream", text="halved here")]
    assert "halved here" in graded_page(course, lab, copy.deepcopy(notebook), {})


def test_without_hand_ins_nothing_is_written(course, lab):
    assert feedback.feedback(course, lab) == []
    assert collect.students(course, lab.lab) == []

"""A course with one small lab, released once."""

import copy
import warnings
from collections.abc import Callable

import demo
import nbformat
import pytest
from nbformat import NotebookNode
from tools import release
from tools.course import Course, Template


@pytest.fixture(autouse=True)
def _warnings_of_nbgrader():
    """nbgrader's own use of SQLAlchemy, traitlets and the clock is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course whose lab is released: to read, not to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = demo.course(tmp_path_factory.mktemp("course"))
        release.release(made, [demo.LAB])
    return made


@pytest.fixture(scope="session")
def lab(released: Course) -> Template:
    from tools.course import read_template

    return read_template(released, demo.LAB)


@pytest.fixture
def given(released: Course) -> NotebookNode:
    """A copy of the notebook that students are given."""
    return nbformat.read(released.release(demo.LAB), as_version=4)


@pytest.fixture
def solved(given: NotebookNode) -> Callable[..., NotebookNode]:
    """A maker of solved notebooks."""
    return lambda **sources: demo.solve(copy.deepcopy(given), **sources)

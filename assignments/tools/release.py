"""Versions of the labs for students, by nbgrader: without solutions, hidden tests and outputs."""

import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
import nbgrader.api
from alembic.config import Config
from alembic.script import ScriptDirectory
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.dbutil import ALEMBIC_DIR
from nbgrader.preprocessors import SaveCells

from tools.course import CONFIG, Course, Refused, Template, read_template


def schema_version() -> str:
    """The version of nbgrader's database, as its own function gives it by starting `alembic` from PATH."""
    settings = Config()
    settings.set_main_option("script_location", ALEMBIC_DIR)
    return ScriptDirectory.from_config(settings).get_current_head()


nbgrader.api.get_alembic_version = schema_version  # .venv's commands need not be on PATH


def generate(course: Course, lab: str, database: bool = True) -> Path:
    """Write release/<lab> and, with `database`, enter the lab's cells into the gradebook.

    Raises:
        Refused: nbgrader cannot make it; its reason is given.
    """
    config = course.config()
    config.CourseDirectory.assignment_id = lab
    folder = CourseDirectory(config=config)
    logger, notes = logging.Logger("nbgrader"), []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: notes.append(record.getMessage().strip())
    logger.addHandler(handler)
    maker = GenerateAssignment(coursedir=folder, config=config, log=logger)
    maker.force = True
    if not database:
        maker.no_database = True
        maker.preprocessors = [one for one in maker.preprocessors if one is not SaveCells]
    try:
        maker.start()
    except (NbGraderException, SystemExit) as error:
        traces = [note.splitlines()[-1] for note in notes if note.startswith("Traceback")]
        reason = (traces or notes or [str(error)])[0]
        raise Refused(f"{lab}: nbgrader made no version for students: {reason}") from error
    return course.release(lab)


def ensure(course: Course, lab: str) -> Template:
    """The lab's template, released anew if its source is newer."""
    source, release = course.source(lab), course.release(lab)
    database = course.root / "gradebook.db"
    current = release.exists() and release.stat().st_mtime >= source.stat().st_mtime
    if not (current and database.exists()):
        generate(course, lab)
    return read_template(course, lab)


def student_text(release: Path) -> str:
    """A student version as text: the same bytes from the same source."""
    return nbformat.writes(nbformat.read(release, as_version=4)) + "\n"


def release(course: Course, labs: Iterable[str]) -> list[Path]:
    """Write release/ and student/ of these labs; the paths of the student versions."""
    written = []
    for lab in labs:
        text = student_text(generate(course, lab))
        path = course.student(lab)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def copy_of(course: Course, labs: Iterable[str], root: Path) -> Course:
    """Another course in `root`, with the sources of these labs and nothing else."""
    for lab in labs:
        shutil.copytree(course.source(lab).parent, root / "source" / lab)
    if (course.root / CONFIG).exists():
        shutil.copy(course.root / CONFIG, root / CONFIG)
    return Course(root)


def stale(course: Course, labs: Iterable[str]) -> list[str]:
    """The labs whose committed student version is not what their source gives."""
    labs = list(labs)
    with tempfile.TemporaryDirectory() as folder:
        fresh = copy_of(course, labs, Path(folder))
        return [lab for lab in labs if not is_current(course, fresh, lab)]


def is_current(course: Course, fresh: Course, lab: str) -> bool:
    path = course.student(lab)
    new = student_text(generate(fresh, lab, database=False))
    return path.exists() and path.read_text(encoding="utf-8") == new

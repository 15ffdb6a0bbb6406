"""Feedback for students, one HTML file each: readable without a network, and without anything hidden.

nbgrader's own page loads scripts from other hosts; this one has none, and forbids what a hand-in might bring.
"""

import html
from pathlib import Path

import bleach
import nbformat
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode, v4
from nbgrader.api import Gradebook, MissingEntry
from pygments.formatters import HtmlFormatter

from tools import collect
from tools.collect import Problem
from tools.course import Course, Template
from tools.grade import read_handin
from tools.hidden import feedback_copy
from tools.mend import mend

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
TAGS = """a abbr b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i img li ol p pre s span strong sub sup
table tbody td tfoot th thead tr ul"""  # of Markdown; everything else is shown as it was typed
ATTRIBUTES = {
    "*": ["class", "id"],
    "a": ["href"],
    "img": ["alt", "src"],
    "td": ["align"],
    "th": ["align"],
}
STYLE = """
body { color: #1a1a1a; background: #fff; font: 16px/1.55 sans-serif; max-width: 52rem; margin: 1rem auto }
pre { background: #f5f5f5; padding: .6rem .8rem; overflow-x: auto; font: 14px/1.45 monospace; white-space: pre-wrap }
.output_wrapper pre, .jp-OutputArea pre { background: none; border-left: 3px solid #bbb }
table { border-collapse: collapse } td, th { padding: .2rem 1.2rem .2rem 0; text-align: left; vertical-align: top }
blockquote { border-left: 4px solid #0072b2; margin: 1rem 0 .3rem; padding: .1rem .8rem }
img { max-width: 100% } .prompt, .anchor-link, .jp-InputPrompt, .jp-OutputPrompt { display: none }
"""


def feedback(course: Course, lab: Template) -> list[Path]:
    """Write the feedback of every graded student of a lab."""
    written = []
    for source in sorted((course.root / "autograded").glob(f"*/{lab.lab}/{lab.lab}.ipynb")):
        student = source.parents[1].name
        path = course.feedback(lab.lab, student)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(student_page(course, lab, student), encoding="utf-8")
        written.append(path)
    return written


def student_page(course: Course, lab: Template, student: str) -> str:
    """The feedback of one student as HTML."""
    graded = nbformat.read(course.autograded(lab.lab, student), as_version=4)
    raw = read_handin(course, lab, student)
    raw = mend(lab, raw).notebook if raw else None  # cells are found as they were for grading
    marks, comments = given_marks(course, lab, student)
    notebook = annotated(feedback_copy(graded, raw), marks, comments)
    problems = [
        Problem(**one)
        for step in ("collect", "grade")
        for one in collect.read_record(course, lab.lab, step).get(student, {}).get("problems", [])
    ]
    return page(notebook, f"{lab.lab}: {student}", summary(marks, problems))


def given_marks(
    course: Course, lab: Template, student: str
) -> tuple[dict[str, tuple], dict[str, str]]:
    """Points by task (points, of, whether a mark is still to come), and comments by cell."""
    with Gradebook(course.database) as book:
        notebook = book.find_submission_notebook(lab.lab, lab.lab, student)
        by_name = {
            g.name: (g.score, g.max_score, bool(g.needs_manual_grade)) for g in notebook.grades
        }
        comments = {}
        for cell in lab.cells:
            try:
                comment = book.find_comment(cell.id, lab.lab, lab.lab, student).comment
            except MissingEntry:
                continue
            if comment:
                comments[cell.id] = comment
    return {cell.id: by_name[cell.id] for cell in lab.graded}, comments


def annotated(
    notebook: NotebookNode, marks: dict[str, tuple], comments: dict[str, str]
) -> NotebookNode:
    """The notebook with points and comments above the cells that they belong to."""
    cells = []
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        lines = []
        if name in marks:
            lines.append(f"**{name}: {said(*marks[name])}**")
        if name in comments:
            lines += comments[name].splitlines()
        if lines:
            cells.append(v4.new_markdown_cell("\n".join(f"> {line}" for line in lines)))
        cells.append(cell)
    return v4.new_notebook(cells=cells, metadata=notebook.metadata)


def said(points: float | None, of: float, is_open: bool) -> str:
    return f"not marked yet, of {of:g} points" if is_open else f"{points or 0:g} of {of:g} points"


def summary(marks: dict[str, tuple], problems: list[Problem]) -> str:
    """The table of points, and what was odd about the hand-in."""
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{said(*mark)}</td></tr>"
        for name, mark in marks.items()
    ]
    total = sum(points or 0 for points, _, _ in marks.values())
    of = sum(most for _, most, _ in marks.values())
    text = f"<p><strong>{total:g} of {of:g} points</strong></p><table>{''.join(rows)}</table>"
    if problems:
        items = "".join(f"<li>{html.escape(str(problem))}</li>" for problem in problems)
        text += f"<h2>About your file</h2><ul>{items}</ul>"
    return text


def page(notebook: NotebookNode, title: str, top: str) -> str:
    """A notebook as an HTML page without scripts, formulas as they were typed."""
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    body = bleach.clean(body, TAGS.split(), ATTRIBUTES, protocols=["data", "http", "https"])
    colours = HtmlFormatter(style="default").get_style_defs(".highlight")
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title><style>{STYLE}{colours}</style></head>\n"
        f"<body><main><h1>{name}</h1>{top}\n{body}</main></body>\n</html>\n"
    )

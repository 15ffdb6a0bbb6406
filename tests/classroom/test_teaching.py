"""The page for teachers: its weeks name pages, labs and works that exist, its commands the command's options."""

import re
import shlex
import sys
from pathlib import Path

import classroom
import pytest
import syllabus
from tools.course import Course

ROOT = Path(__file__).parents[2]
LABS = Course(ROOT / "assignments").labs()
PAGES = [ROOT / "book" / "teaching.md", ROOT / "assignments" / "README.md"]


@pytest.mark.parametrize("count", [6, 12])
def test_weeks_name_what_exists(count):
    plan = syllabus.weeks(count)
    assert len(plan) == count
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    contents = (ROOT / "_toc.yml").read_text()
    for _, pages, lab, reading in plan:
        assert all(f"book/{page}\n" in contents for page in pages), pages
        assert f"{{{reading}," in bibliography
        assert re.fullmatch(r"((begin )?lab [1-5]( due)?)?", lab)
    due = [lab.split()[1] for *_, lab, _ in plan if lab.endswith("due")]
    assert sorted(due) == ["1", "2", "3", "4", "5"]


def test_the_table_has_measured_times_only(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "book" / "syllabus.json").write_text(
        '{"6": [["a", ["x", "y"], "", "k"], ["b", ["z"], "", "k"]]}'
    )
    measured = '{"notebooks": {"x": {"quick": {"seconds": 60}}, "y": {"quick": {"seconds": 30}}}}'
    (tmp_path / "results" / "build.json").write_text(measured)
    rows = syllabus.table(6, tmp_path).splitlines()[2:]
    assert rows[0].split(" | ")[3] == "1.5 min"
    assert rows[1].split(" | ")[3] == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_of_the_guides_have_these_options(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"assignments/classroom\.py ([^`\n]+)", text)
    assert {words.split()[0] for words in found} >= set(classroom.main.commands) - {
        "marks",
        "answers",
    }
    for words in found:
        name, *rest = shlex.split(words, comments=True)
        known = {option for one in classroom.main.commands[name].params for option in one.opts}
        assert {word for word in rest if word.startswith("--")} <= known, words
    for name in re.findall(r"`--(\w+)", text):
        options = {
            o
            for c in [classroom.main, *classroom.main.commands.values()]
            for p in c.params
            for o in p.opts
        }
        assert f"--{name}" in options


def test_every_command_says_what_it_does():
    assert all(command.help for command in classroom.main.commands.values())
    assert "syllabus" in sys.modules

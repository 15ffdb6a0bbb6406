"""Every chapter has exercises with a hint, every exercise has a solution, and readers are not shown it."""

import re
from pathlib import Path

import build_book
import myst_blocks
import pytest
import repository
import yaml
from sources import BOOK, NOTEBOOKS, ROOT, lines

SOLUTIONS = sorted((BOOK / "solutions").glob("*.md"))
SOLUTION = re.compile(r"^`{3,}\{solution\} (\S+)$", re.M)
CHAPTERS = [path for path in NOTEBOOKS if path.stem[0].isdigit()]
SHORTEST = 60  # characters: a solution says how, and not only what


def text(path: Path) -> str:
    return "\n".join(line for _, line in lines(path))


def exercises(path: Path) -> dict[str, myst_blocks.Block]:
    found = [b for b in myst_blocks.blocks(text(path)) if b.kind == "directive" and b.label == "exercise"]  # fmt: skip
    return dict(zip(myst_blocks.exercises(text(path)), found, strict=True))


ALL = {label: path for path in NOTEBOOKS for label in exercises(path)}


def solutions() -> dict[str, tuple[Path, str]]:
    """Page and text of the solution to each exercise."""
    found = {}
    for path in SOLUTIONS:
        parts = SOLUTION.split(path.read_text(encoding="utf-8"))
        for label, body in zip(parts[1::2], parts[2::2], strict=True):
            assert label not in found, f"{path.relative_to(ROOT)}: {label} is solved twice"
            found[label] = path, re.split(r"^`{3,}$", body, maxsplit=1, flags=re.M)[0]
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_exercises_and_self_checks(path):
    assert len(exercises(path)) >= 5
    check = re.search(r"^### Check yourself$(.*?)^#", text(path), re.M | re.S)
    assert check, f"{path.name} has no section 'Check yourself'"
    questions, _, answers = check[1].partition("{admonition} Answers\n:class: dropdown")
    counts = [len(re.findall(r"^\d+\. ", part, re.M)) for part in (questions, answers)]
    assert counts[0] == counts[1] >= 5, f"{path.name}: {counts[0]} questions, {counts[1]} answers"


@pytest.mark.parametrize("label", ALL)
def test_an_exercise_has_a_hint_and_a_solution_on_the_page_of_its_chapter(label):
    path = ALL[label]
    assert re.search(r"\{admonition\} Hint\n:class: dropdown", exercises(path)[label].text), (
        f"{path.name}: {label} has no hint"
    )
    assert label in solutions(), f"book/solutions/{path.stem}.md has no solution to {label}"
    page, body = solutions()[label]
    assert page.stem == path.stem, f"{label} is solved in {page.name}, not in {path.stem}.md"
    assert len(body.strip()) >= SHORTEST, f"{page.name}: the solution to {label} says too little"


def test_a_solution_belongs_to_an_exercise():
    assert not set(solutions()) - set(ALL)


def test_readers_get_no_solutions_and_teachers_all():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert "solutions/" not in str(toc)
    chapters = build_book.with_solutions(toc)["parts"][-1]["chapters"]
    assert sorted(c["file"] for c in chapters) == [f"book/solutions/{p.stem}" for p in SOLUTIONS]
    order = [name for name, _ in repository.pages(ROOT)]
    places = [order.index(c["file"].replace("solutions/", "")) for c in chapters]
    assert places == sorted(places)


def test_a_page_of_solutions_without_its_chapter_is_named(tmp_path):
    (tmp_path / "book" / "solutions").mkdir(parents=True)
    (tmp_path / "book" / "solutions" / "99-none.md").write_text("# None\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nparts: []\n")
    (tmp_path / "book" / "index.md").write_text("# Book\n")
    toc = yaml.safe_load((tmp_path / "_toc.yml").read_text())
    with pytest.raises(ValueError, match=r"book/solutions/99-none.md belongs to no page"):
        build_book.with_solutions(toc, tmp_path)

"""Conventions of the chapters' sources: no outputs, alt text and captions, labelled equations, short cells."""

import json
import re
from pathlib import Path

import book_site
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
PAGES = [*NOTEBOOKS, *sorted((ROOT / "book").glob("*.md"))]
DRAWS = re.compile(
    r"plotting\.(image_grid|compare_rows|curves|bars|show_tile)|plt\.(subplots|figure|plot|imshow)"
)


def cells(path: Path, kind: str) -> list[dict]:
    found = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]
    return [{**c, "source": "".join(c["source"])} for c in found]


def markdown(path: Path) -> str:
    return (
        path.read_text()
        if path.suffix == ".md"
        else "\n\n".join(c["source"] for c in cells(path, "markdown"))
    )


def test_all_chapters_are_here():
    names = [p.stem for p in NOTEBOOKS]
    chapters = ["01-background", "02-concepts", "03-gan", "04-cnn", "05-vae", "06-outlook"]
    cnn_pages = ["cnn-arithmetic", "cnn-inside", "cnn-recipe"]
    gan_pages = ["gan-failures", "gan-games", "gan-recipes"]
    assert names == [
        *chapters,
        *cnn_pages,
        "concepts-distances",
        "concepts-flax",
        "concepts-jax",
        "concepts-training",
        "corrections",
        *gan_pages,
        "outlook-flow",
        "outlook-speed",
        "own-images",
        "scaling",
        "vae-bound",
        "vae-rates",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_without_outputs(path):
    for cell in cells(path, "code"):
        assert not cell["outputs"], f"{path.name}, cell {cell['id']}: has outputs; clear them"
        assert cell["execution_count"] is None, (
            f"{path.name}, cell {cell['id']}: has an execution count"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_has_alt_text_caption_and_name(path):
    for cell in cells(path, "code"):
        if DRAWS.search(cell["source"]):
            meta = cell["metadata"].get("mystnb", {})
            where = f"{path.name}, cell {cell['id']} (draws a figure)"
            assert len(meta.get("image", {}).get("alt", "")) > 40, (
                f"{where}: metadata mystnb.image.alt is missing or short"
            )
            assert len(meta.get("figure", {}).get("caption", "")) > 20, (
                f"{where}: metadata mystnb.figure.caption is missing"
            )
            assert meta["figure"]["name"].startswith("fig-"), (
                f"{where}: metadata mystnb.figure.name must start with fig-"
            )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_begins_with_its_question_and_strip(path):
    first = cells(path, "markdown")[0]
    where = f"{path.name}, cell {first['id']} (the first)"
    assert re.match(r"# .+\n\n\*\*[^*]+\?\*\*", first["source"]), (
        f"{where}: a chapter begins with its title and its question in bold"
    )
    strip = re.search(r"```\{strip\}\n(.*?)\n```", first["source"], re.S)
    assert strip, f"{where}: has no strip (```{{strip}} with Data, You will measure, You need)"
    try:
        book_site.strip_items(strip.group(1))
    except ValueError as error:
        raise AssertionError(f"{where}: {error}") from error
    assert book_site.measured_seconds(path.stem), (
        f"{path.name}: results/build.json has no time for it; run: python scripts/measure.py"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_ends_with_its_provenance(path):
    first, last = cells(path, "code")[0], cells(path, "code")[-1]
    assert "clock = pages.start()" in first["source"], (
        f"{path.name}, cell {first['id']}: the first code cell starts the clock: clock = pages.start()"
    )
    assert last["source"].startswith(f'pages.provenance("{path.stem}", clock, '), (
        f"{path.name}, cell {last['id']}: the last code cell is pages.provenance of this chapter"
    )


def test_figure_names_and_equation_labels_are_unique():
    figures = [c["metadata"]["mystnb"]["figure"]["name"] for p in NOTEBOOKS for c in cells(p, "code")
               if "figure" in c["metadata"].get("mystnb", {})]  # fmt: skip
    labels = [label for p in PAGES for label in re.findall(r"^\$\$ \((.+)\)$", markdown(p), re.M)]
    for names in (figures, labels):
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_display_equations_are_labelled(path):
    """Every display equation stands between lines `$$` and `$$ (eq-name)`, a form that Colab shows too."""
    text = re.sub(r"```.*?```", "", markdown(path), flags=re.S)
    assert "{math}" not in text, (
        f"{path.name}: write $$ ... $$ (eq-name) and not a {{math}} directive"
    )
    open_line = None
    for number, line in enumerate(text.splitlines(), 1):
        if "$$" not in line:
            continue
        if open_line is None:
            assert line == "$$", (
                f"{path.name}, line {number} of its text: an equation must open with $$ alone: {line!r}"
            )
            open_line = number
        else:
            assert re.fullmatch(r"\$\$ \(eq-[a-z0-9-]+\)", line), (
                f"{path.name}, line {number}: no label: {line!r}"
            )
            open_line = None
    assert open_line is None, f"{path.name}: the equation opened at line {open_line} is not closed"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_are_short_and_import_the_package(path):
    code = cells(path, "code")
    assert any("from imgbook import" in c["source"] for c in code)
    for cell in code:
        assert cell["source"].count("\n") < 25, (
            f"{path.name}, cell {cell['id']}: {cell['source'].count(chr(10)) + 1} lines"
        )


def test_no_path_of_a_machine_in_what_is_committed():
    for path in [
        *PAGES,
        *(ROOT / "results").glob("*.json"),
        ROOT / "README.md",
        ROOT / "requirements.lock",
    ]:
        assert not re.search(r"/(root|home|Users|tmp)/", path.read_text()), (
            f"{path.name} names a path of a machine"
        )
    assert "://" not in (ROOT / "requirements.lock").read_text(), "the lock file holds a URL"

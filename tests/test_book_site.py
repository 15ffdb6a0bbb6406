"""The extension of the site: strips, status rows, figures in the colours of the page."""

import base64
import io
import re
from pathlib import Path

import book_site
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from jupyter_cache import get_cache
from PIL import Image

from imgbook import pages, plotting, records

CSS = Path(__file__).parents[1] / "book" / "_static" / "book.css"


def test_strip_items_continue_over_lines():
    text = "Data: digits.\nYou will measure: a share\nof samples.\nYou need: chapter 2: all of it."
    assert book_site.strip_items(text) == {
        "Data": "digits.",
        "You will measure": "a share of samples.",
        "You need": "chapter 2: all of it.",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Data: x\nYou need: y", "lacks You will measure"),
        ("Data:\nYou will measure: x\nYou need: y", "lacks Data"),
        ("Time: 3 s\nData: x", "begins with one of Data, .*not with 'Time: 3 s'"),
        ("", "lacks Data, You will measure, You need"),
    ],
)
def test_strip_says_what_is_wrong(text, said):
    with pytest.raises(ValueError, match=said):
        book_site.strip_items(text)


def run_of(chapter: str, value: float, preset: str = "quick") -> dict:
    return {
        "chapter": chapter,
        "date": "2026-01-02 03:04 UTC",
        "seconds": 61.2,
        "preset": preset,
        "value": value,
    }


def test_status_row_judges_by_the_record():
    record = records.load("vae")
    mean, _ = records.mean_and_spread(record, "negative_elbo")
    row = book_site.status_row(run_of("05-vae", mean))
    assert row[0] == "[](05-vae.ipynb)"
    assert row[2] == f"{mean:.1f}"
    assert row[4] == "inside"
    assert row[5:] == ("2026-01-02 03:04", "61 s")
    assert book_site.status_row(run_of("05-vae", 2 * mean))[4] == "**outside**"
    assert book_site.status_row(run_of("05-vae", mean, "smoke"))[4] == "not judged"
    assert book_site.status_row(run_of("01-background", 0.5))[3] == "no band"
    assert len(row) == book_site.STATUS_HEADER.splitlines()[0].count("|") - 1


@pytest.mark.parametrize(
    ("freshness", "shown"),
    [
        (("fresh", ""), "fresh"),
        (
            ("equivalent", "a | b < c (accepted today)"),
            r"equivalent: a \| b &lt; c (accepted today)",
        ),
        (("stale", "the data have changed"), "**stale**: the data have changed"),
    ],
)
def test_record_row_says_whether_a_record_still_holds(monkeypatch, freshness, shown):
    monkeypatch.setattr(records, "freshness", lambda record: freshness)
    record = records.load("vae")
    row = book_site.record_row("vae")
    assert row == ("vae", f"`{record['command']}`", record["date"], shown)
    assert len(row) == book_site.RECORDS_HEADER.splitlines()[0].count("|") - 1


def test_every_record_has_a_row():
    rows = [book_site.record_row(name) for name in records.names()]
    assert {"gan", "judge-full", "vae"} <= {row[0] for row in rows}
    assert "build" not in {row[0] for row in rows}
    lines = book_site.markdown_table(book_site.RECORDS_HEADER, rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[2].startswith(f"| {rows[0][0]} | `python -m imgbook record")


def figure_svg() -> str:
    """A figure in the book's style with every colour of its cycle, a text and a picture, as an SVG file."""
    with plt.rc_context():
        plotting.use_style()
        fig, (ax, other) = plt.subplots(1, 2, figsize=(4, 2))
        for i, color in enumerate(plotting.STYLE["axes.prop_cycle"].by_key()["color"]):
            ax.plot([0, 1], [i, i])
            ax.annotate("label", (0, i), color=plotting.label_color(color))
        plotting.show_tile(other, [[[[0.5]]]], 1, "picture")
        stream = io.StringIO()
        fig.savefig(stream, format="svg")
        plt.close(fig)
    return stream.getvalue()


def test_inline_svg_is_named_and_follows_the_style_sheet():
    svg = book_site.inline_svg(figure_svg(), "fig7", 'a "quoted" < sign & more')
    root = BeautifulSoup(svg, "html.parser").svg
    assert root["role"] == "img"
    assert root["aria-label"] == 'a "quoted" < sign & more'
    assert root["style"] == "width: 384px"  # 4 inches at 96 pixels
    ids = [element["id"] for element in root.find_all(id=True)]
    assert ids
    assert all(name.startswith("fig7-") for name in ids)
    for target in re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg):
        assert target in ids
    used = set(re.findall(r"var\((--fig-[0-9a-z]+)", svg))
    css = CSS.read_text()
    assert {"--fig-ink", "--fig-paper"} < used
    for name in used:
        assert f"{name}:" in css, f"{name} is not in book.css, so the dark theme cannot change it"
    left = set(re.findall(r"#[0-9a-f]{6}", re.sub(r"var\([^)]*\)|data:image[^\"]*", "", svg)))
    assert left <= {"#b0b0b0"}, f"{left - {'#b0b0b0'}} are the same in both themes"  # the grid


def test_an_svg_that_matplotlib_did_not_write_is_refused():
    with pytest.raises(ValueError, match="width in pt and a viewBox"):
        book_site.inline_svg('<?xml version="1.0"?><svg width="10" height="5"></svg>', "fig0", "x")


def test_style_sheet_changes_every_colour_of_figures():
    dark = CSS.read_text().partition('html[data-theme="dark"]')[2].partition("}")[0]
    for color in book_site.themed_colors():
        assert f"--fig-{color[1:]}:" in dark


def notebook(*metadata: dict) -> nbformat.NotebookNode:
    """A notebook of one cell with an output for each of these metadata."""
    outputs = [nbformat.v4.new_output("display_data", metadata=m) for m in metadata]
    cell = nbformat.v4.new_code_cell(f"{len(metadata)}", outputs=outputs, id="a")
    return nbformat.v4.new_notebook(cells=[cell])


def test_executed_runs_are_those_of_the_notebooks_as_they_are(tmp_path):
    """Sources without outputs; what their execution gave is in the cache, found by their cells."""
    folder, cache = tmp_path / "book", get_cache(tmp_path / "cache")
    folder.mkdir()
    for name in ("02-b", "01-a"):
        executed = notebook({}, {pages.RUN_KEY: {"chapter": name}})
        executed.cells[0].source = f"# {name}"
        path = folder / f"{name}.ipynb"
        nbformat.write(executed, path)
        cache.cache_notebook_file(str(path), check_validity=False)
        executed.cells[0].outputs = []
        nbformat.write(executed, path)
    runs = book_site.executed_runs(folder, tmp_path / "cache")
    assert runs == [{"chapter": "01-a"}, {"chapter": "02-b"}]
    executed.cells[0].source = "# edited since"
    nbformat.write(executed, path)
    with pytest.raises(ValueError, match=r"01-a\.ipynb has not been executed"):
        book_site.executed_runs(folder, tmp_path / "cache")


def test_a_chapter_without_provenance_is_named(tmp_path):
    path = tmp_path / "07-new.ipynb"
    nbformat.write(notebook({}), path)
    get_cache(tmp_path / "cache").cache_notebook_file(str(path), check_validity=False)
    with pytest.raises(ValueError, match=r"07-new\.ipynb has 0 calls of pages\.provenance"):
        book_site.executed_runs(tmp_path, tmp_path / "cache")


def test_the_button_beside_a_chapter_with_pages_has_a_name():
    """And a summary that has a text of its own, a part's, is left as it is."""
    given = "<li><summary><span><i></i></span></summary></li><summary><p>Part</p></summary>"
    found = book_site.with_named_toggles(lambda kind, depth: given)("sidebar", depth=2)
    names = [s.get("aria-label") for s in BeautifulSoup(found, "html.parser").select("summary")]
    assert names == ["Pages of the chapter", None]


def test_code_loses_elements_and_no_letter():
    given = '<span class="n">x</span> <span class="o">=</span><span class="w"> </span><span class="mi">1</span>'
    assert book_site.PLAIN_CODE.sub(r"\1", given) == 'x = <span class="mi">1</span>'


def test_large_bitmaps_are_files_and_small_ones_stay(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)

    def png(array: np.ndarray) -> str:
        Image.fromarray(array).save(encoded := io.BytesIO(), "PNG")
        return base64.b64encode(encoded.getvalue()).decode()

    link = 'xlink:href="data:image/png;base64,{}"'
    small, large = (link.format(png(array)) for array in (pixels[:2, :2], pixels))
    found = book_site.outsourced(
        f"<svg><image {small}/><image {large}/></svg>", tmp_path / "_images", "../_images"
    )
    (path,) = (tmp_path / "_images").iterdir()
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)  # transparent ones too
    assert f'xlink:href="../_images/{path.name}"' in found
    assert large not in found
    assert small in found

"""What the rendered smoke pages promise: alt text, mathematics served from here, no request to another host."""

import itertools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import book_site
import pytest
import repository
from bs4 import BeautifulSoup

from imgbook import pages, records

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "smoke" / "html"
PAGES = [name for name, _ in repository.pages()]
CHAPTERS = PAGES[1:]


def page(name: str) -> BeautifulSoup:
    path = HTML / f"{name}.html"
    assert path.exists(), f"{path} is missing; build the smoke pages first: make test"
    return BeautifulSoup(path.read_text(), "html.parser")


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_says_what_is_seen(name):
    article = page(name).find("article")
    alternatives = {str(i["src"]): i.get("alt", "") for i in article.find_all("img")}
    for number, svg in enumerate(article.find_all("svg", "figure")):
        alternatives[f"figure {number}"] = svg["aria-label"]
    for what, alt in alternatives.items():
        assert len(alt.strip()) > 40, f"{name}: the alt text {alt!r} of {what} says too little"


def test_every_figure_of_a_notebook_is_on_its_page():
    for name in CHAPTERS:
        path = ROOT / f"{name}.ipynb"
        if path.exists():
            notebook = json.loads(path.read_text())["cells"]
            named = [c["metadata"]["mystnb"]["image"]["alt"] for c in notebook
                     if "figure" in c["metadata"].get("mystnb", {})]  # fmt: skip
            shown = [svg["aria-label"] for svg in page(name).select("article figure svg.figure")]
            assert shown == named, f"{name}: figures on the page and in the notebook differ"


@pytest.mark.parametrize("name", PAGES)
def test_no_request_leaves_the_page(name):
    loads = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
    for tag, attribute in loads.items():
        for element in page(name).find_all(tag):
            if tag == "link" and "canonical" in (element.get("rel") or []):
                continue
            target = element.get(attribute) or ""
            assert not urlparse(target).netloc, f"{name}: <{tag}> loads {target} from another host"


@pytest.mark.parametrize("name", PAGES)
def test_links_and_files_exist(name):
    here = HTML / f"{name}.html"
    for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
        for element in page(name).find_all(tag):
            url = urlparse(element.get(attribute) or "")
            if url.scheme or url.netloc or not url.path:
                continue
            assert (here.parent / unquote(url.path)).exists(), (
                f"{name}: <{tag}> points to {url.path}, which does not exist"
            )


@pytest.mark.parametrize("name", PAGES)
def test_headings_are_in_order(name):
    article = page(name).find("article")
    levels = [int(h.name[1]) for h in article.find_all(re.compile("^h[1-6]$"))]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), (
        f"{name}: heading levels {levels}"
    )


def test_mathematics_is_rendered_by_the_vendored_script():
    body = page("book/05-vae").body
    target = HTML / "book" / body["data-katex"]  # book.js loads it after the text
    assert target.with_name("katex.min.js").stat().st_size > 200_000
    assert target.with_name("katex.min.css").stat().st_size > 20_000
    assert len(list(target.parent.glob("fonts/*.woff2"))) == 20
    assert "data-katex" not in page("book/status").body.attrs  # nothing to render there


def test_copyright_year_and_one_search_field():
    chapter = page("book/03-gan")
    assert "2026" in chapter.select_one("p.copyright").text
    assert len(chapter.select(".search-button-field")) == 1
    assert len(chapter.select("form.bd-search")) == 1


def test_tables_of_cells_are_tables():
    """Tables that cells display as Markdown arrive as HTML tables, not as text with bars in it."""
    chapter = page("book/04-cnn")
    assert len(chapter.select("article .cell_output table")) >= 3
    assert "|:--|" not in chapter.find("article").text


def test_strip_shows_the_measured_time():
    strip = page("book/03-gan").select_one("article .strip").text
    seconds = book_site.measured_seconds("03-gan")
    assert f"{seconds:.0f} seconds on two cores" in strip
    assert "You will measure" in strip


def test_status_page_lists_every_chapter():
    runs, recorded = page("book/status").select("article table")
    rows = runs.select("tbody tr")
    assert [row.find("a")["href"] for row in rows] == [f"{n}.html" for n in pages.HEADLINES]
    assert all("not judged" in row.text for row in rows)  # these are smoke pages
    rows = [row.select("td") for row in recorded.select("tbody tr")]
    assert [cells[0].get_text() for cells in rows] == records.names()
    for cells in rows:
        assert records.load(cells[0].get_text())["command"] in cells[1].get_text()


def test_chapters_offer_the_plain_notebook():
    for name in pages.HEADLINES:
        links = [a["href"] for a in page(f"book/{name}").select("a.btn-download-source-button")]
        assert links == [f"../notebooks/book/{name}.ipynb"]
        notebook = json.loads((HTML / "notebooks" / "book" / f"{name}.ipynb").read_text())
        assert notebook["cells"][0]["id"] == "colab-setup"


def test_no_button_without_an_address():
    """A repository without an address has pages without links to it, to Colab or to Binder."""
    if repository.address() is None:
        for name in PAGES:
            for word in ("github.com/", "colab.research", "mybinder.org"):
                header = page(name).select_one(".bd-header-article")
                assert word not in str(header), f"{name}: a button leads to {word}"


def test_pages_are_smoke_pages():
    """The build under test was executed at preset smoke and says so where it judges nothing."""
    assert "are not judged" in (HTML / "book" / "05-vae.html").read_text()


def test_sources_are_the_committed_notebooks():
    for name in CHAPTERS:
        path = ROOT / f"{name}.ipynb"
        if path.exists():
            built = json.loads((HTML / "_sources" / f"{name}.ipynb").read_text())
            committed = json.loads(path.read_text())
            assert [c["source"] for c in built["cells"]] == [
                c["source"] for c in committed["cells"]
            ], f"{name}: the smoke pages are older than the notebook; run make test"


def test_style_sheet_is_the_current_one():
    built, source = HTML / "_static" / "book.css", ROOT / "book" / "_static" / "book.css"
    assert built.read_text() == source.read_text()

"""The pages read completely without a network, from a web server and from a folder alike."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browsing import (
    fail_list,
    formula_problems,
    image_problems,
    open_page,
    watch,
    window,
)
from bs4 import BeautifulSoup
from playwright.sync_api import Browser
from site_config import PAGES, SITE


@pytest.mark.parametrize("name", PAGES)
def test_page_in_a_folder_is_complete_and_private(browser: Browser, bases: dict, name: str):
    """A first visit, scrolled to the end: nothing from another host, no complaint, every picture and formula; from a
    web server test_views.py looks.
    """
    with window(browser) as context:
        page = context.new_page()
        record = watch(page, bases["file"])
        open_page(page, f"{bases['file']}/{name}.html")
        problems = record.problems() + image_problems(page) + formula_problems(page)
    assert not problems, fail_list(name, problems)


def test_formulas_are_there_to_be_checked(browser: Browser, http: str):
    """The checks of formulas would also pass on pages without a formula."""
    with window(browser) as context:
        page = context.new_page()
        open_page(page, f"{http}/book/05-vae.html")
        formulas = page.locator("article .math").count()
        assert formulas >= 10
        assert page.locator("article .math .katex").count() >= formulas


@pytest.mark.parametrize("way", ["http", "file"])
def test_root_leads_to_the_book(browser: Browser, bases: dict[str, str], way: str):
    with window(browser) as context:
        page = context.new_page()
        page.goto(f"{bases[way]}/index.html")
        page.wait_for_url(re.compile(r"/book/index\.html$"), timeout=15000)
        assert page.locator("article h1").count() == 1


@cache
def links_and_anchors(path: Path) -> tuple[list[str], set[str]]:
    """What a page links to, and everything in it that a link can point to."""
    soup = BeautifulSoup(path.read_text(), "html.parser")
    names = {element["name"] for element in soup.find_all("a", attrs={"name": True})}
    ids = {element["id"] for element in soup.find_all(id=True)}
    return [element["href"] for element in soup.find_all("a", href=True)], names | ids


def dead_fragments(path: Path) -> list[str]:
    """Links of a page to a place that is not in the page they point to."""
    dead = []
    for href in links_and_anchors(path)[0]:
        url = urlsplit(href)
        if url.scheme or url.netloc or not url.fragment:
            continue
        target = (path.parent / unquote(url.path)).resolve() if url.path else path
        if target.suffix == ".html" and not (
            target.exists() and unquote(url.fragment) in links_and_anchors(target)[1]
        ):
            dead.append(href)
    return dead


@pytest.mark.parametrize("name", PAGES)
def test_links_point_to_places_that_exist(name: str):
    dead = dead_fragments(SITE / f"{name}.html")
    assert not dead, fail_list(name, [f"link to nowhere: {href}" for href in dead])

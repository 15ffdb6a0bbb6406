"""Drawn figures are read in either theme."""

import pytest
from browsing import DESKTOP, fail_list, open_page, window
from bs4 import BeautifulSoup
from figures import contrast, ink_problems, inks
from playwright.sync_api import Browser
from site_config import BOOK_PAGES, SITE

FIGURE = """
<style>
  body { background: #fff; --fig-ink: #222 }
  [data-theme=dark] body { background: #121212; --fig-ink: #ddd }
</style>
<article><svg class="figure" role="img" aria-label="A letter"><text fill="var(--fig-ink)">a</text></svg></article>
"""


def figure_count(name: str) -> int:
    """How many drawn figures a page has."""
    soup = BeautifulSoup((SITE / f"{name}.html").read_text(), "html.parser")
    return len(soup.select("svg.figure"))


# Never empty: a book without drawn figures has lost them, and the first page will say so.
COUNTS = {name: count for name in BOOK_PAGES if (count := figure_count(name))} or {BOOK_PAGES[0]: 0}


def inks_in_both(browser: Browser, url: str) -> tuple[list[dict], list[dict]]:
    """What the figures of a page look like in the light theme, and after the switch to the dark one."""
    with window(browser, DESKTOP, "light") as context:
        page = context.new_page()
        open_page(page, url, whole=False)
        light = inks(page)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        return light, inks(page)


@pytest.mark.parametrize("name", COUNTS)
def test_ink_follows_the_theme(browser: Browser, http: str, name: str):
    light, dark = inks_in_both(browser, f"{http}/{name}.html")
    assert light, f"{name}: no <svg class='figure'> in the article, nor on any other page"
    assert len(light) == COUNTS[name], f"{name}: figures outside the article"
    problems = ink_problems(light, dark)
    assert not problems, fail_list(name, problems)


def test_figure_that_follows_is_accepted(browser: Browser):
    with window(browser) as context:
        page = context.new_page()
        page.set_content(FIGURE)
        light = inks(page)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        dark = inks(page)
    assert not ink_problems(light, dark)
    assert [figure["ink"] for figure in light + dark] == [[0x22] * 3, [0xDD] * 3]


def test_contrast_is_that_of_wcag():
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert contrast([119, 119, 119], [255, 255, 255]) == pytest.approx(4.48, abs=0.01)

"""Everything on a page can be reached, seen and used without a mouse."""

import pytest
from browsing import fail_list, open_page, window
from keyboard import scroller_problems, tab_through
from playwright.sync_api import Browser
from site_config import PAGES

CODE_PAGE = "book/03-gan"


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_everything_and_shows_where_it_is(browser: Browser, http: str, name: str):
    with window(browser) as context:
        page = context.new_page()
        open_page(page, f"{http}/{name}.html")
        walk = tab_through(page)
        problems = walk.problems + scroller_problems(page)
    assert not problems, fail_list(f"{name}, {walk.stops} stops", problems)
    assert walk.stops >= 10


@pytest.mark.parametrize("name", PAGES)
def test_skip_link_is_first_and_works(browser: Browser, http: str, name: str):
    with window(browser) as context:
        page = context.new_page()
        open_page(page, f"{http}/{name}.html", whole=False)
        page.keyboard.press("Tab")
        link = page.evaluate(
            "() => { const e = document.activeElement, b = e.getBoundingClientRect();"
            " return {href: e.getAttribute('href'), seen: b.top >= 0 && b.left >= 0 && b.height > 0}; }"
        )
        assert link == {"href": "#main-content", "seen": True}, f"{name}: first stop is {link}"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#main-content') !== null"), (
            f"{name}: after the skip link the next stop is not in the main part"
        )


def test_enter_opens_and_closes_a_folded_cell(browser: Browser, http: str):
    with window(browser) as context:
        page = context.new_page()
        open_page(page, f"{http}/{CODE_PAGE}.html", whole=False)
        summary = page.locator("article details > summary").first
        summary.focus()
        is_open = "document.querySelector('article details').open"
        assert not page.evaluate(is_open), (
            f"{CODE_PAGE}: the first folded cell is open from the start"
        )
        for expected in (True, False):
            page.keyboard.press("Enter")
            assert page.evaluate(is_open) is expected, f"{CODE_PAGE}: Enter does not work on it"

"""A page that was opened and never scrolled prints whole."""

import pytest
from browsing import NOT_TYPESET, fail_list, open_page, window
from playwright.sync_api import Browser, Page
from site_config import BOOK_PAGES

# This listener comes after those of the page, so it counts what the browser is about to lay out on paper.
COUNT_AT_PRINT = f"""
() => addEventListener("beforeprint", () => {{ window.missingAtPrint = ({NOT_TYPESET})(); }})
"""
SIDE_PARTS = (
    ".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .bd-header, .prev-next-area"
)
SHOWN = "selector => [...document.querySelectorAll(selector)].filter(e => e.checkVisibility()).map(e => e.className)"


def open_at_the_top(page: Page, url: str) -> None:
    """Open a page and wait for the formulas of its first screen, and for what typesets the others."""
    open_page(page, url, whole=False)
    page.wait_for_function("() => !document.body.dataset.katex || window.katex")


@pytest.mark.parametrize("name", BOOK_PAGES)
def test_paper_has_the_whole_text_and_nothing_else(browser: Browser, http: str, name: str):
    """Formulas are typeset before the paper is laid out. Sidebars and buttons stay on the screen. Folded code is not
    printed.
    """
    with window(browser) as context:
        page = context.new_page()
        open_at_the_top(page, f"{http}/{name}.html")
        on_screen = page.evaluate(SHOWN, SIDE_PARTS)
        folded = page.locator("article details:not([open])").count()
        page.evaluate(COUNT_AT_PRINT)
        pdf = page.pdf()
        missing = page.evaluate("window.missingAtPrint")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        on_paper = page.evaluate(SHOWN, SIDE_PARTS)
        still_folded = page.locator("article details:not([open])").count()
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 20_000, f"{name}: a PDF of {len(pdf)} bytes has no text in it"
    assert missing is not None, f"{name}: beforeprint was not sent"
    assert not missing, fail_list(name, [f"not typeset when printed: {text}" for text in missing])
    assert on_screen, f"{name}: no sidebar on the screen either, so nothing was checked"
    assert not on_paper, fail_list(name, [f"printed: {classes}" for classes in on_paper])
    assert still_folded == folded, f"{name}: {folded - still_folded} folded cell(s) open on paper"


def test_paper_is_light_in_the_dark_theme(browser: Browser, http: str):
    """Code in colours for a dark page cannot be read on paper; the screen is dark again afterwards."""
    theme = "document.documentElement.dataset.theme"
    with window(browser) as context:
        page = context.new_page()
        open_at_the_top(page, f"{http}/book/03-gan.html")
        page.evaluate(f"{theme} = 'dark'")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(theme) == "light"
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(theme) == "dark"

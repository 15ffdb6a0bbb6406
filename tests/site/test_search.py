"""Search finds chapters, from a web server and from a folder."""

import pytest
from browsing import fail_list, open_page, watch, window
from playwright.sync_api import Browser, Page

CHAPTER, WORD, NO_WORD = "book/03-gan", "discriminator", "qzxqzxqzx"
WAYS = pytest.mark.parametrize("way", ["http", "file"])


def search_from(page: Page, base: str, word: str) -> None:
    """Open a chapter, press Ctrl+K, type a word, press Enter."""
    open_page(page, f"{base}/{CHAPTER}.html", whole=False)
    page.wait_for_load_state("networkidle")  # leaving would break off what still loads
    page.keyboard.press("ControlOrMeta+k")
    field = page.locator("dialog[open] input[type=search]")
    field.wait_for(timeout=15000)
    assert page.evaluate("document.activeElement.matches('dialog[open] input[type=search]')"), (
        f"{CHAPTER}: Ctrl+K opens the search, but the field has no focus"
    )
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?*", timeout=15000)


@WAYS
def test_word_of_a_chapter_is_found(browser: Browser, bases: dict[str, str], way: str):
    with window(browser) as context:
        page = context.new_page()
        record = watch(page, bases[way])
        search_from(page, bases[way], WORD)
        link = page.locator(f"#search-results li a[href*='{CHAPTER}.html']").first
        link.wait_for(timeout=15000)
        page.wait_for_load_state("networkidle")
        # The lines of context come by fetch, which no browser allows in a folder; the list itself must be there.
        problems = record.problems() if way == "http" else record.outside
        link.click()
        page.wait_for_url(f"**/{CHAPTER}.html*", timeout=15000)
    assert not problems, fail_list(f"search ({way})", problems)


@WAYS
def test_unknown_word_is_said_to_be_unknown(browser: Browser, bases: dict[str, str], way: str):
    with window(browser) as context:
        page = context.new_page()
        search_from(page, bases[way], NO_WORD)
        page.get_by_text("did not match any documents").wait_for(timeout=15000)
        assert page.locator("#search-results li").count() == 0

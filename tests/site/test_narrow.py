"""Nothing is wider than a phone, except inside parts that scroll by themselves."""

import pytest
from browsing import PHONE, SMALL_PHONE, fail_list, open_page, window
from keyboard import scroller_problems
from layout import layout_problems
from playwright.sync_api import Browser
from site_config import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(browser: Browser, http: str, name: str):
    problems = []
    with window(browser, PHONE) as context:
        page = context.new_page()
        open_page(page, f"{http}/{name}.html")
        for width, height in (PHONE, SMALL_PHONE):
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(500)  # the theme looks anew for what scrolls, a moment after
            found = layout_problems(page) + scroller_problems(page)
            problems += [f"at {width} px {problem}" for problem in found]
    assert not problems, fail_list(name, problems)

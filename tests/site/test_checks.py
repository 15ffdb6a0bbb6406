"""The checks can fail: a page with known faults is reported by the same functions."""

from collections.abc import Iterator
from pathlib import Path

import axe
import pytest
from browsing import (
    DESKTOP,
    PHONE,
    formula_problems,
    image_problems,
    is_outside,
    watch,
    window,
)
from figures import ink_problems, inks
from keyboard import scroller_problems, tab_through
from layout import layout_problems
from playwright.sync_api import Browser, Page
from server import serve
from site_config import find_chromium, find_package
from test_offline import dead_fragments

BAD = r"""<!doctype html>
<html lang="en"><head><title>Bad</title>
<style>
  #unseen:focus { outline: none }
  #hidden { opacity: 0 }
  .figure { --fig-ink: #888; }
  .wide { overflow-x: auto; width: 200px; white-space: nowrap }
  .math { position: relative }
  .eqno { position: absolute; left: 0 }
</style>
<script src="https://example.org/outside.js"></script>
</head><body><main><article><h1>Bad</h1>
<p><a href="#nowhere">to nowhere</a> <a id="unseen" href="bad.html">no focus to see</a>
<button id="hidden">hidden</button><button id="far" onfocus="this.style.display = 'none'">gone</button></p>
<img src="missing.png">
<p>Raw: \(x^2\), <span class="math">not typeset</span></p>
<div class="math"><span class="eqno">(1)</span>
  <span class="katex"><span class="katex-html">E = m</span></span></div>
<span class="math"><span class="katex-error" title="Undefined control sequence">x</span></span>
<svg class="figure" role="img" viewBox="0 0 9 9"><text style="fill: var(--fig-ink)">a</text></svg>
<pre class="wide">a line that is so long that it has to scroll in a narrow box, and then some more of it</pre>
<div style="width: 500px">wider than a phone</div>
<script>console.error("a complaint"); throw new Error("a mistake");</script>
</article></main></body></html>
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "bad.html").write_text(BAD)
    with serve(tmp_path) as base:
        yield base


@pytest.fixture
def bad(browser: Browser, address: str) -> Iterator[Page]:
    with window(browser, PHONE) as context:
        page = context.new_page()
        page.goto(f"{address}/bad.html")
        yield page


def test_record_holds_every_kind_of_fault(browser: Browser, address: str):
    with window(browser) as context:
        page = context.new_page()
        record = watch(page, address)
        page.goto(f"{address}/bad.html")
    assert record.outside == ["https://example.org/outside.js"]
    assert any("missing.png: 404" in line for line in record.failed)
    assert any("a complaint" in line for line in record.console)
    assert record.errors == ["a mistake"]
    assert len(record.problems()) >= 4


def test_pictures_and_formulas_are_reported(bad: Page):
    found = "\n".join(image_problems(bad) + formula_problems(bad))
    for fault in (
        "picture not loaded: missing.png",
        "picture without alt: missing.png",
        "figure without a name",
        "not typeset: not typeset",
        "TeX error: Undefined control sequence",
        r"raw TeX: Raw: \(x^2\)",
    ):
        assert fault in found


def test_axe_reports_rule_and_element(bad: Page):
    found = axe.violations(bad, find_package("axe-core/axe.min.js"))
    assert any(line.startswith("image-alt (critical) | img |") for line in found)


def test_keyboard_faults_are_reported(bad: Page):
    found = "\n".join(tab_through(bad).problems)
    assert 'focus cannot be seen: a#unseen "no focus to see"' in found
    assert "focus on something that is not visible: button#hidden" in found
    assert any("pre.wide" in line for line in scroller_problems(bad))


def test_layout_faults_are_reported(bad: Page):
    found = "\n".join(layout_problems(bad))
    for fault in ("the page scrolls sideways", "sticks out", "number (1) covers"):
        assert fault in found


def test_ink_that_ignores_the_theme_is_reported(bad: Page):
    found = "\n".join(ink_problems(inks(bad), inks(bad)))
    assert "in both themes" in found
    assert "contrast of the ink is 3.5" in found


def test_dead_link_is_reported(tmp_path: Path, address: str):
    assert dead_fragments(tmp_path / "bad.html") == ["#nowhere"]


@pytest.mark.parametrize(
    ("url", "outside"),
    [
        ("http://127.0.0.1:1/a.js", False),
        ("data:image/png;base64,AA", False),
        ("https://example.org/a.js", True),
        ("http://127.0.0.1:2/a.js", True),
    ],
)
def test_what_counts_as_another_host(url: str, outside: bool):
    assert is_outside(url, "http://127.0.0.1:1") is outside


def test_server_answers_as_pages_does(browser: Browser, address: str):
    with window(browser, DESKTOP) as context:
        page = context.new_page()
        headers = page.goto(f"{address}/bad.html").all_headers()
        assert headers["content-encoding"] == "gzip"
        assert headers["cache-control"] == "max-age=600"
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert page.goto(f"{address}/../outside.html").status == 404


def test_missing_browser_and_package_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"):
        find_chromium()
    with pytest.raises(FileNotFoundError, match="npm ci --prefix tests/site"):
        find_package("no-such-package/index.js")

"""Opening pages in a browser and writing down what happens; nothing here knows pytest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, Route

DESKTOP, PHONE, SMALL_PHONE = (1280, 900), (390, 844), (320, 640)
LOCAL_SCHEMES = ("data", "blob", "about")

# Transitions would make what is measured depend on the moment.
STILL = """
document.addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, ::before, ::after { transition: none !important; animation: none !important; "
    + "scroll-behavior: auto !important; }";
  document.head.append(style);
});
"""
# As the switch in the page's header stores it.
THEME = """
try {
  localStorage.setItem("mode", "%(theme)s");
  localStorage.setItem("theme", "%(theme)s");
} catch (error) { /* about:blank has no storage */ }
"""
# A formula is typeset when it comes near the screen, so a scroll waits for those that are on it. What is folded would
# never be on the screen: it is unfolded on the way.
SCREEN_IS_TYPESET = """
() => ![...document.querySelectorAll("article .math")].some(e => {
  const {top, bottom} = e.getBoundingClientRect();
  return e.checkVisibility() && bottom > 0 && top < innerHeight && !e.querySelector(".katex, .katex-error");
})
"""
SCROLL_THROUGH = f"""
async () => {{
  const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
  const typeset = {SCREEN_IS_TYPESET};
  for (const image of document.images) image.loading = "eager";
  const details = [...document.querySelectorAll("details:not([open])")].filter(e => e.querySelector(".math"));
  const toggles = [...document.querySelectorAll(".toggle-hidden")].filter(e => e.querySelector(".math"));
  details.forEach(e => {{ e.open = true; }});
  toggles.forEach(e => e.classList.remove("toggle-hidden"));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {{
    scrollTo({{top: y, behavior: "instant"}});
    await new Promise(requestAnimationFrame);
    for (let i = 0; i < 100 && !typeset(); i++) await pause(30);
  }}
  details.forEach(e => {{ e.open = false; }});
  toggles.forEach(e => e.classList.add("toggle-hidden"));
  scrollTo({{top: 0, behavior: "instant"}});
  await new Promise(requestAnimationFrame);
  await Promise.allSettled([...document.images].map(image => image.decode()));
  await document.fonts.ready;
}}
"""
# Formulas without their typeset form.
NOT_TYPESET = """
() => [...document.querySelectorAll("article .math")]
  .filter(e => !e.querySelector(".katex, .katex-error"))
  .map(e => e.textContent.trim().slice(0, 60))
"""
MATH_ERRORS = """
() => [...document.querySelectorAll(".katex-error")].map(e => e.title || e.textContent)
"""
# TeX that no formula element holds reaches the reader as it was written.
RAW_TEX = r"""
() => {
  const walker = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, text = walker.currentNode.textContent;
    if (!parent.closest("pre, code, script, style, .math") && /\\[(\[]|\$\$|\\begin\{/.test(text))
      found.push(text.trim().slice(0, 60));
  }
  return found;
}
"""


@dataclass
class Record:
    """What went wrong while a page was open."""

    outside: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Everything, a line each."""
        kinds = {
            "request to another host": self.outside,
            "failed request": self.failed,
            "console": self.console,
            "script error": self.errors,
        }
        return [f"{kind}: {line}" for kind, lines in kinds.items() for line in lines]


def is_outside(url: str, base: str) -> bool:
    """Whether a request for `url` leaves the site at `base` (an http address or a file:// folder)."""
    parts = urlsplit(url)
    return parts.scheme not in LOCAL_SCHEMES and not url.startswith(base)


def watch(page: Page, base: str) -> Record:
    """Write down requests, console lines and errors of `page`, and let no request reach another host."""
    record = Record()

    def guard(route: Route, request: Request) -> None:
        if is_outside(request.url, base):
            record.outside.append(request.url)
            route.abort()
        else:
            route.continue_()

    def failed(request: Request) -> None:
        if request.url not in record.outside:
            record.failed.append(f"{request.url}: {request.failure}")

    page.route("**/*", guard)
    page.on("requestfailed", failed)
    page.on(
        "response",
        lambda r: record.failed.append(f"{r.url}: {r.status}") if r.status >= 400 else None,
    )
    page.on(
        "console",
        lambda m: (
            record.console.append(f"{m.type}: {m.text} ({m.location.get('url', '')})")
            if m.type in ("error", "warning")
            else None
        ),
    )
    page.on("pageerror", lambda error: record.errors.append(str(error)))
    return record


@contextmanager
def window(
    browser: Browser, size: tuple[int, int] = DESKTOP, theme: str | None = None
) -> Iterator[BrowserContext]:
    """A fresh browser profile with a window of `size`, without movement; a first visit if no theme is given."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme or "light",
        reduced_motion="reduce",
    )
    if theme:
        context.add_init_script(THEME % {"theme": theme})
    context.add_init_script(STILL)
    try:
        yield context
    finally:
        context.close()


def base_of(site: Path) -> str:
    """The file:// address of a folder, without a slash at the end."""
    return site.resolve().as_uri()


def open_page(page: Page, url: str, whole: bool = True) -> None:
    """Open a page; with `whole`, scroll through it so that lazy pictures and formulas are there."""
    page.goto(url, wait_until="load")
    page.wait_for_function(SCREEN_IS_TYPESET, timeout=15_000)
    if whole:
        page.evaluate(SCROLL_THROUGH)


def image_problems(page: Page) -> list[str]:
    """Pictures that did not load or say nothing to who cannot see them."""
    return page.evaluate(
        """
        () => {
          const found = [];
          for (const i of document.images) {
            const name = i.getAttribute("src");
            if (!i.complete || !i.naturalWidth) found.push(`picture not loaded: ${name}`);
            if (!i.hasAttribute("alt")) found.push(`picture without alt: ${name}`);
          }
          for (const s of document.querySelectorAll("svg[role=img]:not([aria-hidden=true])")) {
            const ids = (s.getAttribute("aria-labelledby") ?? "").split(/\\s+/).filter(Boolean);
            const label = s.getAttribute("aria-label") || ids.map(i => document.getElementById(i)?.textContent).join("")
              || s.querySelector(":scope > title")?.textContent;
            if (!label?.trim()) found.push(`figure without a name: ${s.outerHTML.slice(0, 80)}`);
          }
          return found;
        }
        """
    )


def formula_problems(page: Page) -> list[str]:
    """Formulas that are not typeset, not valid, or not formulas at all but raw TeX."""
    kinds = {"not typeset": NOT_TYPESET, "TeX error": MATH_ERRORS, "raw TeX": RAW_TEX}
    return [f"{kind}: {text}" for kind, script in kinds.items() for text in page.evaluate(script)]


def fail_list(name: str, problems: list[str]) -> str:
    """A failure message that names the page and every problem."""
    return "\n  ".join([f"{name}: {len(problems)} problem(s)", *problems])

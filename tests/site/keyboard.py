"""Walking through a page with the Tab key."""

from dataclasses import dataclass, field

from playwright.sync_api import Page

# How an element is named in a message, and what of it can show that it has the focus. A search field may show it at
# the form around it. Radio buttons of one name are one stop.
PREPARE = """
() => {
  const focusable = "a[href], button, input, select, textarea, summary, [tabindex]";
  const name = e => {
    const text = (e.getAttribute("aria-label") || e.textContent || "").trim().replace(/\\s+/g, " ").slice(0, 40);
    const classes = [...e.classList].slice(0, 3).map(c => "." + c).join("");
    const parent = e.parentElement?.id ? `#${e.parentElement.id} > ` : "";
    return `${parent}${e.localName}${e.id ? "#" + e.id : ""}${classes} "${text}"`;
  };
  const shown = e => e.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const style = e => [e, e.closest("form")].filter(Boolean).map(x => {
    const s = getComputedStyle(x);
    const outline = s.outlineStyle === "none" || s.outlineWidth === "0px" ? "none" : s.outline;
    return `${outline}|${s.boxShadow}`;
  }).join("|");
  const stops = () => [...document.querySelectorAll(focusable)].filter(
    e => e.tabIndex >= 0 && !e.disabled && !e.closest("[inert]") && shown(e) && !e.matches("input[type=radio]")
  );
  window.walk = {name, shown, style, all: new Set(stops()), reached: new Set(), last: null};
  return walk.all.size;
}
"""
# One stop: what is wrong with it, told when the next one is reached and its look without focus is known.
STEP = """
() => {
  const now = document.activeElement, before = walk.last, problems = [];
  if (before && before.style === walk.style(before.element))
    problems.push(`focus cannot be seen: ${walk.name(before.element)}`);
  if (!now || now === document.body || walk.reached.has(now)) return {end: true, problems};
  walk.reached.add(now);
  const box = now.getBoundingClientRect();
  const inside = box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth;
  if (!walk.shown(now) || !box.width || !box.height || !inside)
    problems.push(`focus on something that is not visible: ${walk.name(now)}`);
  walk.last = {element: now, style: walk.style(now)};
  return {end: false, problems};
}
"""
REST = "() => [...walk.all].filter(e => !walk.reached.has(e) && walk.shown(e)).map(walk.name)"
# Parts of the text that scroll sideways and that a reader without a mouse could not move.
UNREACHABLE_SCROLLERS = """
() => [...document.querySelectorAll("article *")].filter(e => {
  const scrolls = ["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1;
  const focusable = [e, ...e.querySelectorAll("a[href], button, input, summary, [tabindex]")];
  return scrolls && e.checkVisibility() && !focusable.some(x => x.tabIndex >= 0);
}).map(e => `${e.localName}.${[...e.classList].join(".")} "${e.textContent.trim().slice(0, 40)}"`)
"""


@dataclass
class Walk:
    """What a walk through a page with the Tab key gave."""

    stops: int = 0
    problems: list[str] = field(default_factory=list)


def tab_through(page: Page) -> Walk:
    """Press Tab until the focus leaves the page or comes round; everything visible must have been reached."""
    expected = page.evaluate(PREPARE)
    walk = Walk()
    for _ in range(2 * expected + 50):
        page.keyboard.press("Tab")
        step = page.evaluate(STEP)
        walk.problems += step["problems"]
        if step["end"]:
            break
        walk.stops += 1
    else:
        walk.problems.append("the focus never comes to an end")
    walk.problems += [f"never reached with Tab: {name}" for name in page.evaluate(REST)]
    return walk


def unreachable_scrollers(page: Page) -> list[str]:
    """Parts of the text that scroll sideways, but only under a mouse; the pages look for them in idle moments."""
    for _ in range(25):
        page.wait_for_timeout(200)
        if not (found := page.evaluate(UNREACHABLE_SCROLLERS)):
            break
    return found


def scroller_problems(page: Page) -> list[str]:
    """Those parts, with everything unfolded."""
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    return [f"scrolls but takes no focus: {name}" for name in unreachable_scrollers(page)]

"""Measurements of where things stand on a page."""

from playwright.sync_api import Page

# A part counts as scrolling or cutting if it hides what is wider than itself; what is inside it may be of any width.
LAYOUT = """
() => {
  const found = [], width = document.documentElement.clientWidth;
  const name = e => `${e.localName}${e.id ? "#" + e.id : ""}${[...e.classList].map(c => "." + c).join("")}`
    + ` "${e.textContent.trim().replace(/\\s+/g, " ").slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > width)
    found.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} of ${width} px`);
  const article = document.querySelector("article") ?? document.querySelector("main");
  const held = e => {
    for (let p = e.parentElement; p && p !== article.parentElement; p = p.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return true;
    return false;
  };
  // For those who only listen, of no size, or the part of a root's line that is always cut off: not on the page.
  const unseen = e => e.closest(".katex-mathml, .katex .hide-tail path, .visually-hidden, .sr-only")
    || !e.checkVisibility();
  for (const e of article.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (unseen(e) || held(e) || !box.width || !box.height) continue;
    if (box.right > width + 1 || box.left < -1)
      found.push(`sticks out (${Math.round(box.left)} to ${Math.round(box.right)} of ${width} px): ${name(e)}`);
  }
  // The part of an element that the scrolling boxes around it show.
  const visible = (e, last) => {
    let {left, right, top, bottom} = e.getBoundingClientRect();
    for (let p = e.parentElement; p && p !== last.parentElement; p = p.parentElement) {
      if (getComputedStyle(p).overflowX === "visible") continue;
      const frame = p.getBoundingClientRect();
      [left, right] = [Math.max(left, frame.left), Math.min(right, frame.right)];
    }
    return {left, right, top, bottom};
  };
  for (const number of article.querySelectorAll(".eqno")) {
    const a = number.getBoundingClientRect();
    for (const math of number.parentElement.querySelectorAll(".katex-html")) {
      const b = visible(math, number.parentElement);
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1)
        found.push(`number ${number.textContent} covers ${Math.round(across)} px of ${name(number.parentElement)}`);
    }
  }
  return found;
}
"""


def layout_problems(page: Page) -> list[str]:
    """What makes the page scroll sideways, sticks out of the window, or lies over an equation."""
    return page.evaluate(LAYOUT)

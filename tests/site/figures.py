"""The ink of drawn figures: its colour in the page's theme and how well it stands out."""

from playwright.sync_api import Page

# Colours are read from a pixel of a canvas, which understands every notation that CSS has.
INK = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("article svg.figure")].map(svg => {
    const probe = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "text"));
    probe.style.fill = "var(--fig-ink)";
    const ink = getComputedStyle(probe).fill;
    probe.remove();
    const inked = [...svg.querySelectorAll("*")].filter(e => {
      const style = getComputedStyle(e);
      return e instanceof SVGGeometryElement || e instanceof SVGTextContentElement || e instanceof SVGUseElement
        ? style.fill === ink || style.stroke === ink : false;
    });
    return {
      name: svg.getAttribute("aria-label") || svg.querySelector("title")?.textContent || svg.id,
      defined: getComputedStyle(svg).getPropertyValue("--fig-ink").trim() !== "",
      ink: rgba(ink).slice(0, 3),
      background: behind(svg),
      elements: inked.length,
      written: svg.querySelector("text, use") !== null,
    };
  });
}
"""


def luminance(colour: list[int]) -> float:
    """Relative luminance of an sRGB colour as WCAG defines it."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (value / 255 for value in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[int], other: list[int]) -> float:
    """Contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def inks(page: Page) -> list[dict]:
    """For each figure: its name, its ink, what stands behind it, how many elements have it, whether it has letters."""
    return page.evaluate(INK)


def ink_problems(light: list[dict], dark: list[dict]) -> list[str]:
    """What is wrong with the ink of the figures of a page, given what `inks` says in either theme."""
    problems = []
    for one, other in zip(light, dark, strict=True):
        name = f"figure {one['name'][:60]!r}"
        if not one["defined"]:
            problems.append(f"{name}: --fig-ink is not defined")
        if one["ink"] == other["ink"]:
            problems.append(f"{name}: its ink is {one['ink']} in both themes")
        for theme, figure in (("light", one), ("dark", other)):
            if figure["written"] and not figure["elements"]:
                problems.append(f"{name}: nothing in it has the ink's colour ({theme})")
            if (ratio := contrast(figure["ink"], figure["background"])) < 4.5:
                problems.append(f"{name}: contrast of the ink is {ratio:.1f} ({theme})")
    return problems

"""What the book adds to its theme: chapter strips, a status page, figures in the colours of the page, lighter pages.

Sphinx loads this module (see _config.yml); the package does not need it.
"""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

from imgbook import pages, plotting, records

STATUS_PAGE = "book/status"
STATUS_HEADER = """| Chapter | Measure | Value | Band | Verdict | Ran (UTC) | Time |
|:--|:--|--:|:--|:--|:--|--:|"""
RECORDS_HEADER = """| Record | Command | Date | State |
|:--|:--|:--|:--|"""
RECORDS_NOTE = """The bands come from these result records. A record is stale when code that its run imports, or its
data, have changed since; equivalent when the changed code was shown to give the same numbers."""
STRIP_ITEMS = ("Data", "You will measure", "You need")
# What axe finds in the markup of docutils and MyST-NB: names that differ from the visible text, roles out of place.
REPAIRS = (
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    ('role="doc-biblioentry"', 'role="listitem"'),
    (
        '<section id="exercise-content">',
        '<section class="exercise-content">',
    ),  # the same id in each
    ('<section id="solution-content">', '<section class="solution-content">'),
)
OUTSOURCED = 4096  # bytes of a bitmap from which on it is a file of its own
# Names, operators, punctuation and space in code have the colour of the text, and are many of a page's elements.
PLAIN_CODE = re.compile(r'<span class="(?:n|nn|o|p|w)">([^<]*)</span>')
# Scripts and styles of extensions that Jupyter Book always loads and this book does not use.
UNUSED = (
    "sphinx-thebe",
    "THEBE_JS_URL",
    "design-tabs.js",
    "sphinx-design",
    "exercise.css",
    "DOCUMENTATION_OPTIONS.",
    "mathjax",
    "MathJax",
)


def strip_items(text: str) -> dict[str, str]:
    """The items of a strip: `Key: text`, continued on the lines below.

    Raises:
        ValueError: an item is missing or unknown, or a line stands before the first item.
    """
    items: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if colon and key in STRIP_ITEMS:
            items[key] = rest.strip()
        elif items:
            items[list(items)[-1]] += " " + line.strip()
        else:
            raise ValueError(
                f"a strip begins with one of {', '.join(STRIP_ITEMS)}, not with {line!r}"
            )
    if missing := [key for key in STRIP_ITEMS if not items.get(key)]:
        raise ValueError(f"the strip lacks {', '.join(missing)}")
    return items


def measured_seconds(chapter: str) -> float | None:
    """Seconds that the chapter's notebook took alone at preset quick, from results/build.json; None: not measured."""
    build = json.loads((records.folder() / "build.json").read_text(encoding="utf-8"))
    return build["notebooks"].get(chapter, {}).get("quick", {}).get("seconds")


class Strip(SphinxDirective):
    """`{strip}`: what a chapter takes and gives, on its first screen; the time is the measured one."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            items = strip_items("\n".join(self.content))
        except ValueError as error:
            raise self.error(f"{self.env.docname}: {error}") from error
        seconds = measured_seconds(Path(self.env.docname).name)
        if seconds is not None:
            items = {"Time": f"{seconds:.0f} seconds on two cores (measured)", **items}
        rows = nodes.container(classes=["strip"])
        for key, text in items.items():
            paragraph = nodes.paragraph()
            inline, messages = self.state.inline_text(text, self.lineno)
            paragraph += [nodes.strong(text=key), nodes.Text(" "), *inline, *messages]
            rows += paragraph
        return [rows]


def executed_runs(folder: Path, cache: Path) -> list[dict]:
    """What `pages.provenance` stored when the notebooks of a folder, as they are now, were executed; in their order.

    Raises:
        ValueError: a chapter was not executed, or does not end with its provenance.
    """
    executed, runs = get_cache(cache), []
    for path in sorted(folder.glob("*.ipynb")):
        try:
            notebook = executed.get_cache_bundle(executed.match_cache_file(str(path)).pk).nb
        except KeyError as error:
            raise ValueError(f"{path.name} has not been executed") from error
        outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
        found = [
            o.metadata[pages.RUN_KEY] for o in outputs if pages.RUN_KEY in o.get("metadata", {})
        ]
        if len(found) != 1:
            raise ValueError(
                f"{path.name} has {len(found)} calls of pages.provenance; it must end with one"
            )
        runs += found
    return runs


def markdown_table(header: str, rows: list[tuple[str, ...]]) -> str:
    return "\n".join([header, *("| " + " | ".join(row) + " |" for row in rows)])


def status_row(run: dict) -> tuple[str, ...]:
    """One row of the status page, see `STATUS_HEADER`."""
    headline = pages.HEADLINES[run["chapter"]]
    band, verdict = "no band", ""
    if headline.record:
        record = records.load(headline.record)
        low, high, inside = records.judge(record, headline.measure, run["value"])
        band = f"{low:{headline.format}} to {high:{headline.format}}"
        verdict = "inside" if inside else "**outside**"
    if run["preset"] != "quick":
        verdict = "not judged"
    return (
        f"[]({run['chapter']}.ipynb)",
        headline.words,
        f"{run['value']:{headline.format}}",
        band,
        verdict,
        run["date"].removesuffix(" UTC"),
        f"{run['seconds']:.0f} s",
    )


def record_row(name: str) -> tuple[str, ...]:
    """One row of the table of result records, see `RECORDS_HEADER`: when it was made, and whether it still holds."""
    record = records.load(name)
    state, why = records.freshness(record)
    shown = {"fresh": "fresh", "equivalent": "equivalent", "stale": "**stale**"}[state]
    why = escape(why, quote=False).replace("|", "\\|")  # a reason may hold anything
    return (name, f"`{record['command']}`", record["date"], f"{shown}: {why}" if why else shown)


class Status(SphinxDirective):
    """`{status}`: tables of all chapters' last runs and of all result records.

    Sphinx reads this page after all others, see `status_last`.
    """

    def run(self) -> list[nodes.Node]:
        folder = Path(self.env.srcdir, self.env.docname).parent
        try:
            runs = executed_runs(folder, Path(self.config.nb_execution_cache_path))
        except ValueError as error:
            raise self.error(str(error)) from error
        text = markdown_table(STATUS_HEADER, [status_row(run) for run in runs])
        made_with = {
            f"preset {run['preset']}, {run['device']}, imgbook {run['imgbook']}, "
            + ", ".join(f"{name} {version}" for name, version in run["versions"].items())
            for run in runs
        }
        text += "\n\n" + "\n\n".join(f"Ran with: {line}." for line in sorted(made_with))
        rows = [record_row(name) for name in records.names()]
        text += f"\n\n{RECORDS_NOTE}\n\n{markdown_table(RECORDS_HEADER, rows)}"
        box = nodes.container(classes=["status"])
        self.state.nested_parse(text.splitlines(), self.content_offset, box)
        return [box]


def status_last(app: Sphinx, env, docnames: list[str]) -> None:
    """Read the status page whenever another page is read, and after it."""
    if docnames and STATUS_PAGE in env.found_docs:
        docnames[:] = [name for name in docnames if name != STATUS_PAGE] + [STATUS_PAGE]


def themed_colors() -> list[str]:
    """The colours of figures that the style sheet may change in the dark theme, `#rrggbb` in lower case."""
    palette = plotting.STYLE["axes.prop_cycle"].by_key()["color"]
    return [color.lower() for c in palette for color in dict.fromkeys((c, plotting.label_color(c)))]


def inline_svg(text: str, prefix: str, alt: str) -> str:
    """An SVG file of Matplotlib as an element of the page, named by `alt`, its colours taken from the style sheet.

    An element of the page can follow the reader's theme; a picture from a file cannot. Ids get a prefix, because
    several figures of a page use the same.

    Raises:
        ValueError: there is no size in points or no viewBox.
    """
    text = text[text.index("<svg") :]
    size = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
    view_box = re.search(r'<svg[^>]* viewBox="([^"]+)"', text)
    if not size or not view_box:
        raise ValueError(
            "an SVG figure needs a width in pt and a viewBox, as Matplotlib writes them"
        )
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = text.replace(plotting.INK, "var(--fig-ink)").replace(plotting.PAPER, "var(--fig-paper)")
    for color in themed_colors():
        text = text.replace(color, f"var(--fig-{color[1:]}, {color})")
    # A hundredth of a point is more than any screen shows.
    text = re.sub(r'\bd="[^"]*"', lambda d: re.sub(r"(\.\d\d)\d+", r"\1", d[0]), text)
    opening = (
        f'<svg class="figure" role="img" aria-label="{escape(alt)}" viewBox="{view_box[1]}" '
        f'style="width: {float(size[1]) * 4 / 3:.0f}px" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r">\s+<", "><", re.sub(r"^<svg.*?>", opening, text, count=1, flags=re.S))


def outsourced(svg: str, folder: Path, address: str) -> str:
    """The figure with its large bitmaps as files of `folder`, which the page loads from `address` after its text.

    Text comes first to a reader on a slow line; a bitmap within the page would hold it up.
    """

    def moved(found: re.Match) -> str:
        content = base64.b64decode(re.sub(r"\s", "", found[1]))
        if len(content) < OUTSOURCED:
            return found[0]
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.webp"
        folder.mkdir(parents=True, exist_ok=True)
        # The same pixels in a third of the bytes.
        Image.open(io.BytesIO(content)).save(folder / name, lossless=True, exact=True, method=6)
        return f'xlink:href="{address}/{name}"'

    return re.sub(r'xlink:href="data:image/png;base64,([^"]+)"', moved, svg)


class InlineFigures(SphinxPostTransform):
    """Put SVG figures into the page itself, their large bitmaps beside it."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for number, image in enumerate(list(self.document.findall(nodes.image))):
            path = Path(self.env.srcdir, image["uri"])
            if path.suffix == ".svg":
                text, alt = path.read_text(encoding="utf-8"), image.get("alt", "")
                try:
                    svg = inline_svg(text, f"fig{number}", alt)
                except ValueError as error:
                    raise ExtensionError(f"{self.env.docname}, {path.name}: {error}") from error
                up = "../" * self.env.docname.count("/")
                svg = outsourced(svg, Path(self.app.outdir, "_images"), f"{up}_images")
                image.replace_self(nodes.raw("", svg, format="html"))


class NoThebe(SphinxPostTransform):
    """Remove the configuration of a kernel service that the book does not use."""

    default_priority = 901
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for node in list(self.document.findall(nodes.raw)):
            if "x-thebe-config" in node.astext() or node.astext().startswith("<script>kernelName"):
                node.parent.remove(node)


def description(doctree: nodes.document | None) -> str:
    """The first paragraph of a page in at most 160 characters, for search engines."""
    paragraph = next(iter(doctree.findall(nodes.paragraph)), None) if doctree else None
    text = " ".join((paragraph.astext() if paragraph else "").split())
    return text if len(text) <= 160 else text[:157].rsplit(" ", 1)[0] + " ..."


def asset_text(asset: object) -> str:
    """What a script or style sheet of a page is known by: its file name or its own text."""
    body = getattr(asset, "attributes", {}).get("body", "")
    return f"{getattr(asset, 'filename', asset) or ''}{body}"


def with_named_toggles(generate: Callable[..., object]) -> Callable[..., str]:
    """The theme's function for the table of contents, its button beside a chapter with pages of its own named."""

    def generated(*args: object, **options: object) -> str:
        html = str(generate(*args, **options))
        return html.replace("<summary><span", '<summary aria-label="Pages of the chapter"><span')

    return generated


def light_page(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Drop scripts and styles that the book does not use, let no script hold up the page, repair markup."""
    for old, new in REPAIRS:
        context["body"] = context.get("body", "").replace(old, new)
    context["body"] = PLAIN_CODE.sub(r"\1", context["body"])
    context["page_description"] = description(doctree)
    context["generate_toctree_html"] = with_named_toggles(context["generate_toctree_html"])
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if button.get("label") == "download-source-button" and button["text"] == ".ipynb":
                button["url"] = context["pathto"](f"notebooks/{pagename}.ipynb", 1)

    for name in ("script_files", "css_files"):
        unique = {
            asset_text(asset): asset for asset in context[name]
        }  # some extensions add theirs twice
        context[name] = [a for key, a in unique.items() if not any(word in key for word in UNUSED)]
    for script in context["script_files"]:
        if pagename == "search":  # its own scripts, in the page, wait for none of these
            script.attributes.pop("defer", None)
        elif getattr(script, "filename", None) and "async" not in script.attributes:
            script.attributes["defer"] = "defer"
    math = nodes.math, nodes.math_block
    has_math = doctree is not None and any(isinstance(n, math) for n in doctree.findall())
    if has_math:  # book.js loads its script and its style sheet once the text stands
        context["katex"] = context["pathto"]("_static/katex/katex.min", 1)


def setup(app: Sphinx) -> dict:
    app.add_directive("strip", Strip)
    app.add_directive("status", Status)
    app.add_post_transform(InlineFigures)
    app.add_post_transform(NoThebe)
    app.connect("env-before-read-docs", status_last)
    app.connect("html-page-context", light_page, priority=900)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}

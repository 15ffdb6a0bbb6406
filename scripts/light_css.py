"""One style sheet for the whole site, with the rules that some page or script can use.

The pages come with nine files of half a megabyte, most of it for things this book has not; a phone waits for all of
them before it shows a word.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import tinycss2

NAME = "site.css"
LINK = re.compile(r'[ \t]*<link\b[^>]*\brel="stylesheet"[^>]*>\n?')
# What holds no names of classes: pictures in the page, mathematics' own code, the index of words for the search.
NO_NAMES = re.compile(r"<svg.*?</svg>|data:[\w/+;,=]+", re.S)
NO_SCRIPTS = ("katex", "searchindex.js", "language_data.js", "fontawesome.js")


def pages_of(site: Path) -> list[Path]:
    """The pages; _static holds templates of the theme too."""
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def names_in(site: Path) -> set[str]:
    """Every word of the pages and their scripts: a class or id that is none of them cannot occur."""
    pages = (NO_NAMES.sub("", p.read_text(encoding="utf-8")) for p in pages_of(site))
    scripts = (
        p.read_text(encoding="utf-8")
        for p in site.rglob("*.js")
        if not any(part in p.as_posix() for part in NO_SCRIPTS)
    )
    return {name for text in (*pages, *scripts) for name in re.findall(r"[\w-]+", text)}


def usable(selector: str, names: set[str]) -> bool:
    """Whether every class and id that the selector asks for is among the names.

    What stands in parentheses, :not(.a) or :is(.a, .b), is not asked for, or not by itself.
    """
    outside, count = selector, 1
    while count:
        outside, count = re.subn(r"\([^()]*\)", "", outside)
    asked = re.findall(r"[.#]((?:[\w-]|\\.)+)", re.sub(r"\[[^\]]*\]", "", outside))
    return all(name.replace("\\", "") in names for name in asked)


def selectors(prelude: str) -> list[str]:
    """The selectors of a rule, split at the commas outside parentheses and brackets."""
    parts, depth, start = [], 0, 0
    for i, character in enumerate(prelude):
        depth += (character in "([") - (character in ")]")
        if character == "," and not depth:
            parts.append(prelude[start:i])
            start = i + 1
    return [part.strip() for part in (*parts, prelude[start:])]


def light(rules: Iterable[tinycss2.ast.Node], names: set[str]) -> str:
    """The text of the rules without comments and without what no page can use."""
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            prelude = selectors(tinycss2.serialize(rule.prelude))
            if used := [s for s in prelude if usable(s, names)]:
                kept.append(f"{','.join(used)}{{{tinycss2.serialize(rule.content).strip()}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            if text := light(inner, names):
                kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{text}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword != "charset":
            kept.append(rule.serialize())
        elif rule.type == "error":
            raise ValueError(f"a style sheet cannot be read: {rule.message}")
    return "\n".join(kept)


def with_urls_from(text: str, folder: Path, target: Path) -> str:
    """The text of a style sheet of `folder`, its relative url(...) rewritten for one in `target`."""

    def rewritten(match: re.Match) -> str:
        url = match[2]
        if re.match(r"[a-z]+:|/|#", url):
            return match[0]
        path = Path(os.path.relpath((folder / url).resolve(), target)).as_posix()
        return f"url({match[1]}{path}{match[1]})"

    return re.sub(r"url\(([\"']?)([^)\"']+)\1\)", rewritten, text)


def read(sheet: Path, names: set[str], target: Path) -> str:
    """The usable rules of a style sheet and of those it imports, for a file in the folder `target`."""
    rules = tinycss2.parse_stylesheet(
        sheet.read_text(encoding="utf-8"), skip_comments=True, skip_whitespace=True
    )
    imported, own = [], []
    for rule in rules:
        if rule.type == "at-rule" and rule.lower_at_keyword == "import":
            url = next(t.value for t in rule.prelude if t.type in ("string", "url"))
            imported.append(read((sheet.parent / url).resolve(), names, target))
        else:
            own.append(rule)
    return "\n".join([*imported, with_urls_from(light(own, names), sheet.parent, target)])


def sheets(site: Path) -> list[Path]:
    """The style sheets of all pages, in the order in which the pages load them."""
    found: dict[Path, None] = {}
    for page in sorted(pages_of(site), key=lambda p: -p.stat().st_size):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            href = re.search(r'href="([^"?]+)', link)[1]
            found.setdefault((page.parent / href).resolve())
    return list(found)


def combine(site: Path) -> Path:
    """Write _static/site.css from the style sheets of all pages, and let every page load it in their place.

    Raises:
        ValueError: a style sheet cannot be read.
    """
    site = site.resolve()
    names, static = names_in(site), site / "_static"
    texts = [read(sheet, names, static) for sheet in sheets(site)]
    (static / NAME).write_text("\n".join(texts) + "\n", encoding="utf-8")
    for page in pages_of(site):
        text = page.read_text(encoding="utf-8")
        if first := LINK.search(text):
            root = "../" * len(page.relative_to(site).parts[1:])
            one = f'<link rel="stylesheet" href="{root}_static/{NAME}" />\n'
            text = text[: first.start()] + one + LINK.sub("", text[first.start() :])
            page.write_text(text, encoding="utf-8")
    return static / NAME

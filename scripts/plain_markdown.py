"""MyST Markdown turned into the Markdown that Colab, JupyterLab and GitHub show. Nothing here reads a file.

What is not known raises ValueError with the text it found: a role that slips through would reach readers as it was
written, and nobody looks at every cell of every published notebook.
"""

import re
from dataclasses import dataclass, field

import repository
from myst_blocks import DIRECTIVES, INLINE, TITLES, Block, blocks

NOT_PLAIN_LINE = re.compile(r"[ \t]*:[ \t]+\S|[ \t]*:{3,}|\\begin\{|\[\^[^\]]+\]:")
NOT_PLAIN = re.compile(r"\{[A-Za-z][\w:.+-]*\}`|\$\$|\[\^[^\]]+\]|\]\{")
OPTION = re.compile(r":([\w-]+):[ \t]*(.*)")
STRIP_ITEM = re.compile(
    r"(Data|You will measure|You need):[ \t]*(.*)"
)  # as in book/_ext/book_site.py
ROLES = ("cite:p", "cite:t", "doc", "eq", "math", "numref", "ref", "sub", "sup", "term")


@dataclass(frozen=True)
class Work:
    """A work of the bibliography, its texts in Markdown: authors as in "Ho *et al.*", and the whole reference."""

    authors: str
    year: str
    url: str | None
    reference: str


@dataclass(frozen=True)
class Book:
    """What a chapter has to know of the others. Pages are file names, such as 03-gan.ipynb and faq.md."""

    titles: dict[str, str]
    equations: dict[str, str] = field(default_factory=dict)  # label: number, as in "3.1"
    figures: dict[str, str] = field(default_factory=dict)
    exercises: dict[str, str] = field(default_factory=dict)
    anchors: dict[str, dict[str, str]] = field(default_factory=dict)  # page: {anchor: heading}
    works: dict[str, Work] = field(default_factory=dict)  # in the order of the bibliography
    seconds: dict[str, float] = field(default_factory=dict)  # page: time to run at preset quick
    wheel: str = "imgbook-0-py3-none-any.whl"
    address: str | None = None


@dataclass(frozen=True)
class Page:
    """The page being converted; the keys it cites are collected in `cited`."""

    book: Book
    name: str
    cited: set[str] = field(default_factory=set)


def plain(source: str, page: Page, *, quoted: bool = False) -> str:
    """The text as plain Markdown; `quoted` if it will stand in a block quote. Raises ValueError for what is unknown."""
    lines: list[str] = []
    apart = False  # a block quote would take in the text that follows it without a blank line
    for block in blocks(source):
        if block.kind == "directive":
            new = directive(block, page).split("\n")
        elif block.kind == "math":
            new = equation(block, page, one_line=quoted).split("\n")
        else:
            new = (block.text if block.kind == "code" else text(block.text, page)).split("\n")
        if lines and lines[-1].strip() and new[0].strip() and (apart or block.kind == "directive"):
            lines.append("")
        lines += new
        apart = block.kind == "directive"
    return "\n".join(lines)


def text(source: str, page: Page) -> str:
    """Paragraphs, lists, tables and headings as plain Markdown."""
    for line in source.split("\n"):
        if NOT_PLAIN_LINE.match(line):
            raise ValueError(f"{line!r} has no plain form here; write a paragraph, a list or $$")
    return "".join(inline(part, page) for part in re.split(r"(\n[ \t]*\n)", source))


def inline(source: str, page: Page) -> str:
    """A paragraph as plain Markdown; code and mathematics stay as they are."""
    result, at = [], 0
    for found in INLINE.finditer(source):
        result.append(untouched(source[at : found.start()], after_element=at > 0))
        at = found.end()
        if found["role"]:
            result.append(role(found["role"], found["content"], page))
        elif found[
            "math"
        ]:  # its line breaks go: in a block quote each line would bring a sign > into the formula
            result.append(re.sub(r"[ \t]*\n[ \t]*", " ", found["math"]))
        elif found["target"] is not None:
            result.append(link(found, page))
        else:
            result.append(found[0])
    return "".join([*result, untouched(source[at:], after_element=at > 0)])


def untouched(source: str, *, after_element: bool) -> str:
    """Running text as it is. Raises ValueError if MyST would read something in it."""
    left = NOT_PLAIN.search(source)
    if left or (after_element and source.startswith("{")):
        at = left.start() if left else 0
        raise ValueError(
            f"{source[at : at + 60]!r} is MyST that has no plain form here, or a role that is not closed"
        )
    return source


def known(table: dict, key: str, what: str):
    """The entry of the table. Raises ValueError naming the key and what is allowed."""
    if key not in table:
        raise ValueError(f"unknown {what} {key!r}; known are: {', '.join(sorted(table)) or 'none'}")
    return table[key]


def role(name: str, content: str, page: Page) -> str:
    """An inline role as plain Markdown. Raises ValueError for an unknown role or target."""
    content = " ".join(content.split())
    titled = re.fullmatch(r"(.+?) ?<([^<>]+)>", content)
    title, target = (titled[1], titled[2]) if titled else ("", content)
    book = page.book
    match name:
        case "cite:p" | "cite:t":
            return cite(content.split(","), page, textual=name == "cite:t")
        case "eq":
            return f"({known(book.equations, content, 'equation')})"
        case "numref":
            number = known(book.figures, target, "figure")
            return (title or "Fig. %s").replace("%s", number).replace("{number}", number)
        case "ref":
            places = dict(book.figures) if title else {}
            places |= {key: f"Exercise {number}" for key, number in book.exercises.items()}
            for found in book.anchors.values():
                places |= found
            place = known(places, target, "label")
            return inline(title or place, page)
        case "doc":
            name = target.removeprefix("/").rpartition("/")[2]
            candidates = (name, f"{name}.ipynb", f"{name}.md")
            return to_page(title, next((c for c in candidates if c in book.titles), name), "", page)
        case "term":
            return title or target
        case "sub" | "sup":
            return f"<{name}>{content}</{name}>"
        case "math":
            return f"${content}$"
    raise ValueError(f"unknown role {{{name}}}`{content}`; known are: {', '.join(ROLES)}")


def cite(keys: list[str], page: Page, *, textual: bool) -> str:
    """The citation in the style of the rendered book, in the order of its bibliography, linked to the works."""
    found = {key.strip(): known(page.book.works, key.strip(), "citation") for key in keys}
    page.cited.update(found)
    parts = []
    for work in [page.book.works[key] for key in page.book.works if key in found]:
        words = work.year if textual else f"{work.authors}, {work.year}"
        linked = f"[{words}]({work.url})" if work.url else words
        parts.append(f"{work.authors} [{linked}]" if textual else linked)
    return ", ".join(parts) if textual else f"[{', '.join(parts)}]"


def link(found: re.Match, page: Page) -> str:
    """A link as plain Markdown. Raises ValueError for images and for files that are not pages of the book."""
    if re.match(r"[a-z][a-z0-9+.-]*:", found["target"]):
        return f"{found['image']}[{inline(found['text'], page)}]({found['target']})"
    if found["image"]:
        raise ValueError(f"{found[0]!r}: pictures in text cells are not published; draw it in code")
    name, _, anchor = found["target"].partition("#")
    return to_page(found["text"], name.removeprefix("./"), anchor, page)


def to_page(words: str, name: str, anchor: str, page: Page) -> str:
    """A link to a page of the book: to Colab or the rendered page if there is an address, else to the file."""
    book, target = page.book, name or page.name
    title = known(book.titles, target, "page")
    if anchor:
        places = {key: f"Fig. {number}" for key, number in book.figures.items()}
        places |= {key: f"({number})" for key, number in book.equations.items()}
        title = known(places | book.anchors.get(target, {}), anchor, f"place in {target}:")
    words = inline(words or title, page)
    stem, _, suffix = target.rpartition(".")
    linked = repository.on_github(book.address)
    if not name or (suffix == "md" and not linked):
        return words
    if suffix == "md":
        fragment = f"#{anchor}" if anchor else ""
        url = f"{repository.site_url(book.address)}/book/{stem}.html{fragment}"
    else:
        url = repository.colab_url(book.address, stem) if linked else target
    return f"[{words}]({url})"


def equation(block: Block, page: Page, *, one_line: bool) -> str:
    """A display equation with its number as a tag."""
    body, indent = block.text.rstrip(), block.indent
    if block.label:
        tag = rf"\tag{{{known(page.book.equations, block.label, 'equation')}}}"
        body += f"\n{indent}{tag}" if "\n" in body else f" {tag}"
    if one_line:
        return f"{indent}$$ {' '.join(body.split())} $$"
    return f"{indent}$${body}" + (f"\n{indent}$$" if "\n" in body else " $$")


def directive(block: Block, page: Page) -> str:
    """A directive as a block quote, an exercise as text, or as HTML that folds if its class is dropdown.

    Raises:
        ValueError: the directive is unknown, or an exercise without a number.
    """
    if block.label not in DIRECTIVES:
        raise ValueError(
            f"unknown directive {{{block.label}}} {block.argument}; known are: {', '.join(DIRECTIVES)}"
        )
    options, body = {}, block.text.strip("\n").split("\n")
    while body and (option := OPTION.fullmatch(body[0].strip())):
        options[option[1]] = option[2]
        body.pop(0)
    if block.label == "exercise":
        number = known(page.book.exercises, options.get("label", ""), "exercise")
        title = f" ({inline(block.argument, page)})" if block.argument else ""
        text = plain("\n".join(body).strip("\n"), page)
        lines = f"**Exercise {number}{title}.** {text}"
        return "\n".join((block.indent + line).rstrip() for line in lines.split("\n"))
    if block.label == "strip":
        lines = strip("\n".join([block.argument, *body]).strip(), page)
    else:
        title = TITLES.get(block.label) or inline(block.argument, page)
        first = [block.argument] if block.label in TITLES and block.argument else []
        folded = "dropdown" in options.get("class", "").split()
        content = plain("\n".join([*first, *body]).strip("\n"), page, quoted=not folded)
        if folded:
            # The blank lines make what stands between the tags Markdown.
            lines = f"<details>\n<summary>{title}</summary>\n\n{content}\n\n</details>"
            return "\n".join((block.indent + line).rstrip() for line in lines.split("\n"))
        starts_block = re.match(r"[ \t]*(?:[-*+][ \t]|\d+[.)][ \t]|[>|#<`~]|\$\$)", content)
        stop = "" if title.endswith((".", "?", "!", ":")) else "."
        head = f"**{title}{stop}**" + ("\n\n" if starts_block else " ") if title else ""
        lines = head + content
    return "\n".join(
        block.indent + (f"> {line}" if line.strip() else ">") for line in lines.split("\n")
    )


def strip(source: str, page: Page) -> str:
    """One line for each item `Key: text`, the measured time first. Raises ValueError for text before the items."""
    items: list[list[str]] = []
    for line in source.split("\n"):
        if item := STRIP_ITEM.fullmatch(line.strip()):
            items.append([f"**{item[1]}**", item[2]])
        elif line.strip() and not items:
            raise ValueError(f"{line!r}: a strip begins with Data:, You will measure: or You need:")
        elif line.strip():
            items[-1].append(line.strip())
    if page.name in page.book.seconds:
        items.insert(0, ["**Time**", f"{page.book.seconds[page.name]:.0f} s on two cores"])
    # Two spaces at the end break the line everywhere; Colab does not read a backslash there.
    return "  \n".join(inline(" ".join(item), page) for item in items)

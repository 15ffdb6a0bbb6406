"""MyST Markdown cut into blocks: text, code, display equations, directives. Nothing here reads a file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A line break within a paragraph: the next line is neither blank nor the begin of a list item, quote, table or heading.
BREAK = r"\n(?![ \t]*(?:[-*+][ \t]|\d+[.)][ \t]|[>|#]|\n|$))"
INLINE = re.compile(
    rf"""
    (?P<escape>\\[^\n])
    | \{{(?P<role>[A-Za-z][\w:.+-]*)\}}(?P<ticks>`+)(?!`)(?P<content>(?:[^\n]|{BREAK})+?)(?<!`)(?P=ticks)(?!`)
    | (?P<code>(?P<run>`+)(?!`)(?:[^\n]|{BREAK})+?(?<!`)(?P=run)(?!`))
    | (?P<math>(?<!\$)\$(?!\$)(?:\\[^\n]|[^$\\`\n]|{BREAK})+\$(?!\$))
    | (?P<image>!?)\[(?P<text>(?:\\[^\n]|[^\[\]\n\\]|\[[^\[\]\n]*\]|{BREAK})*)\]
      \((?P<target>[^()\s]*(?:\([^()\s]*\)[^()\s]*)?)(?:\s+"[^"\n]*")?\)
    """,
    re.X,
)
FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,}|:{3,})[ \t]*(?P<info>.*?)[ \t]*")
FENCE_AFTER_MARKER = re.compile(r"[ \t]*(?:[-*+>]|\d+[.)])[ \t]*.{0,6}?(?:`{3,}|~{3,}|:{3,})")
DIRECTIVE = re.compile(r"\{(?P<name>[^}\s]+)\}[ \t]*(?P<argument>.*)")
DISPLAY = re.compile(
    r"(?P<indent>[ \t]*)\$\$(?P<body>.+?)\$\$[ \t]*(?:\((?P<label>[^()\s]+)\))?[ \t]*", re.S
)
DROPPED = re.compile(r" {0,3}(?:%.*|\+\+\+.*|\([\w:.-]+\)=)[ \t]*")
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.M)
LABELLED = re.compile(r"^\(([\w:.-]+)\)=[ \t]*\n+#{1,6}[ \t]+(.+?)[ \t]*$", re.M)
TITLES = {name: name.capitalize() for name in ("note", "tip", "warning", "important")}
DIRECTIVES = (*TITLES, "admonition", "exercise", "margin", "strip")
LABEL = re.compile(r"^[ \t]*:label:[ \t]*(\S+)[ \t]*$", re.M)


@dataclass(frozen=True)
class Block:
    """Lines of one kind: text, code, math or directive. `label` is an equation's label or a directive's name."""

    kind: str
    text: str
    indent: str = ""
    label: str = ""
    argument: str = ""


def blocks(source: str) -> Iterator[Block]:
    """The Markdown text as blocks, in order. Raises ValueError for what is opened and not closed."""
    lines, text, at = source.split("\n"), [], 0
    while at < len(lines):
        line = lines[at]
        fence = FENCE.fullmatch(line)
        if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):
            end = fence_end(lines, at, fence["fence"])
            block = fenced(fence, lines[at : end + 1])
        elif line.lstrip().startswith("$$"):
            end, block = display(lines, at)
        else:
            if FENCE_AFTER_MARKER.match(line) and not INLINE.search(line):
                raise ValueError(f"{line!r}: put the fence on a line of its own")
            if not DROPPED.fullmatch(line):
                text.append(line)
            at += 1
            continue
        if text:
            yield Block("text", "\n".join(text))
        yield block
        text, at = [], end + 1
    if text:
        yield Block("text", "\n".join(text))


def fence_end(lines: list[str], begin: int, fence: str) -> int:
    """The number of the line that closes the fence opened at `begin`."""
    for number in range(begin + 1, len(lines)):
        line = lines[number].strip()
        if len(line) >= len(fence) and set(line) == {fence[0]}:
            return number
    raise ValueError(f"{lines[begin]!r} is opened and not closed; close it with {fence}")


def fenced(fence: re.Match, lines: list[str]) -> Block:
    """The block of code or the directive in these lines, its fences included."""
    directive = DIRECTIVE.fullmatch(fence["info"])
    if directive is None and fence["fence"][0] == ":":
        raise ValueError(f"{lines[0]!r} names no directive; allowed are {', '.join(DIRECTIVES)}")
    if directive is None:
        return Block("code", "\n".join(lines))
    body = "\n".join(line.removeprefix(fence["indent"]) for line in lines[1:-1])
    return Block("directive", body, fence["indent"], directive["name"], directive["argument"])


def display(lines: list[str], begin: int) -> tuple[int, Block]:
    """The last line of the equation that opens at `begin`, and its block."""
    for end in range(begin, len(lines)):
        if end > begin and not lines[end].strip():
            break
        if found := DISPLAY.fullmatch("\n".join(lines[begin : end + 1])):
            return end, Block("math", found["body"], found["indent"], found["label"] or "")
    raise ValueError(
        f"the equation {lines[begin]!r} is not closed by a line $$ (eq-name); nothing may follow on that line"
    )


def labels(source: str) -> Iterator[str]:
    """The labels of the display equations, in order of occurrence, those inside directives included."""
    for block in blocks(source):
        if block.kind == "math" and block.label:
            yield block.label
        elif block.kind == "directive":
            yield from labels(block.text)


def exercises(source: str) -> Iterator[str]:
    """The labels of the exercises, in order. Raises ValueError for an exercise without one."""
    for block in blocks(source):
        if block.kind == "directive" and block.label == "exercise":
            if not (found := LABEL.search(block.text)):
                raise ValueError(
                    f"{block.text.strip()[:60]!r}: an exercise needs a line :label: ex-name"
                )
            yield found[1]


def anchors(source: str) -> dict[str, str]:
    """The targets of a page's Markdown: labels `(name)=` and headings' own anchors, each with the heading's text."""
    text = "\n".join(block.text for block in blocks(source) if block.kind == "text")
    own = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-"): h for h in HEADING.findall(text)}
    return own | dict(LABELLED.findall(source))

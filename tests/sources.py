"""The sources of the book line by line, so that what is wrong can be named with its file and line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
SOLUTIONS = sorted((BOOK / "solutions").glob("*.md"))  # for those who teach; readers get none
PAGES = [*NOTEBOOKS, *sorted(BOOK.glob("*.md")), *SOLUTIONS]
# Markdown that is no page of the book, and whose code readers type too.
DOCUMENTS = [path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"]

Line = tuple[int, str]


def lines(path: Path) -> Iterator[Line]:
    """Number and text of each line of Markdown: of a file, or of the text cells as they stand in a notebook's file."""
    if path.suffix == ".md":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    kind, inside = "", False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if found := re.fullmatch(r'"cell_type": "(\w+)",', line):
            kind = found[1]
        elif line == '"source": [':
            inside = kind == "markdown"
        elif inside and line in ("]", "],"):
            inside = False
            yield number, ""  # cells are apart
        elif inside:
            yield number, json.loads(line.removesuffix(",")).rstrip("\n")


def outside_code(path: Path) -> Iterator[Line]:
    """The lines outside of fenced code; what stands in directives is text."""
    code, directives = "", []
    for number, line in lines(path):
        found = re.fullmatch(r"\s*(`{3,}|~{3,}|:{3,})\s*(.*?)\s*", line)
        fence, info = (found[1], found[2]) if found else ("", "")
        if code:
            code = "" if fence.startswith(code) and not info else code
        elif fence and info.startswith("{"):
            directives.append(fence)
        elif fence and not info and fence in directives:
            directives.remove(fence)
        elif fence and not fence.startswith(":"):
            code = fence
        else:
            yield number, re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", keep_role, line)


def keep_role(code: re.Match) -> str:
    """A role as it is, other code in backticks blanked."""
    before = code.string[: code.start()]
    return code[0] if re.search(r"\{[\w:.+-]+\}$", before) else "`" + " " * (len(code[0]) - 2) + "`"


def roles(path: Path, *names: str) -> Iterator[tuple[int, str]]:
    """Line and content of every role of one of these names."""
    pattern = re.compile(rf"\{{(?:{'|'.join(map(re.escape, names))})\}}`([^`]+)`")
    for number, line in outside_code(path):
        for found in pattern.finditer(line):
            yield number, found[1]


def target(content: str) -> str:
    """What a role refers to: of `words <target>` the target."""
    found = re.fullmatch(r".*<(.+)>", content.strip(), re.S)
    return found[1] if found else content.strip()


def fenced(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """First line and text of every fenced block of a language."""
    block: list[str] | None = None
    for number, line in lines(path):
        if block is None and line.strip() == f"```{language}":
            block, first = [], number + 1
        elif block is not None and line.strip() == "```":
            yield first, "\n".join(block)
            block = None
        elif block is not None:
            block.append(line)


def where(path: Path, number: int) -> str:
    return f"{path.relative_to(ROOT)}:{number}"

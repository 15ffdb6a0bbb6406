"""The index of equations: every numbered equation of chapters 2 to 5, the function that implements it and the test that
would notice if the function had a wrong sign or factor there. `scripts/flip_equations.py` makes it wrong and looks.

`book/equations.json` holds one entry a label, either

    {"code": "module.function", "test": "tests/test_x.py::test_y", "flip": ["old text", "new text"]}

where the old text stands exactly once in the function and the new one differs from it in a sign or a factor, or

    {"kind": "definition" or "derivation", "why": "one line"}
"""

import ast
import contextlib
import functools
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ("book/02-", "book/03-", "book/04-", "book/05-")
KINDS = ("definition", "derivation")
OPERATORS = {"+", "-", "*", "/", "//", "**", "+=", "-="}
LABEL = re.compile(r"^\$\$ \((eq-[a-z0-9-]+)\)$", re.M)
HEADER = """| Equation | Function | Test, or why there is none |
|:--|:--|:--|"""


def chapter_pages(root: Path = ROOT) -> list[Path]:
    """The notebooks of chapters 2 to 5 and of the pages within them, in the order of the book."""
    found = []
    for part in yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]:
        for chapter in part["chapters"]:
            if chapter["file"].startswith(CHAPTERS):
                found += [chapter["file"], *(s["file"] for s in chapter.get("sections", []))]
    return [root / f"{name}.ipynb" for name in found]


def labels_of(page: Path) -> list[str]:
    """The labels of a notebook's equations in their order."""
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    texts = ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return [label for text in texts for label in LABEL.findall(text)]


def load(root: Path = ROOT) -> dict[str, dict]:
    return json.loads((root / "book" / "equations.json").read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=128)
def parsed(text: str) -> ast.Module:
    """The syntax of a file, which many equations share."""
    return ast.parse(text)


def segment(code: str, root: Path = ROOT) -> tuple[Path, str, int, int]:
    """Where a function or method `module.name` or `module.Class.name` stands: file, its text, first and last character.

    Raises:
        ValueError: no such module or function.
    """
    module, _, rest = code.partition(".")
    path = root / "src" / "imgbook" / f"{module}.py"
    if not path.exists():
        raise ValueError(f"{code}: there is no {path.relative_to(root)}")
    text = path.read_text(encoding="utf-8")
    body = parsed(text).body
    for name in rest.split("."):
        nodes = [n for n in body if getattr(n, "name", None) == name]
        if not nodes:
            raise ValueError(f"{code}: {path.relative_to(root)} has no {name}")
        (node,) = nodes
        body = node.body
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return path, text, starts[node.lineno - 1], starts[node.end_lineno]


def tokens(text: str) -> list[tuple[int, str]]:
    """The tokens of a piece of code, which need not be whole."""
    found: list[tuple[int, str]] = []
    read = tokenize.generate_tokens(io.StringIO(text).readline)
    with contextlib.suppress(
        tokenize.TokenError
    ):  # a bracket is open at the end, after all its tokens
        found.extend((token.type, token.string) for token in read if token.string.strip())
    return found


def is_sign_or_factor(old: str, new: str) -> bool:
    """Whether two pieces of code differ in nothing but operators of arithmetic and numbers, and do differ."""

    def rest(text: str) -> list[str]:
        return [s for kind, s in tokens(text) if s not in OPERATORS and kind != tokenize.NUMBER]

    return rest(old) == rest(new) and tokens(old) != tokens(new)


def flipped(entry: dict, root: Path = ROOT) -> tuple[Path, str]:
    """The file of an entry's function, and its text with the flip.

    Raises:
        ValueError: no such function, the old text is not there exactly once, or the flip is no sign or factor.
    """
    path, text, first, last = segment(entry["code"], root)
    old, new = entry["flip"]
    inside = text[first:last]
    if inside.count(old) != 1:
        raise ValueError(
            f"{entry['code']}: {old!r} stands there {inside.count(old)} times, not once"
        )
    if not is_sign_or_factor(old, new):
        raise ValueError(
            f"{entry['code']}: {old!r} -> {new!r} changes more than a sign or a factor"
        )
    changed = text[:first] + inside.replace(old, new) + text[last:]
    ast.parse(changed)
    return path, changed


def is_written(test: str, root: Path = ROOT) -> bool:
    """Whether a test `tests/test_x.py::test_y` is written there."""
    name, _, function = test.partition("::")
    path = root / name
    return path.exists() and any(
        isinstance(node, ast.FunctionDef) and node.name == function
        for node in parsed(path.read_text(encoding="utf-8")).body
    )


def problems(root: Path = ROOT) -> Iterator[str]:
    """What is wrong with the index, a line each, beginning with file and label."""
    entries, where = load(root), "book/equations.json"
    pages = {page: labels_of(page) for page in chapter_pages(root)}
    for page, labels in pages.items():
        for label in labels:
            if label not in entries:
                yield f"{page.relative_to(root)}: {label} has no entry in {where}"
    known = {label for labels in pages.values() for label in labels}
    for label, entry in entries.items():
        if label not in known:
            yield f"{where}: {label} is no equation of chapters 2 to 5"
        if "kind" in entry:
            if set(entry) != {"kind", "why"} or entry["kind"] not in KINDS or not entry["why"]:
                yield f"{where}: {label} needs kind ({' or '.join(KINDS)}) and why, and nothing else"
        elif set(entry) != {"code", "test", "flip"}:
            yield f"{where}: {label} needs code, test and flip, or kind and why"
        else:
            if not is_written(entry["test"], root):
                yield f"{where}: {label} names {entry['test']}, which does not exist"
            try:
                flipped(entry, root)
            except (ValueError, SyntaxError) as error:
                yield f"{where}: {label}: {error}"
    without = [label for label, entry in entries.items() if "kind" in entry]
    if len(without) > 0.4 * len(entries):
        yield f"{where}: {len(without)} of {len(entries)} equations have no code; at most 40 % may"


def table(root: Path = ROOT) -> str:
    """The index as Markdown, a table a page of the book."""
    entries, parts = load(root), []
    for page in chapter_pages(root):
        labels = labels_of(page)
        if not labels:
            continue
        rows = []
        for label in labels:
            entry = entries[label]
            if "kind" in entry:
                rows.append(f"| {{eq}}`{label}` | {entry['kind']} | {entry['why']} |")
            else:
                test = entry["test"].removeprefix("tests/").replace("::", "`<br>`")
                rows.append(f"| {{eq}}`{label}` | `{entry['code']}` | `{test}` |")
        parts.append(f"**[]({page.name})**\n\n{HEADER}\n" + "\n".join(rows))
    return "\n\n".join(parts)

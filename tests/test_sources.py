"""Citations, references between pages and the code in Markdown pages lead somewhere; messages name file and line."""

import ast
import importlib
import inspect
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from sources import (
    BOOK,
    DOCUMENTS,
    NOTEBOOKS,
    PAGES,
    ROOT,
    SOLUTIONS,
    fenced,
    lines,
    outside_code,
    roles,
    target,
    where,
)

from imgbook import cli

ROLES = {"cite:p", "cite:t", "eq", "numref", "term", "math", "ref", "doc"}
FIGURE = re.compile(r"^:name: (fig-\S+)$")


def text_of(path: Path) -> str:
    return "\n".join(line for _, line in lines(path))


def entries() -> dict[str, int]:
    """The keys of the bibliography and the lines where they stand."""
    text = (BOOK / "references.bib").read_text(encoding="utf-8").splitlines()
    found = ((n, re.match(r"@\w+\{([^,]+),", line)) for n, line in enumerate(text, 1))
    return {key[1]: n for n, key in found if key}


def cited(path: Path) -> list[tuple[int, str]]:
    return [
        (n, key.strip()) for n, keys in roles(path, "cite:p", "cite:t") for key in keys.split(",")
    ]


def figures() -> set[str]:
    """The names of all figures, of notebooks and of Markdown pages."""
    cells = (c for p in NOTEBOOKS for c in json.loads(p.read_text(encoding="utf-8"))["cells"])
    drawn = (c["metadata"].get("mystnb", {}).get("figure", {}).get("name") for c in cells)
    written = (FIGURE.match(line) for p in PAGES for _, line in lines(p))
    return {name for name in drawn if name} | {found[1] for found in written if found}


def equations() -> set[str]:
    return {label for p in PAGES for label in re.findall(r"^\$\$ \((.+)\)$", text_of(p), re.M)}


def labels() -> set[str]:
    return {name for p in PAGES for name in re.findall(r"^\(([\w:.-]+)\)=", text_of(p), re.M)}


def glossary() -> set[str]:
    """The terms, those of one line each."""
    path, found, inside = BOOK / "glossary.md", set(), False
    for _, line in lines(path) if path.exists() else ():
        if line.startswith("```"):
            inside = "{glossary}" in line
        elif inside and line and not line.startswith((" ", ":")):
            found.add(line.strip().lower())
    return found


def no(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_citations_have_an_entry():
    known = entries()
    no(
        [
            f"{where(p, n)}: {key} is not in book/references.bib"
            for p in PAGES
            for n, key in cited(p)
            if key not in known
        ]
    )


def test_entries_are_cited():
    used = {key for p in PAGES if p not in SOLUTIONS for _, key in cited(p)}
    no(
        [
            f"book/references.bib:{n}: {key} is never cited"
            for key, n in entries().items()
            if key not in used
        ]
    )


def test_entries_are_there_once():
    text = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", text, re.M)
    no(
        [
            f"book/references.bib: {key} is there {keys.count(key)} times"
            for key in {*keys}
            if keys.count(key) > 1
        ]
    )


def test_only_known_roles():
    found = [(p, n, role) for p in PAGES for n, line in outside_code(p)
             for role in re.findall(r"\{([a-z][\w:.+-]*)\}`", line)]  # fmt: skip
    no([f"{where(p, n)}: unknown role {role}" for p, n, role in found if role not in ROLES])


@pytest.mark.parametrize(
    ("role", "known", "what"),
    [
        ("eq", equations, "equation"),
        ("numref", figures, "figure"),
        ("term", glossary, "term of the glossary"),
    ],
)
def test_references_have_a_target(role, known, what):
    names = known()
    used = [(p, n, target(content)) for p in PAGES for n, content in roles(p, role)]
    lower = role == "term"
    no([f"{where(p, n)}: {name!r} is no {what}" for p, n, name in used
        if (name.lower() if lower else name) not in names])  # fmt: skip


def test_links_lead_to_a_page_or_a_label():
    """Not to a heading: MyST knows labels, figures and equations alone."""
    targets = labels() | figures() | equations()
    problems = []
    for path in PAGES:
        for number, line in outside_code(path):
            for goal in re.findall(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)", line):
                name, _, anchor = goal.partition("#")
                page = Path(os.path.normpath(path.parent / name))
                if goal.startswith(("http://", "https://", "mailto:")) or "$" in goal:
                    continue
                if page in SOLUTIONS and path not in SOLUTIONS:
                    problems.append(f"{where(path, number)}: {goal!r} is a page readers do not get")
                    continue
                if page in PAGES and (not anchor or anchor in targets):
                    continue
                if (not name and anchor in targets) or (path.suffix == ".md" and goal in targets):
                    continue
                problems.append(f"{where(path, number)}: {goal!r} is no page or label of the book")
    no(problems)


# --- code in Markdown -----------------------------------------------------------------------------------------


MARKDOWN = [*(p for p in PAGES if p.suffix == ".md"), *DOCUMENTS]


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tasks = re.search(r"^TASKS := (.+)$", makefile, re.M)[1].split()
    return {*tasks, *re.findall(r"^([a-z-]+):", makefile, re.M)}


def problem_of(command: str) -> str | None:
    """What is wrong with one shell command of this project; None if nothing is, or if it is another program's."""
    words = [w for w in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=.*", w)]
    if not words:
        return None
    if words[0] == "make":
        unknown = [w for w in words[1:] if not w.startswith("-") and w not in make_targets()]
        return f"make has no target {unknown[0]}" if unknown else None
    if not re.search(r"(^|/)python3?$", words[0]) or len(words) < 2:
        return None
    if words[1].endswith(".py"):
        return None if (ROOT / words[1]).exists() else f"there is no {words[1]}"
    if words[1:3] == ["-m", "imgbook"] and len(words) > 3:
        commands = cli.main.commands
        if words[3].isupper() or words[3] == "--help":
            return None
        if words[3] not in commands:
            return f"python -m imgbook has no command {words[3]}"
        known = {o for p in commands[words[3]].params for o in (*p.opts, *p.secondary_opts)} | {
            "--help"
        }
        unknown = [w for w in words[4:] if w.startswith("--") and w.split("=")[0] not in known]
        return f"imgbook {words[3]} has no option {unknown[0]}" if unknown else None
    return None


def commands_of(path: Path) -> list[tuple[int, str]]:
    """Every command in blocks of a shell, and in backticks if it begins like one of this project."""
    blocks = [*fenced(path, "sh"), *fenced(path, "bash")]
    found = [
        (first + i, line) for first, block in blocks for i, line in enumerate(block.splitlines())
    ]
    start = re.compile(r"`((?:make|python|\.venv/bin/python) [^`]+)`")
    return found + [(n, command) for n, line in lines(path) for command in start.findall(line)]


@pytest.mark.parametrize("path", [*MARKDOWN, *NOTEBOOKS], ids=lambda p: p.name)
def test_commands_exist(path):
    found = [(n, command, problem_of(command)) for n, command in commands_of(path)]
    no([f"{where(path, n)}: {command!r}: {problem}" for n, command, problem in found if problem])


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("make bok", "make has no target bok"),
        ("python scripts/none.py --x", "there is no scripts/none.py"),
        (".venv/bin/python -m imgbook trane gan", "python -m imgbook has no command trane"),
        ("python -m imgbook train gan --sead 1", "imgbook train has no option --sead"),
        ("IMGBOOK_PRESET=smoke make test  # in small", None),
        ("python -m imgbook train gan --seed 1", None),
        ("git clone nowhere", None),
    ],
)
def test_what_is_wrong_with_a_command_is_said(command, problem):
    assert problem_of(command) == problem


def unknown_names(code: str) -> list[str]:
    """Names of the package that a piece of Python uses and that do not exist, and keywords that a call does not take.

    Raises:
        SyntaxError: it is no Python.
    """
    tree, modules, found = ast.parse(code), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "imgbook":
            module = importlib.import_module(node.module)
            for alias in node.names:
                try:
                    name = f"{node.module}.{alias.name}"
                    value = getattr(module, alias.name, None) or importlib.import_module(name)
                    modules[alias.asname or alias.name] = value
                except ModuleNotFoundError:
                    found.append(name)
    for node in ast.walk(tree):
        call = node.func if isinstance(node, ast.Call) else node
        path = ast.unparse(call).split(".") if isinstance(call, ast.Attribute | ast.Name) else []
        if not path or path[0] not in modules or not all(part.isidentifier() for part in path):
            continue
        value = modules[path[0]]
        for part in path[1:]:
            if value is not None and not hasattr(value, part):
                found.append(".".join(path))
            value = getattr(value, part, None)
        if isinstance(node, ast.Call) and callable(value):
            taken = inspect.signature(value).parameters.values()
            names = {p.name for p in taken}
            if not any(p.kind is p.VAR_KEYWORD for p in taken):
                found += [
                    f"{'.'.join(path)}({k.arg}=)"
                    for k in node.keywords
                    if k.arg and k.arg not in names
                ]
    return sorted({*found})


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda p: p.name)
def test_python_in_markdown_names_what_exists(path):
    for first, code in fenced(path, "python"):
        try:
            unknown = unknown_names(code)
        except SyntaxError as error:
            pytest.fail(f"{where(path, first + (error.lineno or 1) - 1)}: {error.msg}")
        assert not unknown, f"{where(path, first)}: the package has no {', '.join(unknown)}"


def test_unknown_names_are_found():
    code = "from imgbook import data, nothing\ndata.lode('mnist')\ndata.load('mnist', splat='train')\ndata.load('x')"
    assert unknown_names(code) == ["data.load(splat=)", "data.lode", "imgbook.nothing"]
    with pytest.raises(SyntaxError):
        unknown_names("data.load(")


def test_lines_of_a_notebook_are_those_of_its_file():
    path = NOTEBOOKS[0]
    raw = path.read_text(encoding="utf-8").splitlines()
    number, text = next((n, line) for n, line in lines(path) if "{cite:" in line)
    assert json.loads(raw[number - 1].strip().removesuffix(",")).rstrip("\n") == text
    assert sys.getdefaultencoding() == "utf-8"

"""The index of experiments: every page with its time and memory, every recorded run with its command and seconds."""

import ast
import functools
import json
import re
from pathlib import Path

import yaml

from imgbook import records

ROOT = Path(__file__).resolve().parents[2]
PAGES_HEADER = """| Page | at `quick` | at `smoke` | memory |
|:--|--:|--:|--:|"""
RECORDS_HEADER = """| Record | Command | seeds | seconds a seed | Shown on |
|:--|:--|--:|--:|:--|"""
# They name every record and show none.
GENERAL = {"experiments", "experiment_runs", "records", "pages", "staleness", "doctor", "cli"}


def notebooks(root: Path = ROOT) -> list[Path]:
    """The book's notebooks in the order of the table of contents."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [c for part in toc["parts"] for c in part["chapters"]]
    files = [f["file"] for c in chapters for f in (c, *c.get("sections", []))]
    return [path for name in files if (path := root / f"{name}.ipynb").exists()]


def code_of(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return "\n".join(
        "" if line.startswith(("%", "!")) else line for c in code for line in c.split("\n")
    )


@functools.cache  # each record asks for each page's code, and pages share modules
def modules_of(code: str) -> frozenset[str]:
    """The modules of the package that a notebook imports."""
    imports = (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ImportFrom))
    found = {a.name for node in imports if node.module == "imgbook" for a in node.names}
    return frozenset(found - GENERAL)


@functools.cache
def strings_of(code: str) -> tuple[frozenset[str], tuple[re.Pattern, ...]]:
    """The texts in code that may name a record: plain ones, and f-strings, whose gaps match anything."""
    tree, plain, patterns = ast.parse(code), set(), []
    inner = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (
                re.escape(v.value) if isinstance(v, ast.Constant) else ".+" for v in node.values
            )
            pattern = "".join(parts)
            if re.match(r"[a-z]{3,}", pattern):  # a beginning, so that not all match
                patterns.append(re.compile(pattern))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        ):
            plain.add(node.value)
    return frozenset(plain), tuple(patterns)


def shown_on(name: str, root: Path = ROOT) -> list[str]:
    """The file names of the pages that show a record: their code, or a module they import, names it.

    A record at preset full may be named without its ending.
    """
    names, found = {name, name.removesuffix("-full")}, []
    for page in notebooks(root):
        code = code_of(page)
        modules = (root / "src" / "imgbook" / f"{m}.py" for m in modules_of(code))
        texts = [code, *(m.read_text(encoding="utf-8") for m in modules if m.exists())]
        for plain, patterns in map(strings_of, texts):
            if names & plain or any(p.fullmatch(n) for p in patterns for n in names):
                found.append(page.name)
                break
    return found


def page_table(root: Path = ROOT) -> str:
    """Times and memory of each page, from results/build.json."""
    measured = json.loads((root / "results" / "build.json").read_text(encoding="utf-8"))[
        "notebooks"
    ]
    rows = []
    for page in notebooks(root):
        if times := measured.get(page.stem):
            quick = times["quick"]
            smoke = f"{times['smoke']['seconds']:.0f} s" if "smoke" in times else "not measured"
            rows.append(f"| []({page.name}) | {quick['seconds']:.0f} s | {smoke} "
                        f"| {quick['peak_MB'] / 1000:.1f} GB |")  # fmt: skip
    return PAGES_HEADER + "\n" + "\n".join(rows)


def record_table(root: Path = ROOT) -> str:
    """Every result record: how it is made, how long that takes, and where it is shown."""
    rows = []
    for name in records.names():
        record = records.load(name)
        seconds, count = record["seconds"], len(record["seeds"])
        span = sorted(
            {f"{s:.0f}" if s >= 10 else f"{s:.1f}" for s in (min(seconds), max(seconds))}, key=float
        )
        pages = ", ".join(f"[]({page})" for page in shown_on(name, root)) or "[](status.md)"
        rows.append(
            f"| `{name}` | `{record['command']}` | {count} | {' to '.join(span)} | {pages} |"
        )
    return RECORDS_HEADER + "\n" + "\n".join(rows)

"""Tables of weeks for teachers: `{index-of} weeks-6` and `weeks-12`, from book/syllabus.json and results/build.json."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = "| week | question | pages | to execute | lab | to read |\n|--:|:--|:--|--:|:--|:--|"


def weeks(count: int, root: Path = ROOT) -> list[list]:
    """Question, pages, lab and reading of each week.

    Raises:
        KeyError: there is no plan for so many weeks.
    """
    return json.loads((root / "book" / "syllabus.json").read_text(encoding="utf-8"))[str(count)]


def minutes(pages: list[str], root: Path = ROOT) -> str:
    """How long the pages take together at preset quick; empty if one of them has not been measured."""
    build = json.loads((root / "results" / "build.json").read_text(encoding="utf-8"))["notebooks"]
    times = [build.get(page, {}).get("quick", {}).get("seconds") for page in pages]
    return "" if None in times else f"{sum(times) / 60:.1f} min"


def table(count: int, root: Path = ROOT) -> str:
    """The plan as Markdown."""
    rows = [HEADER]
    for number, (question, pages, lab, reading) in enumerate(weeks(count, root), 1):
        links = ", ".join(f"[]({page}.ipynb)" for page in pages)
        cells = (str(number), question, links, minutes(pages, root), lab, f"{{cite:t}}`{reading}`")
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)

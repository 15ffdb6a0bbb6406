"""The works of the bibliography as Markdown, with pybtex, in the style of the rendered book."""

import re
from pathlib import Path

from plain_markdown import Work
from pybtex.backends.markdown import Backend
from pybtex.database import parse_file
from pybtex.plugin import find_plugin


class Markdown(Backend):
    """Pybtex's Markdown without escapes that do nothing: a bracket after a backslash may begin mathematics."""

    symbols = {"ndash": "–", "newblock": " ", "nbsp": "\N{NO-BREAK SPACE}"}  # noqa: RUF012

    def format_str(self, text: str) -> str:
        return re.sub(r"([\\`*_<$])", r"\\\1", text)


def read_works(path: Path) -> dict[str, Work]:
    """The bibliography in the order of the rendered one. Raises ValueError for an entry without author or year."""
    backend, last_name = Markdown(), find_plugin("pybtex.style.names", "last")()
    bibliography = parse_file(path)
    style = find_plugin("pybtex.style.formatting", "alpha")()  # sphinxcontrib-bibtex's default
    works = {}
    for formatted in style.format_bibliography(bibliography):
        entry = bibliography.entries[formatted.key]
        persons = entry.persons.get("author") or entry.persons.get("editor")
        if not persons or "year" not in entry.fields:
            raise ValueError(f"{path.name}, {entry.key}: an entry needs author or editor, and year")
        names = [last_name.format(person).format().render(backend) for person in persons]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} *et al.*"
        reference = formatted.text.render(backend)
        works[entry.key] = Work(authors, entry.fields["year"], url_of(entry.fields), reference)
    return works


def url_of(fields: dict[str, str]) -> str | None:
    """Where a work can be read: its DOI, its arXiv number or its own address; None if the entry has none of them."""
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if fields.get("archiveprefix", "").lower() == "arxiv":
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields.get("url")

"""The back matter: glossary, notation, notes on the works, citation file; messages name file and line."""

import itertools
import json
import re
import tomllib
import unicodedata

import pytest
import yaml
from sources import BOOK, NOTEBOOKS, ROOT, lines, roles, target, where

GLOSSARY = BOOK / "glossary.md"


def definitions() -> list[tuple[int, str, str]]:
    """Line, term and definition, in their order."""
    found, term, inside = [], None, False
    for number, line in lines(GLOSSARY):
        if line.startswith("```"):
            inside = "{glossary}" in line
        elif inside and line.startswith("  "):
            assert term, f"{where(GLOSSARY, number)}: a definition without a term"
            found.append((*term, line.strip()))
            term = None
        elif inside and line:
            assert term is None, f"{where(GLOSSARY, number)}: {term} has no definition"
            term = number, line
    return found


def alphabetical(term: str) -> str:
    plain = unicodedata.normalize("NFKD", term.lower()).encode("ascii", "ignore").decode()
    return plain.replace("-", " ")


def test_glossary_is_large_alphabetical_and_without_repetition():
    terms = [term for _, term, _ in definitions()]
    assert len(terms) >= 80
    keys = [alphabetical(term) for term in terms]
    assert keys == sorted(keys), next(
        f"{where(GLOSSARY, definitions()[i + 1][0])}: {b!r} stands after {a!r}"
        for i, (a, b) in enumerate(itertools.pairwise(keys))
        if a > b
    )
    assert len(keys) == len(set(keys))


def test_definitions_are_sentences_that_lead_somewhere():
    wrong = [
        f"{where(GLOSSARY, n)}: {term}"
        for n, term, text in definitions()
        if len(text.split()) < 6 or not text.endswith(".") or not re.search(r"\]\(|\{eq\}", text)
    ]
    assert not wrong, "too short, no full stop, or no link to the book:\n" + "\n".join(wrong)


def test_every_term_is_linked_from_a_chapter():
    used = {target(content).lower() for p in NOTEBOOKS for _, content in roles(p, "term")}
    unused = [
        f"{where(GLOSSARY, n)}: {term}" for n, term, _ in definitions() if term.lower() not in used
    ]
    assert not unused, "no chapter links to\n" + "\n".join(unused)


def test_a_term_is_linked_once_a_page():
    for path in NOTEBOOKS:
        names = [target(content).lower() for _, content in roles(path, "term")]
        twice = {name for name in names if names.count(name) > 1}
        assert not twice, f"{path.name}: linked more than once: {', '.join(sorted(twice))}"


def test_every_work_has_a_note_and_every_note_a_work():
    notes = json.loads((BOOK / "annotations.json").read_text(encoding="utf-8"))
    text = (BOOK / "references.bib").read_text(encoding="utf-8").splitlines()
    keys = {m[1]: n for n, line in enumerate(text, 1) if (m := re.match(r"@\w+\{([^,]+),", line))}
    assert not [
        f"book/references.bib:{n}: {key} has no note" for key, n in keys.items() if key not in notes
    ]
    assert not [f"book/annotations.json: {key} is no work" for key in notes if key not in keys]
    odd = {
        key: note
        for key, note in notes.items()
        if not 8 <= len(note.split()) <= 36 or note[-1] != "."
    }
    assert not odd, f"book/annotations.json: too short, too long or no sentence: {odd}"
    assert list(notes) == sorted(notes)
    assert len(set(notes.values())) == len(notes)


def test_notes_stand_in_the_rendered_bibliography():
    page = ROOT / "_build" / "smoke" / "html" / "book" / "bibliography.html"
    assert page.exists(), f"{page} is missing; build the smoke pages first: make test"
    notes = json.loads((BOOK / "annotations.json").read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8").count('class="annotation"') == len(notes)


def test_a_symbol_has_one_row_in_the_notation():
    seen: dict[str, int] = {}
    path = BOOK / "notation.md"
    for number, line in lines(path):
        if line.startswith("## The same letter"):
            break
        if not line.startswith("| $"):
            continue
        for symbol in re.findall(r"\$([^$]+)\$", line.split("|")[1]):
            assert symbol not in seen, (
                f"{where(path, number)}: ${symbol}$ has a row at line {seen[symbol]}"
            )
            seen[symbol] = number
    assert len(seen) >= 30


@pytest.mark.parametrize("number", range(1, 11))
def test_each_question_of_the_self_test_has_its_answer(number):
    text = (BOOK / "reading.md").read_text(encoding="utf-8")
    questions, answers = text.split("```{admonition} Answers")
    assert re.search(rf"^{number}\. .+\?$", questions, re.M)
    assert re.search(rf"^{number}\. .+", answers, re.M)


def test_citation_file_is_that_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["authors"][0]["name"] == project["authors"][0]["name"]
    assert set(citation["license"]) == {"MIT", "CC-BY-4.0"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", citation["date-released"])
    assert {"message", "title"} <= set(citation)

"""The questions: enough of them, each answered in its own words with a link to where the book shows it."""

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from sources import BOOK, lines, where

FAQ = BOOK / "faq.md"


def entries() -> list[tuple[int, str, str]]:
    """Line, question and answer."""
    found: list[tuple[int, str, list[str]]] = []
    for number, line in lines(FAQ):
        if line.startswith("### "):
            found.append((number, line.removeprefix("### "), []))
        elif found and not line.startswith(("#", "(faq-", "%")):
            found[-1][2].append(line)
    return [(number, question, " ".join(answer).strip()) for number, question, answer in found]


ENTRIES = entries()


def words(text: str) -> list[str]:
    """The words a reader sees, in lower case: links without their targets, no citations and no roles."""
    text = re.sub(r"\{[\w:]+\}`([^`<]*)[^`]*`", r"\1", re.sub(r"\{cite:.\}`[^`]*`", "", text))
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.findall(r"[a-z']+", text.lower())


def test_there_are_enough_and_each_question_is_asked_once():
    assert len(ENTRIES) >= 40
    questions = [question for _, question, _ in ENTRIES]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e[1][:40])
def test_an_answer_is_long_enough_and_leads_to_an_experiment(entry):
    number, question, answer = entry
    at = f"{where(FAQ, number)}: {question}"
    assert len(words(answer)) >= 40, f"{at}: {len(words(answer))} words; at least 40"
    shown = re.search(r"\]\([\w-]+(\.ipynb|\.md)?\)|\{(numref|eq|ref)\}`", answer)
    assert shown, f"{at}: no link to a page, a figure or an equation of the book"
    assert not re.search(r"\d+\.\d+ ?(%|s|nats)", answer), f"{at}: a number that nothing computes"


def test_every_entry_has_a_label():
    text = FAQ.read_text(encoding="utf-8")
    labelled = re.findall(r"^\(faq-[a-z0-9-]+\)=\n### (.+)$", text, re.M)
    assert labelled == [question for _, question, _ in ENTRIES]


def test_no_two_answers_are_alike():
    """By the cosine of their words, weighed down where many answers have them: 1 for the same text."""
    counts = [Counter(words(answer)) for _, _, answer in ENTRIES]
    spread = Counter(word for count in counts for word in count)
    rare = {word: np.log(len(counts) / spread[word]) for word in spread}
    vectors = [{word: n * rare[word] for word, n in count.items()} for count in counts]
    lengths = [np.sqrt(sum(v**2 for v in vector.values())) for vector in vectors]

    def cosine(i: int, j: int) -> float:
        both = vectors[i].keys() & vectors[j].keys()
        return sum(vectors[i][w] * vectors[j][w] for w in both) / (lengths[i] * lengths[j])

    assert cosine(0, 0) == pytest.approx(1)
    alike = [(cosine(i, j), i, j) for i, j in combinations(range(len(ENTRIES)), 2)]
    worst, i, j = max(alike)
    assert worst < 0.4, (
        f"{where(FAQ, ENTRIES[j][0])}: {ENTRIES[j][1]!r} repeats {ENTRIES[i][1]!r} ({worst:.2f})"
    )


def test_symptoms_lead_to_entries():
    text = FAQ.read_text(encoding="utf-8")
    index = text.split("## Find your symptom")[1].split("\n## ")[0]
    listed = re.findall(r"^- \[.+\]\((faq-[\w-]+)\)$", index, re.M)
    assert len(listed) >= 12
    assert all(f"({label})=" in text for label in listed)

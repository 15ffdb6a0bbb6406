"""Whose hand-in a file is, by its path: folders and files named by student, Moodle's and Canvas's downloads."""

import re
import unicodedata
from dataclasses import dataclass, replace

MOODLE = re.compile(
    r"^(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)$", re.DOTALL
)
CANVAS = re.compile(
    r"^(?P<name>[^\W_][^_]*?)(?:_LATE)?_(?P<number>\d+)_(?P<attempt>\d+)_(?P<file>.+)$", re.DOTALL
)
COPY = re.compile(r"[ _]?\((\d+)\)$|-(\d{1,2})$")  # "lab (2)" of a browser, "lab-2" of Canvas


@dataclass(frozen=True)
class Owner:
    """A student's id, what tells two of the same name apart, and which attempt it is."""

    id: str
    number: str = ""
    attempt: tuple[int, ...] = ()
    system: str = "folder"


def student_id(name: str) -> str:
    """A name as an id that is safe as the name of a folder: letters of any alphabet, digits, `_`, `-` and `.`."""
    text = unicodedata.normalize("NFC", name).strip()
    text = re.sub(r"[^\w.-]+", "_", text).strip("._-")
    return text[:80] or "unnamed"


def owner(parts: tuple[str, ...], lab: str) -> Owner:
    """Whose file this is: by its first folder, or by its name if it lies in none."""
    first, alone = parts[0], len(parts) == 1
    stem = first.rpartition(".")[0] if alone and "." in first else first
    if found := MOODLE.match(first):
        return Owner(student_id(found["name"]), found["number"], (), "moodle")
    if alone and (found := CANVAS.match(first)):
        attempt = (int(found["attempt"]), copy_number(found["file"].rpartition(".")[0]))
        return Owner(f"{student_id(found['name'])}_{found['number']}", "", attempt, "canvas")
    if not alone:
        return Owner(student_id(first))
    number = copy_number(stem) if stem.endswith(")") else 0
    name = COPY.sub("", stem) if number else stem
    return Owner(student_id(without_lab(name, lab)), "", (number,))


def copy_number(stem: str) -> int:
    found = COPY.search(stem)
    return int(found[1] or found[2]) if found else 0


def without_lab(name: str, lab: str) -> str:
    """The name of a file without the lab's: "lab1-networks_anna", "anna lab1"; unchanged if nothing is left."""
    for word in (lab, lab.partition("-")[0]):
        pattern = rf"(?i)(?:^|[\s_.-]+){re.escape(word)}(?:[\s_.-]+|$)"
        rest = re.sub(pattern, " ", name).strip()
        if rest != name.strip():
            return rest or name
    return name


def unwrapped(paths: list[tuple[str, ...]], lab: str) -> int:
    """How many folders all files have above the students' own.

    One folder around everything is not a student if it holds a learning platform's files, or is named after the lab.
    """
    above = 0
    while paths and all(len(path) > above + 1 for path in paths):
        first = {path[above] for path in paths}
        if len(first) != 1 or MOODLE.match(name := first.pop()):
            break
        inside = [path[above + 1] for path in paths]
        platform = any(MOODLE.match(part) or CANVAS.match(part) for part in inside)
        named = re.search(rf"(?i){re.escape(lab.partition('-')[0])}|submi|hand-?in|assign", name)
        if not (platform or (named and len(set(inside)) > 1)):
            break
        above += 1
    return above


def distinct(owners: list[Owner]) -> tuple[list[Owner], list[str]]:
    """Owners whose ids differ wherever the students do, and the names that two students share.

    Ids that differ only in capitals are one folder on some systems.
    """
    numbers: dict[str, set[str]] = {}
    spelt: dict[str, str] = {}
    for one in owners:
        numbers.setdefault(one.id.casefold(), set()).add(one.number)
        spelt.setdefault(one.id.casefold(), one.id)
    shared = {key for key, found in numbers.items() if len(found) > 1}
    told_apart = [
        replace(one, id=f"{spelt[key]}_{one.number}")
        if key in shared
        else replace(one, id=spelt[key])
        for one in owners
        for key in [one.id.casefold()]
    ]
    return told_apart, sorted(spelt[key] for key in shared)

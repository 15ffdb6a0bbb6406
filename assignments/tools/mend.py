"""Make of whatever a student handed in a notebook that can be graded, and say what was odd.

The order of the student's cells stays. What students write is found by nbgrader's marks, then by the functions it
defines, then by its place between cells that did not change. What is the teacher's (test cells, locked cells) is taken
from the teacher's notebook, always.

Of several cells with the mark of one task counts the last one that was changed; the others are set aside.
"""

import copy
import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from nbformat import NotebookNode, v4

from tools.collect import Problem
from tools.course import Template, TemplateCell, defined
from tools.notebooks import KERNEL

ALIKE = 0.6  # a helper cell that is less like the given one is not it
FENCE = re.compile(r"\A\s*```[^\n]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Mended:
    """A notebook with every graded cell once, and how many of its cells have to run."""

    notebook: NotebookNode
    to_run: int  # cells after the last graded one need not
    problems: list[Problem]
    missing: list[str]  # cells that the student writes and that were not found


def plain(source: str) -> str:
    """A source without what editors change by themselves."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


class Hand:
    """A student's cells, and which of them has been taken for which cell of the lab."""

    def __init__(self, lab: Template, notebook: NotebookNode):
        self.lab, self.cells = lab, notebook.cells
        self.sources = [plain(cell.source) for cell in self.cells]
        self.marked: dict[str, list[int]] = {}
        for index, cell in enumerate(self.cells):
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if isinstance(name, str) and name in lab.ids:
                self.marked.setdefault(name, []).append(index)
        self.taken: dict[str, int] = {}  # grade_id -> index
        self.aside: set[int] = set()  # neither run nor shown as the student's work
        self.problems: list[Problem] = []
        self.by_place = self.places()

    def places(self) -> dict[int, int]:
        """Position in the lab -> index here, where the cells around it did not change."""
        given = [plain(cell.given) for cell in self.lab.cells]
        matcher = SequenceMatcher(None, given, self.sources, autojunk=False)
        found = {}
        for tag, i1, i2, j1, j2 in matcher.get_opcodes():
            if tag == "equal" or (tag == "replace" and i2 - i1 == j2 - j1):
                found |= dict(zip(range(i1, i2), range(j1, j2), strict=True))
        return found

    def note(self, kind: str, text: str, cell: TemplateCell | None = None) -> None:
        self.problems.append(Problem(kind, text, (cell.id or "") if cell else ""))

    def is_free(self, index: int) -> bool:
        marked = {i for indices in self.marked.values() for i in indices}
        return index not in marked and index not in self.taken.values()

    def changed(self, index: int, cell: TemplateCell) -> bool:
        return self.sources[index] != plain(cell.given)

    def take_work(self, cell: TemplateCell) -> None:
        """Find what the student wrote for one cell."""
        indices = self.marked.get(cell.id, [])
        work = [index for index in indices if self.changed(index, cell)]
        best = (work or indices or [None])[-1]
        if len(indices) > 1:
            self.note("duplicated", f"{len(indices)} cells; the last changed one counts", cell)
        if not work and (found := self.elsewhere(cell)) is not None:
            where = "its mark is gone" if best is None else "it stands in another cell"
            self.note("restored", f"{where}: found by {found[1]}", cell)
            best = found[0]
        self.aside |= set(indices) - {best}
        if best is None:
            self.note("missing", "deleted or never written: its task gets no points", cell)
            return
        self.taken[cell.id] = best
        if self.cells[best].cell_type != cell.cell_type:
            self.note("retyped", f"{self.cells[best].cell_type}, graded as {cell.cell_type}", cell)

    def elsewhere(self, cell: TemplateCell) -> tuple[int, str] | None:
        """A cell without a mark that does a task's work, and how it was found."""
        free = [index for index in range(len(self.cells)) if self.is_free(index)]
        if cell.names:
            by_name = [i for i in free if cell.names <= defined(unfenced(self.cells[i].source))]
            if by_name:
                return by_name[-1], "its functions"
        index = self.by_place.get(cell.position)
        if index in free and (cell.id not in self.marked or self.changed(index, cell)):
            return index, "its place"
        return None

    def take_ours(self, cell: TemplateCell) -> None:
        """Find where the student has one of the teacher's cells; what is in it does not matter."""
        indices = self.marked.get(cell.id, [])
        index = self.by_place.get(cell.position)
        if not indices and index is not None and self.is_free(index):
            indices = [index]
        if not indices:
            self.note("missing", "deleted: put back", cell)
            return
        self.taken[cell.id] = indices[-1]
        self.aside |= set(indices[:-1])
        if any(self.changed(i, cell) or self.cells[i].cell_type != cell.cell_type for i in indices):
            self.note("edited", "changed: the teacher's cell takes its place", cell)
        elif len(indices) > 1:
            self.note("duplicated", f"{len(indices)} cells; it runs once", cell)

    def lost_helpers(self) -> list[TemplateCell]:
        """Code cells before the first task that students were given and that are gone."""
        first = next((c.position for c in self.lab.cells if c.is_work), 0)
        gone = []
        for cell in self.lab.cells[:first]:
            if cell.kind != "plain" or cell.cell_type != "code" or not cell.given.strip():
                continue
            given = plain(cell.given)
            code = [
                s for s, c in zip(self.sources, self.cells, strict=True) if c.cell_type == "code"
            ]
            if not any(given in s or SequenceMatcher(None, given, s).ratio() > ALIKE for s in code):
                self.note("missing", "a code cell before the first task was deleted: put back")
                gone.append(cell)
        return gone


def unfenced(source: str) -> str:
    """Code without the fence that one writes around code in Markdown."""
    found = FENCE.match(source)
    return found[1] if found else source


def marks(cell: NotebookNode, given: TemplateCell) -> NotebookNode:
    """The cell with the lab's metadata."""
    cell.metadata = copy.deepcopy(given.given_cell.metadata)
    return cell


def as_work(cell: NotebookNode, given: TemplateCell) -> NotebookNode:
    """What a student wrote, as the kind of cell that it must be."""
    if given.cell_type == cell.cell_type:
        return marks(copy.deepcopy(cell), given)
    make = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell}[given.cell_type]
    source = unfenced(cell.source) if given.cell_type == "code" else cell.source
    return marks(make(source=source, id=cell.id), given)


def ours(given: TemplateCell) -> NotebookNode:
    """The teacher's cell, hidden tests included."""
    cell = copy.deepcopy(given.full_cell)
    cell.metadata = copy.deepcopy(given.given_cell.metadata)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    return cell


def mend(lab: Template, notebook: NotebookNode) -> Mended:
    """A notebook in which each cell of the lab that counts is there once. Raises nothing for any notebook."""
    hand = Hand(lab, notebook)
    if not hand.marked:
        hand.note(
            "no marks", "nbgrader's metadata is gone: cells are found by functions and places"
        )
    for cell in lab.cells:
        if cell.is_work:
            hand.take_work(cell)
    for cell in lab.cells:
        if cell.is_ours:
            hand.take_ours(cell)
    found = hand.lost_helpers()
    cells = [ours(cell) for cell in found] + [cell for _, cell in sorted_cells(hand)]
    mended = v4.new_notebook(cells=unique_ids(cells), metadata={"kernelspec": KERNEL})
    last = [i for i, c in enumerate(mended.cells, 1) if c.metadata.get("nbgrader", {}).get("grade")]
    missing = [cell.id for cell in lab.cells if cell.is_work and cell.id not in hand.taken]
    return Mended(mended, last[-1] if last else 0, hand.problems, missing)


def sorted_cells(hand: Hand) -> list[tuple[tuple, NotebookNode]]:
    """The cells with their keys: the student's order; a test comes after the work that it tests."""
    by_index = {index: hand.lab[name] for name, index in hand.taken.items()}
    placed = []
    for index, cell in enumerate(hand.cells):
        given = by_index.get(index)
        if given is not None and given.is_work:
            placed.append(((index, 0), as_work(cell, given)))
        elif given is None and index not in hand.aside:
            extra = copy.deepcopy(cell)
            extra.metadata = NotebookNode()
            placed.append(((index, 0), extra))
    before = -1  # where the work before this cell stands
    for given in hand.lab.cells:
        if given.is_work:
            before = hand.taken.get(given.id, before)
            if given.id not in hand.taken:
                stub = marks(copy.deepcopy(given.given_cell), given)
                placed.append(((before, given.position + 1), stub))
        elif given.is_ours:
            before = max(before, *(hand.taken.get(name, -1) for name in together(hand.lab, given)))
            placed.append(((before, given.position + 1), ours(given)))
    return sorted(placed, key=lambda pair: pair[0])


def together(lab: Template, cell: TemplateCell) -> list[str]:
    """The cells that the student's must not stand between: tests, with the locked cell that defines their tools."""
    first = last = cell.position
    while first and lab.cells[first - 1].is_ours:
        first -= 1
    while last + 1 < len(lab.cells) and lab.cells[last + 1].is_ours:
        last += 1
    run = lab.cells[first : last + 1]
    return [one.id for one in run if one is cell or any(other.kind == "locked" for other in run)]


def unique_ids(cells: list[NotebookNode]) -> list[NotebookNode]:
    seen: set[str] = set()
    for cell in cells:
        if cell.id in seen:
            cell["id"] = v4.new_raw_cell().id
        seen.add(cell.id)
    return cells


def unfinished(lab: Template, mended: Mended) -> list[Problem]:
    """Tasks whose cell still says that it is not done."""
    left = []
    for cell in mended.notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        if not name or name in mended.missing or not lab[name].is_work:
            continue
        given = lab[name]
        stub = "raise NotImplementedError" if given.kind == "code" else "YOUR ANSWER HERE"
        if stub in given.given and stub in cell.source:
            left.append(
                Problem("unfinished", "as it was given, or still with its placeholder", name)
            )
    return left

"""Hand-ins in percent format: a solution's cells as text, put into a lab's notebook.

# who: vectorised                    a right one; or, of a wrong one: # loses: softmax-tests, step-tests
# %% softmax
def softmax(logits): ...
# %% [markdown] answer-id
# What was written, as comments or plain.
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode, v4

from tools.course import Refused, Template
from tools.notebooks import KERNEL

BLOCK = re.compile(r"^# %% +(?:\[markdown\] +)?([\w-]+)[ \t]*$", re.M)
HEADER = re.compile(r"^# (\w+):[ \t]*(.*)$", re.M)


@dataclass(frozen=True)
class Handin:
    """A made hand-in: `right` or `wrong`, what its header says, and the cells that it replaces."""

    lab: str
    kind: str
    name: str
    header: dict[str, str]
    blocks: dict[str, str]

    @property
    def loses(self) -> set[str]:
        """The test cells that a wrong one loses points in."""
        return {word for word in re.split(r"[,\s]+", self.header.get("loses", "")) if word} - {
            "none"
        }


def read(path: Path, lab: str, kind: str) -> Handin:
    """Raises: Refused, if the file has no blocks, or a wrong one does not say what it loses."""
    text = path.read_text(encoding="utf-8")
    head, *rest = BLOCK.split(text)
    blocks = dict(zip(rest[::2], (block.strip("\n") for block in rest[1::2]), strict=True))
    header = dict(HEADER.findall(head))
    if not blocks or len(blocks) * 2 != len(rest):
        raise Refused(f"{path}: blocks `# %% grade-id`, each once, are expected")
    if kind == "wrong" and "loses" not in header:
        raise Refused(f"{path}: a wrong hand-in says `# loses: ...` (or none)")
    return Handin(lab, kind, path.stem, header, blocks)


def read_all(folder: Path, lab: str) -> list[Handin]:
    return [
        read(path, lab, kind)
        for kind in ("right", "wrong")
        for path in sorted((folder / lab / kind).glob("*.py"))
    ]


def built_in(lab: Template) -> list[Handin]:
    """Two that every lab has: the teacher's own solution, and the notebook as it was given."""
    lost = " ".join(cell.id for cell in lab.tests)
    return [
        Handin(lab.lab, "right", "(teacher)", {}, {}),
        Handin(lab.lab, "wrong", "(untouched)", {"loses": lost}, {}),
    ]


def notebook(handin: Handin, lab: Template) -> NotebookNode:
    """The student's notebook (right, untouched) or the teacher's (wrong) with the hand-in's cells.

    Raises:
        Refused: it names a cell that the lab has not, or a right one leaves a task out.
    """
    if unknown := handin.blocks.keys() - set(lab.ids):
        raise Refused(f"{handin.lab}/{handin.name}: no cell {sorted(unknown)}; there are {lab.ids}")
    if unknown := handin.loses - {cell.id for cell in lab.tests}:
        raise Refused(f"{handin.lab}/{handin.name}: no test cell {sorted(unknown)}")
    work = {cell.id for cell in lab.cells if cell.kind == "code"}
    if handin.kind == "right" and handin.blocks and (left := work - handin.blocks.keys()):
        raise Refused(f"{handin.lab}/{handin.name}: a right hand-in writes {sorted(left)} too")
    as_given = handin.name == "(untouched)" or (handin.kind == "right" and handin.blocks)
    cells = []
    for cell in lab.cells:
        base = copy.deepcopy(cell.given_cell if as_given or cell.is_ours else cell.full_cell)
        if cell.id in handin.blocks:
            base.source = text_of(handin.blocks[cell.id], cell.cell_type)
        cells.append(base)
    return v4.new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL)})


def text_of(block: str, cell_type: str) -> str:
    """A block as a cell's source; Markdown may be written as comments."""
    lines = block.splitlines()
    if cell_type == "markdown" and all(line.startswith("#") for line in lines if line.strip()):
        return "\n".join(re.sub(r"^# ?", "", line) for line in lines)
    return block

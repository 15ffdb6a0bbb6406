"""Read a notebook that anybody may have written, and keep of it only what a notebook is."""

import json
import re

import nbformat
from nbformat import NotebookNode, v4

from tools.course import Refused

MAX_BYTES = 20_000_000
MAX_CELLS = 1000
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LOOKS_LIKE = {b"%PDF": "a PDF", b"PK": "a zip archive", b"<": "a web page", b"\x89PNG": "a picture"}
SHOWN = ("text/plain", "image/png", "image/jpeg")
MAKE = {"code": v4.new_code_cell, "markdown": v4.new_markdown_cell, "raw": v4.new_raw_cell}


def parse(data: bytes) -> tuple[NotebookNode, list[str]]:
    """A notebook of format 4.5, and remarks on what was odd.

    Raises:
        Refused: it is not a notebook, or too large.
    """
    if len(data) > MAX_BYTES:
        raise Refused(f"{len(data) / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read")
    loaded = load_json(data)
    if not isinstance(loaded, dict) or not ({"cells", "worksheets"} & loaded.keys()):
        raise Refused("not a notebook: JSON without cells")
    remarks = []
    major = loaded.get("nbformat")
    if "worksheets" in loaded or major in (2, 3):
        loaded = upgraded(loaded)
        remarks.append(f"format: nbformat {major}, converted")
    elif major != 4:
        remarks.append(f"format: nbformat {major!r}, read as 4")
    given = loaded["cells"]
    if not isinstance(given, list) or len(given) > MAX_CELLS:
        raise Refused(f"not a notebook that is read: at most {MAX_CELLS} cells in a list are")
    metadata = loaded.get("metadata")
    remarks += kernel_remarks(metadata if isinstance(metadata, dict) else {})
    seen: set[str] = set()
    cells = [clean_cell(cell if isinstance(cell, dict) else {}, seen) for cell in given]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), remarks


def load_json(data: bytes) -> object:
    if not data.strip():
        raise Refused("not a notebook: the file is empty")
    for start, name in LOOKS_LIKE.items():
        if data.lstrip().startswith(start):
            raise Refused(f"not a notebook but {name}")
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refused("not a notebook: not UTF-8 text") from error
    except RecursionError as error:
        raise Refused("not a notebook: nested too deeply") from error
    except ValueError as error:
        raise Refused(f"not a notebook: not JSON ({error})") from error


def upgraded(loaded: dict) -> dict:
    try:
        return nbformat.reads(json.dumps(loaded), as_version=4)
    except Exception as error:  # whatever nbformat stumbles over
        raise Refused(f"not a notebook that nbformat can convert ({error})") from error


def kernel_remarks(metadata: dict) -> list[str]:
    spec = metadata.get("kernelspec")
    spec = spec if isinstance(spec, dict) else {}
    name, language = spec.get("name", "python3"), str(spec.get("language", "python"))
    if language.lower() != "python" or re.fullmatch(r"ir|julia.*|octave", str(name)):
        return [f"kernel: {name!r} of language {language!r}, run as Python"]
    return [f"kernel: {name!r}, run as python3"] if name != "python3" else []


def clean_cell(cell: dict, seen: set[str]) -> NotebookNode:
    """The cell with a valid id of its own; of its metadata nbgrader's marks stay, of its outputs text and pictures."""
    kind = cell.get("cell_type")
    metadata = cell.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    made = MAKE.get(kind, v4.new_raw_cell)(
        source=joined(cell.get("source")),
        metadata={"nbgrader": dict(marks)} if isinstance(marks, dict) else {},
    )
    name = cell.get("id")
    if isinstance(name, str) and re.fullmatch(r"[\w-]{1,64}", name, re.A) and name not in seen:
        made["id"] = name
    seen.add(made["id"])
    if kind == "code" and isinstance(cell.get("outputs"), list):
        outputs = (clean_output(one) for one in cell["outputs"] if isinstance(one, dict))
        made["outputs"] = [one for one in outputs if one is not None]
    if kind == "markdown" and are_attachments(cell.get("attachments")):
        made["attachments"] = cell["attachments"]
    return made


def clean_output(output: dict) -> NotebookNode | None:
    """What the student saw: a text or a picture; None for anything else."""
    kind, data = output.get("output_type"), output.get("data")
    if kind == "stream":
        return v4.new_output("stream", name="stdout", text=joined(output.get("text")))
    if kind in ("display_data", "execute_result") and isinstance(data, dict):
        kept = {name: joined(data[name]) for name in SHOWN if name in data}
        return v4.new_output("display_data", kept) if kept else None
    if kind == "error":
        ename, evalue = joined(output.get("ename")), joined(output.get("evalue"))
        return v4.new_output("error", ename=ename, evalue=evalue, traceback=[])
    return None


def joined(text: object) -> str:
    """A text that may be given as lines, without halves of characters."""
    whole = "".join(map(str, text)) if isinstance(text, list) else str(text or "")
    return whole.encode("utf-8", "replace").decode("utf-8")


def are_attachments(given: object) -> bool:
    """Whether it is what nbformat allows: file name -> type -> text."""
    return isinstance(given, dict) and all(
        isinstance(kinds, dict) and all(isinstance(text, str) for text in kinds.values())
        for kinds in given.values()
    )

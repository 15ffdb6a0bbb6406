"""Hand-ins from folders and platforms, and everything that can be wrong with them before they run."""

import io
import json
import os
import stat
import struct
import zipfile
import zlib

import demo
import nbformat
import pytest
from tools import collect, students
from tools.archives import MAX_MEMBERS, Bad, entries
from tools.course import Course, Refused
from tools.notebooks import MAX_BYTES, parse


@pytest.fixture
def course(released, tmp_path) -> Course:
    return Course(tmp_path / "course")


def text(notebook) -> str:
    return nbformat.writes(notebook)


def put(folder, files: dict[str, str | bytes]):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def zipped(path, files: dict[str, str | bytes], dates: dict[str, tuple] | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (dates or {}).get(name, (2026, 10, 1, 12, 0, 0)))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def kinds(note: dict) -> list[str]:
    return [problem["kind"] for problem in note["problems"]]


def said(note: dict) -> str:
    return "; ".join(problem["text"] for problem in note["problems"])


def source_of(course: Course, student: str, name: str) -> str:
    return demo.find(nbformat.read(course.submitted(demo.LAB, student), as_version=4), name).source


# --- whose it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "student"),
    [
        ("anna.ipynb", "anna"),
        ("Anna Müller.ipynb", "Anna_Müller"),
        ("lab0-demo_anna.ipynb", "anna"),
        ("anna-lab0.ipynb", "anna"),
        ("anna (2).ipynb", "anna"),
        ("anna/whatever/x.ipynb", "anna"),
        ("李明/x.ipynb", "李明"),
        ("Anna Muster_12345_assignsubmission_file_/x.ipynb", "Anna_Muster"),
        ("Anna Muster_12345_assignsubmission_file_x.ipynb", "Anna_Muster"),
        ("musteranna_12345_67890_x.ipynb", "musteranna_12345"),
        ("musteranna_LATE_12345_67890_x-1.ipynb", "musteranna_12345"),
        ("../../etc.ipynb", "unnamed"),
        ("..../x.ipynb", "unnamed"),
        ("a;rm -rf/x.ipynb", "a_rm_-rf"),
    ],
)
def test_students_are_named_by_their_paths(path, student):
    assert students.owner(tuple(path.split("/")), demo.LAB).id == student


def test_a_folder_of_files_and_a_folder_of_folders(course, lab, solved, tmp_path):
    good = text(solved())
    given = put(
        tmp_path / "in", {"anna.ipynb": good, "ben/deep/down/x.ipynb": good, "note.txt": "hello"}
    )
    found = collect.collect(course, lab, given)
    assert {name: note["file"] for name, note in found.items()} == {
        "anna": "anna.ipynb",
        "ben": "ben/deep/down/x.ipynb",
        "note": None,
    }
    assert "note.txt" in said(found["note"])
    assert collect.students(course, demo.LAB) == ["anna", "ben", "note"]


def test_moodles_archive(course, lab, solved, tmp_path):
    files = {
        "Anna Muster_101_assignsubmission_file_/lab0-demo.ipynb": text(solved()),
        "Ben Öz_102_assignsubmission_file_/report.pdf": b"%PDF-1.7",
        "Ben Öz_102_assignsubmission_onlinetext_/onlinetext.html": "<p>sorry</p>",
    }
    found = collect.collect(course, lab, zipped(tmp_path / "moodle.zip", files))
    assert found["Anna_Muster"]["problems"] == []
    assert kinds(found["Ben_Öz"]) == ["no notebook"]
    assert "report.pdf" in said(found["Ben_Öz"])


def test_names_in_an_archive_that_does_not_say_that_they_are_utf_8(tmp_path, solved):
    path = zipped(tmp_path / "m.zip", {"Zoë_1_assignsubmission_file_/x.ipynb": "{}"})
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.index(signature) + offset
        (flags,) = struct.unpack_from("<H", raw, at)
        struct.pack_into("<H", raw, at, flags & ~0x800)
    path.write_bytes(raw)
    assert [entry.parts[0] for entry in entries(path)] == ["Zoë_1_assignsubmission_file_"]


def test_canvas_archive_takes_the_latest_attempt(course, lab, solved, tmp_path):
    files = {
        "musteranna_7_200_x-1.ipynb": text(solved(square="# second")),
        "musteranna_7_100_x.ipynb": text(solved(square="# first")),
        "ozben_LATE_8_300_lab0-demo.ipynb": text(solved()),
    }
    found = collect.collect(course, lab, zipped(tmp_path / "canvas.zip", files))
    assert set(found) == {"musteranna_7", "ozben_8"}
    assert source_of(course, "musteranna_7", "square") == "# second"
    assert "several notebooks" in kinds(found["musteranna_7"])


def test_two_students_of_one_name_are_told_apart(course, lab, solved, tmp_path):
    files = {
        "Anna M_1_assignsubmission_file_/lab0.ipynb": text(solved(square="# one")),
        "anna m_2_assignsubmission_file_/lab0.ipynb": text(solved(square="# two")),
    }
    found = collect.collect(course, lab, zipped(tmp_path / "m.zip", files))
    assert set(found) == {"Anna_M_1", "Anna_M_2"}
    assert all("same name" in kinds(note) for note in found.values())
    assert source_of(course, "Anna_M_2", "square") == "# two"


def test_one_folder_around_everything_is_no_student(course, lab, solved, tmp_path):
    files = {f"lab0 hand-ins/{name}/x_lab0.ipynb": text(solved()) for name in ("anna", "ben")}
    assert set(collect.collect(course, lab, zipped(tmp_path / "a.zip", files))) == {"anna", "ben"}


def test_students_on_the_list_without_a_hand_in(course, lab, solved, tmp_path):
    put(course.root, {"students.csv": "student;mail\nanna;a@b\nBen Öz;c@d\n"})
    found = collect.collect(course, lab, put(tmp_path / "in", {"anna.ipynb": text(solved())}))
    assert kinds(found["Ben_Öz"]) == ["no hand-in"]
    assert found["anna"]["problems"] == []


def test_several_attempts_the_latest_of_this_lab_counts(course, lab, solved, tmp_path):
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("another = 'lab'")])
    files = {
        "anna/attempt 9/a.ipynb": text(solved(square="# nine")),
        "anna/attempt 10/a.ipynb": text(solved(square="# ten")),
        "anna/zz-lab9.ipynb": text(other),
    }
    given = put(tmp_path / "in", files)
    for path in given.rglob("*.ipynb"):
        os.utime(path, (1e9, 1e9))
    os.utime(given / "anna/zz-lab9.ipynb", (2e9, 2e9))
    collect.collect(course, lab, given)
    assert source_of(course, "anna", "square") == "# ten"
    os.utime(given / "anna/attempt 9/a.ipynb", (1.5e9, 1.5e9))
    found = collect.collect(course, lab, given)
    assert source_of(course, "anna", "square") == "# nine", "the date comes before the name"
    assert "3 came; graded is anna/attempt 9/a.ipynb" in said(found["anna"])


def test_collecting_again_replaces_the_older_and_keeps_what_did_not_come(
    course, lab, solved, tmp_path
):
    first = put(
        tmp_path / "1", {"anna.ipynb": text(solved(square="# old")), "ben.ipynb": text(solved())}
    )
    collect.collect(course, lab, first)
    collect.collect(course, lab, put(tmp_path / "2", {"anna.ipynb": text(solved(square="# new"))}))
    assert source_of(course, "anna", "square") == "# new"
    assert collect.students(course, demo.LAB) == ["anna", "ben"]


# --- what is not a notebook -----------------------------------------------------------------------------------

DEEP = '{"cells": ' + "[" * 200_000 + "]" * 200_000 + "}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "not JSON"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\x03\x04", "a zip archive"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"[1, 2]", "JSON without cells"),
        (b'{"cells": 3, "nbformat": 4}', "cells in a list"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (DEEP.encode(), "nested too deeply"),
        (b" " * (MAX_BYTES + 1), "at most 20 MB"),
        (json.dumps({"nbformat": 4, "cells": [{}] * 1001}).encode(), "at most 1000 cells"),
    ],
)
def test_what_is_no_notebook_is_refused_with_the_reason(content, reason):
    with pytest.raises(Refused, match=reason):
        parse(content)


def test_one_bad_file_does_not_stop_the_others(course, lab, solved, tmp_path):
    files = {
        "anna.ipynb": text(solved()),
        "ben.ipynb": "no",
        "dora.ipynb": b"\xff\xfe\x00",
        "emil.py": "x = 1",
    }
    found = collect.collect(course, lab, put(tmp_path / "in", files))
    assert [name for name, note in found.items() if note["file"]] == ["anna"]
    assert all(note["problems"] for name, note in found.items() if name != "anna")
    assert not course.submitted(demo.LAB, "ben").exists()


def test_old_formats_and_other_kernels_are_read(given):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1", "language": "python",
                                   "outputs": [], "metadata": {}}], "metadata": {}}],
    }  # fmt: skip
    notebook, remarks = parse(json.dumps(old).encode())
    assert notebook.cells[0].source == "x = 1"
    assert remarks == ["format: nbformat 3, converted"]
    given.metadata.kernelspec = {"name": "ir", "language": "R", "display_name": "R"}
    given.nbformat = 5
    notebook, remarks = parse(json.dumps(given).encode())
    assert notebook.metadata.kernelspec.name == "python3"
    assert remarks == [
        "format: nbformat 5, read as 4",
        "kernel: 'ir' of language 'R', run as Python",
    ]


def test_a_notebook_from_colab_is_read_without_a_remark(given):
    colab = json.loads(nbformat.writes(given))
    colab["nbformat_minor"] = 0
    colab["metadata"] |= {"colab": {"provenance": [], "gpuType": "T4"}, "accelerator": "GPU"}
    for cell in colab["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["x"]}]
            cell["execution_count"] = 3
    notebook, remarks = parse(json.dumps(colab).encode())
    assert remarks == []
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in given.cells]
    assert len({cell.id for cell in notebook.cells}) == len(given.cells)
    assert notebook.cells[1].outputs[0].text == "x"


def test_of_outputs_text_and_pictures_stay():
    outputs = [
        {"output_type": "display_data", "data": {"text/html": "<script>", "application/javascript": "x"}},
        {"output_type": "execute_result", "data": {"image/png": "aa", "text/html": "<b>"}, "execution_count": 1},
        {"output_type": "error", "ename": "E", "evalue": "no", "traceback": [3]},
        {"output_type": "widget"}, "text", {"output_type": "stream", "text": None},
    ]  # fmt: skip
    cells = [{"cell_type": "code", "source": "", "outputs": outputs}]
    notebook, _ = parse(json.dumps({"nbformat": 4, "cells": cells}).encode())
    nbformat.validate(notebook)
    kept = notebook.cells[0].outputs
    assert [output.output_type for output in kept] == ["display_data", "error", "stream"]
    assert list(kept[0].data) == ["image/png"]


def test_odd_cells_become_cells():
    odd = [
        None, 3, {}, {"cell_type": "heading", "source": None}, {"cell_type": "code", "source": ["a", 1]},
        {"cell_type": "code", "source": "\ud800", "metadata": [], "id": "same"},
        {"cell_type": "markdown", "source": "b", "id": "same", "attachments": {"a": 3}},
    ]  # fmt: skip
    notebook, _ = parse(json.dumps({"nbformat": 4, "cells": odd}).encode())
    nbformat.validate(notebook)
    assert notebook.cells[4].source == "a1"
    assert len({cell.id for cell in notebook.cells}) == len(odd)


# --- archives that mean harm ----------------------------------------------------------------------------------


def test_paths_out_of_the_archive_are_not_followed(course, lab, solved, tmp_path):
    good = text(solved())
    files = {
        "anna/x_lab0.ipynb": good,
        "../../evil.ipynb": good,
        "ben/../../evil.ipynb": good,
        "/etc/evil.ipynb": good,
        "C:\\evil.ipynb": good,
        "..\\..\\evil.ipynb": good,
    }
    before = set(tmp_path.rglob("*"))
    path = zipped(tmp_path / "a.zip", files)
    found = collect.collect(course, lab, path)
    written = {p for p in set(tmp_path.rglob("*")) - before if p.is_file() and p != path}
    assert all(course.root in p.parents for p in written)
    assert sorted(p.parent.parent.name for p in written if p.suffix == ".ipynb") == ["anna"]
    assert sum("leads out" in said(note) for note in found.values()) == len(found) - 1


def test_links_are_not_followed(course, lab, solved, tmp_path):
    secret = put(tmp_path / "secret", {"x.ipynb": text(solved())})
    given = put(tmp_path / "in", {"anna.ipynb": text(solved())})
    (given / "ben.ipynb").symlink_to(secret / "x.ipynb")
    (given / "dora").symlink_to(secret)
    os.mkfifo(given / "emil.ipynb")
    found = collect.collect(course, lab, given)
    assert [name for name, note in found.items() if note["file"]] == ["anna"]
    assert all("not followed" in said(found[name]) for name in ("ben", "dora", "emil"))
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("ben/x.ipynb")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, str(secret / "x.ipynb"))
    assert [type(entry) for entry in entries(path)] == [Bad]


def test_a_bomb_is_cut_off_at_the_limit(course, lab, solved, tmp_path):
    files = {"anna/lab0.ipynb": text(solved()), "ben/lab0.ipynb": b"0" * (MAX_BYTES + 10)}
    path = zipped(tmp_path / "a.zip", files)
    assert path.stat().st_size < 100_000
    found = collect.collect(course, lab, path)
    assert "huge" in said(found["ben"])
    assert found["anna"]["file"]


def test_a_bomb_that_claims_to_be_small_is_cut_off_too(tmp_path):
    path = zipped(tmp_path / "a.zip", {"ben/lab0.ipynb": b"0" * (MAX_BYTES + 10)})
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", raw, raw.index(signature) + offset, 100)
    path.write_bytes(raw)
    (entry,) = entries(path)
    with pytest.raises(Refused, match=r"damaged|huge"):
        entry.read()


def test_damaged_encrypted_and_crowded_archives(tmp_path):
    content = b"some text that is long enough"
    path = zipped(tmp_path / "a.zip", {"ben/lab0.ipynb": content})
    raw = bytearray(path.read_bytes())
    at = raw.index(zlib.compress(content)[2:10])
    raw[at] ^= 0xFF
    path.write_bytes(raw)
    (entry,) = entries(path)
    with pytest.raises(Refused, match=r"damaged|unpacked"):
        entry.read()
    struct.pack_into("<H", raw, raw.index(b"PK\x01\x02") + 8, 1)
    path.write_bytes(raw)
    (entry,) = entries(path)
    with pytest.raises(Refused, match="encrypted"):
        entry.read()
    crowded = tmp_path / "b.zip"
    with zipfile.ZipFile(crowded, "w") as archive:
        for number in range(MAX_MEMBERS + 1):
            archive.writestr(zipfile.ZipInfo(str(number)), "")
    with pytest.raises(Refused, match="at most 20000"):
        list(entries(crowded))


def test_an_archive_within_an_archive_is_read_and_one_within_that_is_not(
    course, lab, solved, tmp_path
):
    inner = zipped(tmp_path / "inner.zip", {"lab0.ipynb": text(solved())}).read_bytes()
    nested = zipped(tmp_path / "nested.zip", {"again.zip": inner}).read_bytes()
    files = {"anna/my work.zip": inner, "ben/my work.zip": nested, "dora/broken.zip": b"PK\x03\x04"}
    found = collect.collect(course, lab, zipped(tmp_path / "a.zip", files))
    assert found["anna"]["file"] == "anna/my work/lab0.ipynb"
    assert kinds(found["ben"]) == ["no notebook"]
    assert "archive that is not read" in said(found["dora"])


def test_neither_folder_nor_archive_is_refused(course, lab, tmp_path):
    path = tmp_path / "x.rar"
    path.write_bytes(io.BytesIO(b"Rar!").getvalue())
    with pytest.raises(Refused, match="neither a folder nor a zip archive"):
        collect.collect(course, lab, path)

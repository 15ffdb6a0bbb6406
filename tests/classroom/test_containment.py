"""Hand-ins that mean harm are run for real, and neither the machine nor another grade comes to it (Linux only)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import hostile_hands as hands
import nbformat
import numpy as np
import psutil
import pytest
from nbconvert.exporters import NotebookExporter
from nbformat import v4
from tools import cgroups, contain, hidden, sandbox, syscalls
from traitlets.config import Config

MB = 2**20
LIMITS = contain.Limits(notebook_seconds=240, memory=600 * MB, tasks=100, disk=32 * MB, files=2000)
SOON = {"fork", "loop", "loop_when_called"}  # they end at the time limit, so that is short
TRICKS = {
    "patch_",
    "hide_",
    "forge_",
    "hook_",
    "innocent_",
}  # prefixes of files for test_integrity.py
HARM = [p for p in sorted(hands.FOLDER.glob("*.py")) if not p.stem.startswith(tuple(TRICKS))]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
as_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="session", autouse=True)
def _sandbox():
    """A machine that cannot contain hand-ins fails these tests, and says what to do."""
    if sys.platform == "linux":
        assert contain.containment_available() == []


def left_over() -> list[str]:
    """Processes, control groups and folders of sandboxes whose supervisor or grader is gone (others may be at work)."""
    found = []
    for process in psutil.process_iter(["uids"]):
        uid = process.info["uids"].real if process.info["uids"] else 0
        if uid >= sandbox.FIRST_UID and not psutil.pid_exists(uid - sandbox.FIRST_UID):
            found.append(f"process {process.pid}")
    found += [
        f"process {p.pid}" for p in psutil.Process().children(recursive=True) if p.name() == "bwrap"
    ]
    for group in Path("/sys/fs/cgroup").glob(f"*/**/{cgroups.NAME}*"):
        if not psutil.pid_exists(int(group.name.removeprefix(cgroups.NAME))):
            found.append(str(group))
    for folder in Path(tempfile.gettempdir()).glob("contain-*/settings.json"):
        if json.loads(folder.read_text())["parent"] == os.getpid():
            found.append(str(folder))
    return found


@pytest.fixture
def canary(monkeypatch):
    """Files that no hand-in may see: in the temporary folder and in the home, beside the checkout's own."""
    monkeypatch.setenv("CLASSROOM_CANARY", "x")
    places = [Path(tempfile.gettempdir()), Path.home()]
    files = [place / f"canary-{os.getpid()}.txt" for place in places]
    for file in files:
        file.write_text("another hand-in")
    yield files
    assert all(file.exists() for file in files), "a hand-in deleted a file of the machine"
    for file in files:
        file.unlink()


def run(hostile: hands.Hostile, **traits) -> tuple:
    nb = hands.notebook(hostile.source)
    limits = replace(LIMITS, cell_seconds=8.0) if hostile.name in SOON else LIMITS
    report = contain.contained_execute(nb, limits, check_integrity=False, **traits)
    return nb, report


def check(hostile: hands.Hostile, nb, report) -> None:
    """As the file's header says; and what ran before it keeps its points."""
    seen = f"{hostile.what}: {report} {[c.outputs for c in nb.cells]}"
    lost = hands.lost(nb)
    assert "before-tests" not in lost, seen
    assert report.status in hostile.ends or "any" in hostile.ends, seen
    assert lost == hostile.loses or "any" in hostile.loses, seen
    assert len(hands.text_of(nb)) < 4 * MB, hostile.what
    assert report.seconds < LIMITS.notebook_seconds, seen
    assert report.user
    assert report.memory_by
    json.dumps(report.as_dict())


@needs_linux
@pytest.mark.parametrize("path", HARM, ids=lambda p: p.stem)
def test_harm_is_contained(path: Path, canary):
    hostile = hands.read(path)
    nb, report = run(hostile)
    check(hostile, nb, report)
    assert not [p for p in psutil.Process().children() if p.name() == "bwrap"]
    if hostile.name == "network":
        assert {"192.0.2.1 80", "example.com 80"} <= set(report.network)


@needs_linux
@pytest.mark.parametrize(
    "name", ["children", "memory", "memory_of_children", "parent", "powers", "read", "disk"]
)
def test_harm_is_contained_in_a_user_namespace_and_without_cgroups(name: str, canary):
    """What an ordinary user has, run by whoever runs the tests (but the kernel does not limit root's tasks there)."""
    hostile = hands.read(hands.FOLDER / f"{name}.py")
    nb, report = run(hostile, user_namespace=True, use_cgroups=False)
    check(hostile, nb, report)
    assert (report.user, report.memory_by) == ("user namespace", "watcher")


ORDINARY = """
import json, sys
sys.path[:0] = {paths!r}
import hostile_hands as hands
from tools import contain
out = {{}}
for name in {names!r}:
    nb = hands.notebook((hands.FOLDER / f"{{name}}.py").read_text())
    limits = contain.Limits(**{limits!r})
    report = contain.contained_execute(nb, limits, check_integrity=False)
    out[name] = [report.as_dict(), sorted(hands.lost(nb))]
print(json.dumps(out))
"""


@as_root
def test_an_ordinary_user_can_contain_hand_ins(tmp_path: Path):
    """As a user without rights; Python's folder is made reachable for it where it lies in root's home."""
    names = ["powers", "memory", "parent", "fork", "network", "tasks"]
    limits = {"memory": LIMITS.memory, "cell_seconds": 20, "tasks": LIMITS.tasks}
    paths = [str(hands.FOLDER.parent), str(sandbox.TOOLS.parent)]
    code = ORDINARY.format(paths=paths, names=names, limits=limits)
    # In mounts of its own, /root holds nothing but Python, and everybody may enter it.
    prepare = "true"
    base = Path(sys.base_prefix)
    if base.is_relative_to("/root"):
        kept = tmp_path / "base"
        kept.mkdir()
        prepare = (
            f"mount --bind {base} {kept} && mount -t tmpfs -o mode=755 none /root && "
            f"mkdir -p {base} && mount --bind {kept} {base}"
        )
    home = Path(tempfile.mkdtemp(prefix="ordinary-"))
    os.chown(home, 65534, 65534)
    ordinary = "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs"
    clean = f"env -i PATH={os.environ['PATH']} HOME={home} MPLCONFIGDIR={home} LANG=C.UTF-8"
    script = f'{prepare} && cd / && exec {ordinary} {clean} "$0" -W ignore -c "$1"'
    try:
        answer = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, sys.executable, code],
            capture_output=True,
            text=True,
            timeout=240,
        )
    finally:
        shutil.rmtree(home)
    assert answer.returncode == 0, answer.stderr[-3000:]
    for name, (report, lost) in json.loads(answer.stdout.splitlines()[-1]).items():
        hostile = hands.read(hands.FOLDER / f"{name}.py")
        assert report["status"] in hostile.ends or "any" in hostile.ends, (name, report)
        assert set(lost) == hostile.loses or "any" in hostile.loses, (name, lost, report)
        assert (report["user"], report["memory_by"]) == ("user namespace", "watcher")


@needs_linux
def test_nothing_is_left_over():
    """After all of the above (and at any other time, too)."""
    time.sleep(0.5)
    assert left_over() == []


@needs_linux
def test_the_sandbox_ends_with_the_grader():
    code = (
        f"import sys, os; sys.path[:0] = {[str(sandbox.TOOLS.parent), str(hands.FOLDER.parent)]!r}\n"
        "import hostile_hands as hands\nfrom tools import contain\n"
        "nb = hands.notebook('import os, time\\nprint(1)\\ntime.sleep(99)')\n"
        "contain.contained_execute(nb, check_integrity=False)\n"
    )
    grader = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    for _ in range(300):
        time.sleep(0.1)
        family = psutil.Process(grader.pid).children(recursive=True)
        if any("kernel.py" in " ".join(p.cmdline()) and p.name() != "bwrap" for p in family):
            break
    else:
        pytest.fail("no kernel came up")
    grader.kill()
    grader.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


@needs_linux
def test_limits_of_the_whole_notebook_and_of_its_output():
    slow = hands.notebook("import time\ntime.sleep(2)\n\n\ndef double(x):\n    time.sleep(9)\n")
    report = contain.contained_execute(
        slow, contain.Limits(cell_seconds=30, notebook_seconds=4), check_integrity=False
    )
    assert (report.status, report.stopped_at) == ("NotebookTimeLimit", "double-tests")
    assert report.not_run == ["after-tests"]
    assert hands.lost(slow) == {"double-tests", "after-tests"}
    wordy = hands.notebook(
        "print('x' * 60_000)\n\n\ndef double(x):\n    print('y' * 60_000)\n    return 2 * x\n"
    )
    limits = contain.Limits(notebook_output=150_000, cell_output=10**6)
    report = contain.contained_execute(wordy, limits, check_integrity=False)
    assert (report.status, report.stopped_at) == ("OutputLimit", "double-tests")
    assert hands.by_name(wordy, "after-tests").outputs[0].ename == "NotRun"


@needs_linux
def test_a_right_hand_in_keeps_its_points_and_warnings_cost_none():
    source = (
        "import sys\nimport warnings\n\nimport numpy as np\n\n\ndef double(x):\n"
        "    warnings.warn('careful')\n    print('note', file=sys.stderr)\n    return 2 * x\n"
    )
    nb = hands.notebook(source)
    report = contain.contained_execute(nb, LIMITS)
    assert (hands.lost(nb), report.status, report.tampered) == (set(), "finished", {}), nb.cells[
        3
    ].outputs
    assert [c["grade_id"] for c in report.cells] == [
        "before",
        "before-tests",
        "double",
        "double-tests",
        "after-tests",
    ]
    assert nb.cells[3].source == hands.TESTS


@needs_linux
@pytest.mark.parametrize(
    ("last", "points"),
    [("1.5", 1.5), ("0", 0), ("3.0", 0), ("'many'", 0), ("-1", 0), ("assert True", 2), ("None", 2)],
)
def test_partial_grades(last: str, points: float):
    """nbgrader stops on one that is too large, and gives full points for one that is no number."""
    nb = v4.new_notebook(cells=[hands.cell(f"x = 1\n{last}\n", "t", 2)])
    judge = contain.ContainedExecute()
    if last[0] not in "aN":
        nb.cells[0].outputs = [
            v4.new_output("execute_result", {"text/plain": last}, execution_count=1)
        ]
    judge._partial(nb.cells[0])
    from nbgrader.utils import determine_grade

    assert determine_grade(nb.cells[0]) == (points, 2)


@needs_linux
def test_it_is_a_preprocessor_of_nbconvert_and_nbgrader():
    """As `Autograde.autograde_preprocessors` uses it: made by an exporter, with limits from a configuration."""
    config = Config({"ContainedExecute": {"cell_seconds": 3.0, "check_integrity": False}})
    exporter = NotebookExporter(config=config)
    exporter.register_preprocessor(contain.ContainedExecute)
    nb = hands.notebook("while True:\n    pass\n")
    text, resources = exporter.from_notebook_node(nb)
    assert resources["containment"].status == "CellTimeLimit"
    done = nbformat.reads(text, 4)
    assert done.metadata["containment"]["stopped_at"] == "double"
    assert hands.lost(done) == {"double-tests", "after-tests"}


# --- the sandbox's parts ----------------------------------------------------------------------------------------


@needs_linux
def test_a_hidden_folder_inside_a_bound_one_is_empty_inside(tmp_path: Path):
    course = tmp_path / "course"
    (course / "source").mkdir(parents=True)
    (course / "source" / "canary").write_text("x")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "points").write_text("1 2")
    line = sandbox.command(
        sandbox.Limits(),
        uid=sandbox.FIRST_UID if sandbox.own_uid() else None,
        readable=(str(tmp_path),),
        hide=(str(course),),
    )
    look = f"find {tmp_path} -mindepth 1; cat {tmp_path}/data/points; touch {tmp_path}/data/mine"
    answer = subprocess.run([*line, "sh", "-c", look], capture_output=True, text=True)
    assert answer.stdout.split() == [
        str(course),
        str(tmp_path / "data"),
        str(tmp_path / "data/points"),
        "1",
        "2",
    ] or (
        sorted(answer.stdout.split()[:3])
        == sorted([str(course), f"{tmp_path}/data", f"{tmp_path}/data/points"])
    )
    assert "Read-only file system" in answer.stderr
    with pytest.raises(ValueError, match="cannot be hidden"):
        sandbox.binds((), ("/usr",))


def test_only_python_and_the_system_are_bound():
    line = sandbox.binds((), ())
    bound = [Path(line[i + 1]) for i, word in enumerate(line) if word == "--ro-bind"]
    checkout = Path(__file__).resolve().parents[2]
    assert not [p for p in bound if p in (checkout, *checkout.parents)]
    assert Path.home() not in bound
    assert not [p for p in bound if p.name in ("shadow", "passwd", "ssh", "ssl")]


def test_limits_are_checked():
    with pytest.raises(ValueError, match="memory is 0"):
        contain.Limits(memory=0)


def test_what_is_missing_is_said(monkeypatch):
    sandbox.containment_available.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    try:
        (problem,) = contain.containment_available()
        assert "bubblewrap is missing" in problem or "Linux only" in problem
        if sys.platform == "linux":
            with pytest.raises(contain.ContainmentError, match="bubblewrap"):
                contain.contained_execute(hands.notebook(""), check_integrity=False)
    finally:
        monkeypatch.undo()
        sandbox.containment_available.cache_clear()


def test_the_filter_ends_in_three_returns_and_jumps_into_itself():
    for machine, refused in (("x86_64", 272), ("aarch64", 97)):
        code = np.frombuffer(
            syscalls.program(machine),
            np.dtype([("op", "u2"), ("t", "u1"), ("f", "u1"), ("k", "u4")]),
        )
        assert list(code["op"][-3:]) == [syscalls.RETURN] * 3
        assert simulate(code, machine, refused) == "EPERM"
        assert simulate(code, machine, syscalls.CLONE3) == "ENOSYS"
        clone = syscalls.CLONE[machine == "aarch64"]
        assert simulate(code, machine, clone, 0x11) == "allow"
        assert simulate(code, machine, clone, 0x10000011) == "EPERM"
        assert simulate(code, machine, 0) == "allow"
        assert simulate(code, "other", 0) == "EPERM"
    assert simulate(code, "aarch64", 0x40000001) == "allow"
    assert syscalls.program("riscv64") is None


def simulate(code, machine: str, number: int, argument: int = 0) -> str:
    """What a classic BPF program answers to a system call."""
    arch = syscalls.MACHINES.get(machine, (0, 7))[1]
    memory = {0: number, 4: arch, 16: argument}
    at = value = 0
    while True:
        op, true, false, constant = (int(word) for word in code[at])
        at += 1
        if op == syscalls.LOAD:
            value = memory[constant]
        elif op == syscalls.RETURN:
            return {0x7FFF0000: "allow", 0x50001: "EPERM", 0x50026: "ENOSYS"}[constant]
        else:
            holds = {
                syscalls.EQUAL: value == constant,
                syscalls.AT_LEAST: value >= constant,
                syscalls.ANY_BIT: bool(value & constant),
            }[op]
            at += true if holds else false


@pytest.mark.parametrize("version", [1, 2])
def test_control_groups_of_both_versions(tmp_path: Path, version: int):
    """In folders that stand for the kernel's: which files are written, and with what."""
    if version == 1:
        (tmp_path / "memory" / "mine").mkdir(parents=True)
        (tmp_path / "pids").mkdir()
        text = "5:pids:/\n4:memory:/mine\n0::/\n"
    else:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "cgroup.subtree_control").write_text("cpu\n")
        (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
        text = "0::/mine\n"
    group = cgroups.make(1000, 10, tmp_path, text)
    assert group.version == version
    folder = group.folders[0]
    assert folder.parent == (tmp_path / "memory" / "mine" if version == 1 else tmp_path)
    limit = folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")
    assert limit.read_text() == "1000"
    assert (group.folders[-1] / "pids.max").read_text() == "20"
    words = ("total_rss", "total_shmem") if version == 1 else ("anon", "shmem")
    (folder / "memory.stat").write_text(f"cache 5\n{words[0]} 70\n{words[1]} 8\n")
    (folder / ("memory.oom_control" if version == 1 else "memory.events")).write_text(
        "low 0\noom_kill 3\n"
    )
    assert (group.used(), group.killed()) == (78, 3)


def test_without_control_groups_there_is_none(tmp_path: Path):
    assert cgroups.make(1000, 10, tmp_path, "0::/mine\n") is None
    assert cgroups.make(1000, 10, tmp_path, "4:memory:/mine\n") is None


# --- feedback ---------------------------------------------------------------------------------------------------

LEAK = """import sys

seen = []


def double(x):
    frame = sys._getframe(1)
    seen.append(repr(frame.f_globals.get("In", "")) + repr(frame.f_code.co_consts) + "the canary of hidden tests")
    raise AssertionError("".join(seen))
"""


def graded_by_hand(source: str = hands.TESTS, **error) -> tuple:
    """A graded notebook and what its student handed in."""
    raw = hands.notebook("print('mine')")
    hands.by_name(raw, "double").outputs = [v4.new_output("stream", text="mine\n")]
    nb = hands.notebook("print('mine')", source)
    for one in nb.cells:
        one.outputs = [v4.new_output("stream", text="the canary of hidden tests\n")]
    hands.by_name(nb, "before-tests").outputs = []
    hands.by_name(nb, "after-tests").outputs = []
    hands.by_name(nb, "double-tests").outputs += [v4.new_output("error", **error)]
    return nb, raw


def test_feedback_shows_the_students_outputs_and_the_teachers_words():
    trace = ["\x1b[31mCell\x1b[39m In[2], line 7\n", "File /x.py, line 99"]
    nb, raw = graded_by_hand(
        ename="AssertionError", evalue="the canary of hidden tests", traceback=trace
    )
    copy = hidden.feedback_copy(nb, raw)
    assert "canary" not in hands.text_of(copy)
    assert hands.by_name(copy, "double").outputs[0].text == "mine\n"
    said = hands.by_name(copy, "double-tests")
    assert said.outputs[0].text == "a hidden check failed: wrong for negative numbers\n"
    assert "# (hidden checks)" in said.source
    assert "allclose" not in said.source
    assert hands.by_name(copy, "before-tests").outputs[0].text == "all checks passed\n"
    assert "canary" in hands.text_of(nb)  # the teacher's own is untouched


@pytest.mark.parametrize(
    ("ename", "trace", "said"),
    [
        ("AssertionError", "Cell In[2], line 3", "a check failed: double(3) is ..."),
        ("ZeroDivisionError", "Cell In[2], line 8", "a hidden check ended with ZeroDivisionError"),
        ("the canary", "", "a check ended with an error"),
        ("MemoryLimit", "", contain.ENAMES["MemoryLimit"]),
    ],
)
def test_sentences_have_nothing_that_a_hand_in_chose(ename: str, trace: str, said: str):
    output = v4.new_output("error", ename=ename, evalue="the canary", traceback=[trace])
    assert hidden.sentence(hands.TESTS, output) == said


def test_names_that_a_hand_in_chose_are_not_repeated():
    output = v4.new_output("error", ename="Tampered", evalue="the canary", traceback=[])
    text = hidden.sentence("", output, ["sys.settrace changed (the canary)"])
    assert text == f"{contain.ENAMES['Tampered']}: sys.settrace changed"


@needs_linux
def test_feedback_of_a_hand_in_that_reads_hidden_tests_has_none_of_them():
    nb = hands.notebook(LEAK)
    nb.cells.append(hands.cell("print(seen)\nraise ValueError(str(seen))", "late"))
    contain.contained_execute(nb, LIMITS, check_integrity=False)
    assert "canary" in hands.text_of(v4.new_notebook(cells=[hands.by_name(nb, "late")]))
    copy = hidden.feedback_copy(nb, hands.notebook(LEAK))
    for one in copy.cells:
        if one.metadata["nbgrader"]["grade_id"] != "double":  # the student's own text
            assert "canary" not in str(one)

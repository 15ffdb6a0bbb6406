"""environment.yml, constraint files and workflows agree with pyproject.toml and with what they call."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import deprecations
import environments
import pytest
import run
import test_versions
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RUNNING = "{}.{}".format(*sys.version_info[:2])

by_stem = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
posix = pytest.mark.skipif(os.name == "nt", reason="the made-up interpreters are shell scripts")


def constraints(name: str) -> dict[str, str]:
    return environments.pins((ROOT / "constraints" / f"{name}.txt").read_text())


def bound(requirement: Requirement) -> Version:
    """The lower bound of a requirement."""
    (only,) = [spec for spec in requirement.specifier if spec.operator == ">="]
    return Version(only.version)


# --- pyproject.toml and environment.yml -----------------------------------------------------------------------


def test_dependencies_have_lower_bounds_only():
    """A cap or a pin would replace what Colab has installed."""
    for requirement in DEPENDENCIES:
        assert [spec.operator for spec in requirement.specifier] == [">="], str(requirement)
        assert requirement.url is None, str(requirement)


def test_extras_have_lower_bounds_only_but_for_jupyter_book():
    """Version 2 of Jupyter Book reads none of this book's configuration."""
    for requirement in (r for requirements in EXTRAS.values() for r in requirements):
        allowed = ["<"] if requirement.name == "jupyter-book" else [">="]
        assert [spec.operator for spec in requirement.specifier] == allowed, str(requirement)


def test_environment_yml_agrees_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    versions = dict(line.split("=", 1) for line in plain if "=" in line)
    # Packages come from pyproject.toml alone.
    assert {line.split("=")[0] for line in plain} == {"python", "pip"}
    assert Version(versions["python"]) in SpecifierSet(PROJECT["requires-python"])
    (install,) = pip
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", install)[1].split(",")
    assert {"book", "test"} <= set(extras) <= set(EXTRAS)


# --- constraint files -----------------------------------------------------------------------------------------


def test_there_is_one_constraint_file_an_environment():
    found = {path.stem for path in (ROOT / "constraints").iterdir()}
    assert found == set(environments.ENVIRONMENTS)


@pytest.mark.parametrize("name", environments.ENVIRONMENTS)
def test_constraints_satisfy_the_lower_bounds_and_are_complete(name):
    pinned = constraints(name)
    tools = [Requirement(line) for line in environments.requirements_of_tests(PROJECT)]
    for requirement in [*DEPENDENCIES, *tools]:
        version = pinned[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{name}: {requirement}, but {version}"


@pytest.mark.parametrize("name", environments.ENVIRONMENTS)
def test_constraints_are_pins_after_a_comment_that_says_how_they_are_written(name):
    text = (ROOT / "constraints" / f"{name}.txt").read_text()
    assert text.startswith("#")
    assert f"python scripts/test_versions.py --lock {name}\n" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    names = []
    for line in lines:
        requirement = Requirement(line)
        assert [spec.operator for spec in requirement.specifier] == ["=="], line
        names.append(canonicalize_name(requirement.name))
    assert len(names) == len(set(names))
    assert not re.search(r"://|/(root|home|Users|tmp)/", text), "an address or a path of a machine"


def test_lowest_is_what_pyproject_declares():
    pinned = constraints("lowest")
    for requirement in DEPENDENCIES:
        version = Version(pinned[canonicalize_name(requirement.name)])
        assert version == bound(requirement), f"{requirement}, but {version} is tested"
    # Of tools, the first release of the declared series: some have no .0.
    for line in environments.requirements_of_tests(PROJECT):
        requirement = Requirement(line)
        version, lowest = (
            Version(pinned[canonicalize_name(requirement.name)]),
            bound(requirement).release,
        )
        assert version.release[: len(lowest)] == lowest, f"{requirement}, but {version} is tested"


def test_lowest_is_tested_on_the_lowest_python():
    assert PROJECT["requires-python"] == f">={environments.ENVIRONMENTS['lowest']}"


def test_colab_has_the_versions_of_colab():
    pinned = constraints("colab")
    wanted = {"jax": "0.7.2", "jaxlib": "0.7.2", "flax": "0.11.2", "optax": "0.2.8"}
    wanted |= {"numpy": "2.1.3", "matplotlib": "3.10.0", "ipykernel": "6.17.1"}
    assert {name: pinned[name] for name in wanted} == wanted


def test_newest_is_not_older_than_the_lock():
    newest = constraints("newest")
    python = environments.ENVIRONMENTS["newest"]
    where = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    locked = {}
    for line in re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements.lock").read_text(), re.M):
        requirement = Requirement(line.strip())
        if requirement.marker is None or requirement.marker.evaluate(where):
            (spec,) = requirement.specifier
            locked[canonicalize_name(requirement.name)] = Version(spec.version)
    assert {"jax", "flax", "optax", "numpy", "pytest"} <= locked.keys() & newest.keys()
    older = {n: v for n, v in newest.items() if n in locked and Version(v) < locked[n]}
    assert older == {}, "run: python scripts/test_versions.py --lock newest"


def test_pins_read_names_and_versions():
    text = "# a==1\nml_dtypes==0.6.0\n\nJAX==0.7.2  # why\nnumpy>=2\n"
    assert environments.pins(text) == {"ml-dtypes": "0.6.0", "jax": "0.7.2"}


def test_lock_keeps_what_is_kept_by_hand(monkeypatch, tmp_path):
    seen = {}

    def solve(command, **options):
        seen["by hand"] = Path(command[command.index("--constraint") + 1]).read_text()
        seen["input"] = options["input"].splitlines()
        return subprocess.CompletedProcess(command, 0, "jax==0.7.2\nnew==2\nml-dtypes==0.6\n", "")

    head = "# by hand\njax==0.7.2\nml_dtypes==0.6\n"
    (tmp_path / "colab.txt").write_text(f"{head}{environments.RESOLVED}old==1\n")
    monkeypatch.setattr(environments, "CONSTRAINTS", tmp_path)
    monkeypatch.setattr(environments, "find_python", lambda version: Path(sys.executable))
    monkeypatch.setattr(environments.shutil, "which", lambda name: name)
    monkeypatch.setattr(environments.subprocess, "run", solve)
    environments.lock("colab")
    assert (tmp_path / "colab.txt").read_text() == f"{head}{environments.RESOLVED}new==2\n"
    assert "old==1" not in seen["by hand"]
    assert set(PROJECT["dependencies"]) < set(seen["input"])


def test_lock_without_uv_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="uv was not found; install it: python -m pip install uv"):
        environments.lock("newest")


# --- interpreters ---------------------------------------------------------------------------------------------


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_running_interpreter_is_found():
    found = environments.find_python(RUNNING, {"PATH": ""})
    assert environments.interpreter([str(found)])[0] == RUNNING


@posix
def test_a_python_on_path_comes_first_and_a_shim_that_starts_none_is_passed_over(tmp_path):
    shim = script(tmp_path / "bin" / f"python{RUNNING}", "echo 'command not found' >&2; exit 127")
    environ = {"PATH": str(shim.parent)}
    assert environments.candidates(RUNNING, environ)[0] == [str(shim)]
    assert environments.find_python(RUNNING, environ) == Path(sys.executable)
    script(shim, f"echo '{RUNNING} /opt/python'")
    assert environments.find_python(RUNNING, environ) == Path("/opt/python")


@posix
def test_pyenv_gives_its_newest_patch_release(tmp_path):
    for version in ("3.99.9", "3.99.10", "3.9.9"):
        path = tmp_path / "versions" / version / "bin" / "python"
        script(path, f"echo '{version.rpartition('.')[0]} {path}'")
    found = environments.find_python("3.99", {"PATH": "", "PYENV_ROOT": str(tmp_path)})
    assert found.parts[-3] == "3.99.10"


def test_a_missing_python_is_named_and_how_to_give_one():
    with pytest.raises(
        SystemExit, match=r"Python 3\.99 was found neither .* IMGBOOK_PYTHON_3_99=/path/to/python$"
    ):
        environments.find_python("3.99", {"PATH": "", "PYENV_ROOT": "/nowhere"})


def test_a_python_that_is_named_is_taken_if_it_is_the_right_one():
    variable = f"IMGBOOK_PYTHON_{RUNNING.replace('.', '_')}"
    assert environments.find_python(RUNNING, {variable: sys.executable}) == Path(sys.executable)
    with pytest.raises(SystemExit, match=rf"is Python {RUNNING}; it must be .* Python 3\.99$"):
        environments.find_python("3.99", {"IMGBOOK_PYTHON_3_99": sys.executable})
    with pytest.raises(SystemExit, match=r"=/nowhere/python starts no Python; it must be"):
        environments.find_python(RUNNING, {variable: "/nowhere/python"})


def test_an_unknown_environment_is_refused_with_the_allowed_ones(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["test_versions.py", "oldest"])
    with pytest.raises(SystemExit):
        test_versions.main()
    assert "unknown environment 'oldest'; allowed: colab, lowest, newest" in capsys.readouterr().err


def test_variables_of_the_caller_do_not_leak(tmp_path):
    foreign = ("PYTHONPATH", "IMGBOOK_DATA_DIR", "JAX_ENABLE_X64", "VIRTUAL_ENV", "MPLBACKEND")
    given = dict.fromkeys(foreign, "x") | {"IMGBOOK_PRESET": "full", "PATH": "/bin", "HOME": "/h"}
    given |= {"IPYTHONDIR": "x", "PYTHONWARNINGS": "ignore", "PIP_INDEX_URL": "i"}
    found = test_versions.clean_environment(tmp_path, given)
    assert not found.keys() & {*foreign, "PYTHONWARNINGS"}
    assert found["IMGBOOK_PRESET"] == "smoke"
    assert found["IPYTHONDIR"].startswith(str(tmp_path))
    assert (found["PATH"], found["HOME"], found["PIP_INDEX_URL"]) == ("/bin", "/h", "i")


def test_files_that_are_left_out_exist():
    """A renamed file would run where it cannot."""
    assert [n for n in test_versions.CHECKOUT_TESTS if not (ROOT / "tests" / n).exists()] == []


def imported(path: Path) -> set[str]:
    """The top-level names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_tests_of_the_package_import_nothing_else():
    """What they import is there under every version; a test that needs more is one of the checkout."""
    tools = [Requirement(line) for line in environments.requirements_of_tests(PROJECT)]
    there = {requirement.name for requirement in [*DEPENDENCIES, *tools]} - {"pillow"} | {"PIL"}
    there |= {"IPython", "imgbook"} | sys.stdlib_module_names
    there |= {path.stem for path in (ROOT / "tests").glob("*.py")}
    there |= {"demo"}  # a package that a test makes
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        if path.name not in test_versions.CHECKOUT_TESTS:
            more = imported(path) - there
            assert not more, f"{path.name} imports {more}: add it to CHECKOUT_TESTS"
    assert "yaml" in imported(Path(__file__))


# --- deprecations in notebooks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "category", "stops"),
    [
        ("__main__", DeprecationWarning, True),
        ("imgbook", PendingDeprecationWarning, True),
        ("imgbook.gan", FutureWarning, True),
        ("jax._src.numpy.lax_numpy", DeprecationWarning, True),
        ("flax.nnx.variablelib", DeprecationWarning, True),
        ("optax", DeprecationWarning, True),
        ("jaxtyping", DeprecationWarning, False),
        ("pyparsing.core", DeprecationWarning, False),
        ("__main__", UserWarning, False),
    ],
)
def test_startup_file_makes_deprecations_errors(tmp_path, module, category, stops):
    path = deprecations.write_startup(tmp_path)
    assert path.parent == tmp_path / "profile_default" / "startup"
    names: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(path.read_text(), names)
        space = {"__name__": module, "warn": warnings.warn, "category": category}
        if stops:
            with pytest.raises(category, match="control"):
                exec("warn('control', category)", space)
        else:
            exec("warn('control', category)", space)
    assert names.keys() == {"__builtins__"}, "names are left in the user's notebook"


def failed_cell(text: str) -> ET.Element:
    case = ET.Element("testcase")
    ET.SubElement(case, "failure").text = text
    return case


def test_what_stopped_a_cell_is_read_from_the_report():
    assert deprecations.stopped_by(ET.Element("testcase")) is None
    # The cell's own text names a warning too; what counts is the line that Python ends with.
    text = "Input:\n#x1B[0mwarnings.warn('control', FutureWarning)\nTraceback:\n"
    ended = "#x1B[31mAttributeError#x1B[39m: no FutureWarning: here\n"
    assert deprecations.stopped_by(failed_cell(text + ended)) == "AttributeError"
    assert deprecations.stopped_by(failed_cell("DeprecationWarning: old\n\n  use new\n")) == (
        "DeprecationWarning"
    )
    assert deprecations.stopped_by(failed_cell("Kernel died")) == "Kernel died"


def test_controls_cover_every_category_and_a_cell_that_passes():
    ends = {warning for _, warning in deprecations.CONTROLS.values()}
    assert ends == {None, *deprecations.CATEGORIES}


# --- workflows ------------------------------------------------------------------------------------------------


def workflow(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


@by_stem
def test_commands_of_workflows_exist(path):
    targets = set(run.TASKS)
    for step in steps(path):
        for called in re.findall(r"(?:scripts/run\.py|\bmake) +([\w-]+)", step.get("run", "")):
            assert called in targets, f"{path.name}: {called}; allowed: {sorted(targets)}"
        for called in re.findall(r"scripts/[\w./-]+\.py", step.get("run", "")):
            assert (ROOT / called).is_file(), f"{path.name} calls {called}"


@by_stem
def test_workflows_have_bounds(path):
    """At most read access by default, one run at a time, no job without a time limit, actions by major version."""
    found = workflow(path)
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]["group"].startswith(path.stem)
    assert all(1 <= job["timeout-minutes"] <= 120 for job in found["jobs"].values())
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)] == []


@by_stem
def test_workflows_name_no_repository(path):
    """A fork runs them as they are: the address comes from GitHub's own variables."""
    assert not re.search(r"github\.(com|io)/|localhost|/(root|home|work)/", path.read_text())


def test_python_versions_of_the_workflows():
    matrix = workflow(ROOT / ".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert PROJECT["requires-python"].removeprefix(">=") in matrix["python"]
    systems = {*matrix["os"], *(row["os"] for row in matrix["include"])}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    (python,) = [
        step["with"]["python-version"].split()
        for step in steps(ROOT / ".github/workflows/versions.yml")
        if "setup-python" in step.get("uses", "")
    ]
    assert set(python) == set(environments.ENVIRONMENTS.values())

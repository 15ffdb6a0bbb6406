"""The environments in which versions are tested: their interpreters and their constraint files.

Used by test_versions.py, whose option --lock writes the constraint files.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints"
ENVIRONMENTS = {"colab": "3.13", "lowest": "3.11", "newest": "3.13"}
# What the tests need beside the package; their lower bounds stand in pyproject.toml's extras.
TEST_PACKAGES = ("ipykernel", "nbval", "pytest", "pytest-xdist", "scipy")
COMMAND = "Written by: python scripts/test_versions.py --lock"
HEADS = {
    "lowest": "# The lowest versions that pyproject.toml declares, the newest of everything below them; Python 3.11.\n"
    f"# {COMMAND} lowest\n",
    "newest": f"# The newest versions that go together; Python 3.13.\n# {COMMAND} newest\n",
}
# In colab.txt, what stands above this line is kept by hand: Colab's published versions.
RESOLVED = f"# The rest, resolved for these. {COMMAND} colab\n"


def candidates(version: str, environ: Mapping[str, str]) -> list[list[str]]:
    """Commands that may start Python `version`, best first: on PATH, the running one, pyenv's, Windows' launcher."""
    on_path = shutil.which(f"python{version}", path=environ.get("PATH", ""))
    pyenv = Path(environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    patches = sorted(
        pyenv.glob(f"{version}.*/bin/python"),
        key=lambda path: [int(number) for number in re.findall(r"\d+", path.parts[-3])],
        reverse=True,
    )
    found = [[on_path]] if on_path else []
    found += [[sys.executable], *([str(path)] for path in patches)]
    return [*found, ["py", f"-{version}"]] if os.name == "nt" else found


def interpreter(command: list[str]) -> tuple[str, Path] | None:
    """Version (as "3.13") and path of the Python that a command starts; None if it starts none, as a shim may."""
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run([*command, "-I", "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    version, _, path = done.stdout.strip().partition(" ")
    return (version, Path(path)) if done.returncode == 0 and path else None


def find_python(version: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The path of a Python `version` (as "3.13").

    Raises:
        SystemExit: there is none, or a variable such as IMGBOOK_PYTHON_3_13 names something else.
    """
    variable = f"IMGBOOK_PYTHON_{version.replace('.', '_')}"
    if given := environ.get(variable):
        found = interpreter([given])
        if found is None or found[0] != version:
            what = "starts no Python" if found is None else f"is Python {found[0]}"
            raise SystemExit(f"{variable}={given} {what}; it must be the path of Python {version}")
        return found[1]
    for command in candidates(version, environ):
        found = interpreter(command)
        if found is not None and found[0] == version:
            return found[1]
    raise SystemExit(
        f"Python {version} was found neither on PATH nor in pyenv; install it, or name one: {variable}=/path/to/python"
    )


def pins(text: str) -> dict[str, str]:
    """Package and version of every line `package==version`; names in lower case with hyphens."""
    lines = [line.partition("#")[0].strip().partition("==") for line in text.splitlines()]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in lines if version}


def read_project() -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements_of_tests(project: Mapping) -> list[str]:
    """TEST_PACKAGES with their lower bounds. Raises KeyError for one that no extra declares."""
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    declared = {re.split(r"[^\w.-]", line)[0]: line for line in extras}
    return [declared[name] for name in TEST_PACKAGES]


def lock(name: str) -> None:
    """Resolve constraints/NAME.txt anew.

    Raises:
        SystemExit: uv is not there, or finds no solution.
    """
    uv, path = shutil.which("uv"), CONSTRAINTS / f"{name}.txt"
    if uv is None:
        raise SystemExit("uv was not found; install it: python -m pip install uv")
    # A path, because uv may download a Python if it is given a version.
    command = [uv, "pip", "compile", "-", "--python", str(find_python(ENVIRONMENTS[name]))]
    command += ["--python-platform", "linux", "--quiet", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    if name == "lowest":
        command += ["--resolution", "lowest-direct"]
    colab = name == "colab"
    head = path.read_text().partition(RESOLVED)[0] + RESOLVED if colab else HEADS[name]
    project = read_project()
    with tempfile.TemporaryDirectory() as folder:
        by_hand = Path(folder) / "constraints.txt"
        by_hand.write_text(head)
        done = subprocess.run(
            [*command, "--constraint", str(by_hand)],
            input="\n".join([*project["dependencies"], *requirements_of_tests(project)]),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(
            f"constraints/{name}.txt is unchanged: uv finds no solution\n{done.stderr}"
        )
    rest = [line for line in done.stdout.splitlines() if not pins(line).keys() & pins(head).keys()]
    path.write_text(head + "\n".join(rest) + "\n")
    print(f"wrote constraints/{name}.txt: {len(pins(path.read_text()))} packages")

#!/usr/bin/env python3
"""Everything that make does, without make: set up .venv first, then run the target.

    python scripts/run.py book         # Linux, macOS, Windows; any Python >= 3.11
    python scripts/run.py test

IMGBOOK_PRESET chooses the preset of `book`, IMGBOOK_STRICT=1 makes warnings and values outside their bands errors.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from environments import find_python

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
READY = VENV / ".ready"
SITE = ROOT / "tests" / "site"
CLASSROOM = ROOT / "tests" / "classroom"
BENCH = ROOT / "_build" / "bench"
BENCH_PYTHON = "3.11"  # the oldest: every framework has a build for it
OWN_ENVIRONMENT = ("setup", "clean", "bench")  # tasks that need no .venv
# Tests, and pages at preset smoke, compile for far longer than they compute.
QUICK_FLAGS = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def run(*command: str | Path, **environment: str) -> None:
    """Run a command in the checkout.

    Raises:
        SystemExit: with the command's exit code, if that is not zero.
    """
    code = subprocess.call(
        [str(part) for part in command],
        cwd=ROOT,
        env={
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / "_build" / "cache" / "xla"),
            **os.environ,
            "PYTHONUTF8": "1",  # every file here is UTF-8, on Windows too
            **environment,
        },
    )
    if code:
        sys.exit(code)


def python(*arguments: str | Path, **environment: str) -> None:
    """Run .venv's Python."""
    run(PYTHON, *arguments, **environment)


def setup() -> None:
    """make .venv with everything in requirements.lock, and the package itself"""
    inputs = [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    if READY.exists() and all(READY.stat().st_mtime >= path.stat().st_mtime for path in inputs):
        return
    if not PYTHON.exists():
        run(sys.executable, "-m", "venv", VENV)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    python(*install, "--require-hashes", "-r", "requirements.lock")
    python(*install, "--no-deps", "--no-build-isolation", "-e", ".")
    READY.touch()


def book() -> None:
    """execute every notebook and render the book to _build/html"""
    strict = ["--strict"] if os.environ.get("IMGBOOK_STRICT") == "1" else []
    python("scripts/build_book.py", *strict)


def lint() -> None:
    """formatting, suspicious code, misspelt words"""
    python("-m", "ruff", "check", ".")
    ours = ("src", "tests", "scripts", "benchmarks", "assignments", "book/_ext")
    python("-m", "ruff", "format", "--check", *ours)
    run(BIN / "codespell", "README.md", "book", *ours)


def quick_compilation() -> dict[str, str]:
    """Settings with which JAX compiles soon what then runs slowly.

    XLA ends the process at a flag that it does not know, and not all versions know all of them: each is tried.
    """
    start = [PYTHON, "-c", "import jax; jax.devices()"]
    known = [
        flag
        for flag in QUICK_FLAGS
        if not subprocess.run(
            start, env={**os.environ, "XLA_FLAGS": flag}, capture_output=True
        ).returncode
    ]
    flags = " ".join([os.environ.get("XLA_FLAGS", ""), *known]).strip()
    return {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": flags,
    }


def test() -> None:
    """lint, every notebook executed and rendered at preset smoke with warnings as errors, unit tests"""
    lint()
    quickly = quick_compilation()
    smoke_pages(**quickly)  # a cell that raises ends it
    tests = ("tests", "-n", "2", "--dist", "loadfile")
    python("-m", "pytest", *tests, IMGBOOK_PRESET="smoke", **quickly)


def smoke_pages(**environment: str) -> None:
    python("scripts/build_book.py", "--preset", "smoke", "--strict", **environment)


def test_site() -> None:
    """the pages in a browser: offline, accessible, light and dark, fast; needs Chromium and npm"""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm was not found; install Node 20 or newer (Debian: apt-get install nodejs npm)")
    if "IMGBOOK_SITE" not in os.environ:
        smoke_pages(**quick_compilation())
    run(npm, "ci", "--prefix", SITE, "--no-audit", "--no-fund", "--loglevel=error")
    lighthouse = (
        SITE / "test_lighthouse.py"
    )  # by itself: what runs beside it spoils its measurement
    python("-m", "pytest", SITE, "-n", "2", "--dist", "loadfile", f"--ignore={lighthouse}")
    python("-m", "pytest", lighthouse)


def test_classroom() -> None:
    """the labs' graders with right, wrong and hostile hand-ins; needs bubblewrap (Linux)

    IMGBOOK_UNCONTAINED=1 leaves the sandbox out, for machines that forbid one: the graders are tested, the sandbox not.
    """
    sandbox = [CLASSROOM / f"test_{name}.py" for name in ("containment", "integrity")]
    left_out = sandbox if os.environ.get("IMGBOOK_UNCONTAINED") == "1" else []
    matrix = CLASSROOM / "test_matrix.py"  # by itself: it grades two hand-ins at a time
    ignored = [f"--ignore={path}" for path in (matrix, *left_out)]
    python("-m", "pytest", CLASSROOM, "-n", "2", "--dist", "loadfile", *ignored)
    python("-m", "pytest", matrix)


def notebooks() -> None:
    """write plain notebooks for Colab, Binder and JupyterLab to _build/notebooks"""
    python("scripts/make_notebooks.py")


def test_versions() -> None:
    """notebooks and unit tests under Colab's, the lowest and the newest versions"""
    python("scripts/test_versions.py")


def bench_python() -> Path:
    """The Python of the benchmark's environment, made if it is not there: this package as locked, PyTorch and Keras."""
    venv, pinned = BENCH / "venv", ROOT / "benchmarks" / "requirements.txt"
    found = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    inputs = [ROOT / "requirements.lock", ROOT / "pyproject.toml", pinned]
    ready = venv / ".ready"
    if ready.exists() and all(ready.stat().st_mtime >= path.stat().st_mtime for path in inputs):
        return found
    try:
        base = find_python(BENCH_PYTHON)
    except SystemExit:
        base = sys.executable
        print(f"Python {BENCH_PYTHON} was not found; the benchmark takes {sys.version.split()[0]}")
    shutil.rmtree(venv, ignore_errors=True)
    BENCH.mkdir(parents=True, exist_ok=True)
    locked = re.findall(
        r"^((?:jax|jaxlib|flax|optax|numpy)==.*?) *\\?$", inputs[0].read_text(), flags=re.M
    )
    constraints = BENCH / "constraints.txt"
    constraints.write_text("\n".join(locked) + "\n")
    run(base, "-m", "venv", venv)
    pip = (found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--constraint", constraints, "--requirement", pinned, "--editable", ".[bench]")
    ready.touch()
    return found


def bench() -> None:
    """training steps against Flax's own layers, PyTorch and Keras; in an environment of its own, 13 minutes"""
    run(bench_python(), "benchmarks/bench.py")


def bench_quality() -> None:
    """what quality each chapter's model reaches in how many seconds of training; 7 minutes"""
    python("benchmarks/quality.py")


def serve() -> None:
    """serve _build/html at http://localhost:8000"""
    python("-m", "http.server", "8000", "--directory", "_build/html")


def clean() -> None:
    """remove what was built (not .venv)"""
    for name in ("_build", "dist", ".pytest_cache", ".ruff_cache", "tests/site/node_modules"):
        shutil.rmtree(ROOT / name, ignore_errors=True)


TASKS: dict[str, Callable[[], None]] = {
    "setup": setup,
    "book": book,
    "test": test,
    "test-site": test_site,
    "test-classroom": test_classroom,
    "test-versions": test_versions,
    "bench": bench,
    "bench-quality": bench_quality,
    "notebooks": notebooks,
    "lint": lint,
    "serve": serve,
    "clean": clean,
}


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the user's Python, not the package's
        sys.exit(
            f"Python 3.11 or newer is needed; this is {sys.version.split()[0]} ({sys.executable})"
        )
    lines = "\n".join(f"  {name:14} {task.__doc__}" for name, task in TASKS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__.splitlines()[0]}\n\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=TASKS, metavar="TARGET")
    task = parser.parse_args().task
    if task not in OWN_ENVIRONMENT:
        setup()
    TASKS[task]()


if __name__ == "__main__":
    main()

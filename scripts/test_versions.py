#!/usr/bin/env python3
"""Run notebooks and unit tests under Colab's, the lowest and the newest versions of the dependencies.

    .venv/bin/python scripts/test_versions.py [colab] [lowest] [newest]     # default: all three; make test-versions
    .venv/bin/python scripts/test_versions.py --lock [NAME ...]             # write constraints/NAME.txt anew (needs uv)

Each environment is made anew under _build/versions/NAME, as a reader makes one: the wheel by plain pip, under
constraints/NAME.txt. In it run every published notebook at preset smoke and the unit tests of the package. Logs are in
_build/versions/NAME, the results in _build/versions/report.json. In `newest`, a deprecation warning is an error.
"""

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from deprecations import CATEGORIES, CONTROLS, failures, stopped_by, write_notebook, write_startup
from environments import (
    CONSTRAINTS,
    ENVIRONMENTS,
    ROOT,
    find_python,
    lock,
    pins,
    read_project,
    requirements_of_tests,
)

VERSIONS = ROOT / "_build" / "versions"
CHECKED = ("jax", "flax", "optax", "numpy")
# Tests of the checkout and of the built pages, and not of the package. Every other file in tests/ runs here.
CHECKOUT_TESTS = (
    "site",
    "classroom",
    "test_background.py",
    "test_bench.py",
    "test_book_site.py",
    "test_build.py",
    "test_curves.py",
    "test_environment.py",
    "test_equations.py",
    "test_exercises.py",
    "test_families.py",
    "test_faq.py",
    "test_films.py",
    "test_light_css.py",
    "test_notebooks.py",
    "test_pages.py",
    "test_published.py",
    "test_reference_pages.py",
    "test_sources.py",
)
NBVAL = ("--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "300")
WORKERS = ("-n", "2", "--dist", "loadfile")
# Variables of the caller that could change what is imported, what is run or how.
FOREIGN = (
    "PYTHON",
    "PYTEST",
    "VIRTUAL_ENV",
    "IMGBOOK_",
    "JAX_",
    "XLA_",
    "IPYTHON",
    "JUPYTER",
    "MPL",
)
OWN = (
    "IPYTHONDIR",
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_DATA_DIR",
    "JUPYTER_RUNTIME_DIR",
    "MPLCONFIGDIR",
)


class Failed(Exception):
    """A stage failed: the message says what, the stage's log says more."""


def clean_environment(home: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The caller's variables without FOREIGN ones; settings and caches of Jupyter and Matplotlib are in `home`."""
    kept = {name: value for name, value in environ.items() if not name.upper().startswith(FOREIGN)}
    return {
        **kept,
        **{name: str(home / name.lower()) for name in OWN},
        "IMGBOOK_PRESET": "smoke",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger of every kernel writes to stderr
        "PYTHONDONTWRITEBYTECODE": "1",  # else byte code of tests/ lands in the checkout
    }


class Environment:
    """One virtual environment, and the stages that run in it; each returns what goes into the report."""

    def __init__(self, name: str, published: Path, work: Path) -> None:
        self.name, self.published, self.work = name, published, work
        self.strict = name == "newest"
        self.folder = VERSIONS / name
        self.home = self.folder / "home"
        self.constraints = CONSTRAINTS / f"{name}.txt"
        self.venv = self.folder / "venv"
        self.python = self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(self, stage: str, *command: str | Path) -> str:
        """Run a command outside the checkout; returns its output, which also goes to the stage's log.

        Raises:
            Failed: its exit code is not zero.
        """
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.work,
            env=clean_environment(self.home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        with (self.folder / f"{stage}.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(map(str, command))}\n{done.stdout}\n")
        if done.returncode:
            raise Failed(f"exit code {done.returncode} of {' '.join(map(str, command[:4]))} ...")
        return done.stdout

    def install(self) -> dict:
        """Make the environment as a reader does; the versions in it.

        Raises:
            Failed: pip fails, or what is imported is not the wheel, or not of the constrained version.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.run("install", find_python(ENVIRONMENTS[self.name]), "-m", "venv", self.venv)
        pip = (self.python, "-m", "pip", "--disable-pip-version-check")
        install = (*pip, "install", "--constraint", self.constraints)
        self.run("install", *install, next(self.published.glob("*.whl")))
        self.run("install", *install, *requirements_of_tests(read_project()))
        self.run("install", *pip, "check")
        code = (
            "import json, platform, imgbook; from importlib.metadata import version\n"
            f"found = {{name: version(name) for name in {CHECKED}}}\n"
            "found |= {'python': platform.python_version(), 'file': imgbook.__file__}\n"
            "print(json.dumps(found))"
        )
        found = json.loads(self.run("install", self.python, "-c", code).splitlines()[-1])
        file = Path(found.pop("file"))
        if self.venv not in file.parents:
            raise Failed(f"imgbook was imported from {file}, not from {self.venv}")
        wanted = pins(self.constraints.read_text())
        wrong = [f"{n} {found[n]}, not {wanted[n]}" for n in CHECKED if found[n] != wanted[n]]
        if wrong:
            raise Failed(f"not the constrained versions: {'; '.join(wrong)}")
        return found

    def pytest(
        self, stage: str, *arguments: str | Path, may_fail: bool = False
    ) -> list[ET.Element]:
        """Run pytest; the test cases.

        Raises:
            Failed: nothing was run, or something failed that may not.
        """
        report = self.folder / f"{stage}.xml"
        command = (self.python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}")
        failed = None
        try:
            self.run(stage, *command, *arguments)
        except Failed as error:
            failed = error
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
        bad = [f"{c.get('classname')}::{c.get('name')}" for c in cases if failures(c)]
        if not cases:
            raise Failed("no test was run") from failed
        if failed and not (bad and may_fail):
            raise Failed(f"{len(bad)} of {len(cases)} failed: {', '.join(bad[:5])}") from failed
        return cases

    def controls(self) -> dict:
        """Prove that a deprecation stops a notebook.

        Raises:
            Failed: a control notebook did not end as it must.
        """
        write_startup(self.home / "ipythondir")
        folder = self.work / "controls"
        for name, (source, _) in CONTROLS.items():
            write_notebook(folder / f"{name}.ipynb", source)
        cases = self.pytest("controls", *NBVAL, "--rootdir", self.work, folder, may_fail=True)
        ended = {case.get("classname").split(".")[-2]: stopped_by(case) for case in cases}
        for name, (_, warning) in CONTROLS.items():
            if name not in ended or ended[name] != warning:
                raise Failed(
                    f"control {name!r} must be stopped by {warning}, and was by {ended.get(name)}"
                )
        return {}

    def notebooks(self) -> dict:
        """Execute the published notebooks; how many, and how many cells. Raises Failed if one of them was not run."""
        there = len(list((self.published / "book").glob("*.ipynb")))
        # Copied to where no path leads to the checkout.
        folder = shutil.copytree(self.published / "book", self.work / "book")
        cases = self.pytest("notebooks", *NBVAL, *WORKERS, "--rootdir", self.work, folder)
        run = len({case.get("classname") for case in cases})
        if run != there:
            raise Failed(f"{run} of {there} notebooks were run")
        return {"notebooks": run, "cells": len(cases)}

    def tests(self) -> dict:
        """Run the unit tests of the package; how many."""
        ignored = [f"--ignore={ROOT / 'tests' / name}" for name in CHECKOUT_TESTS]
        # pyproject.toml makes every warning an error; old versions of others warn while they are imported.
        lenient = [] if self.strict else [f"-Wdefault::{category}" for category in CATEGORIES]
        return {"tests": len(self.pytest("tests", *WORKERS, *lenient, *ignored, ROOT / "tests"))}

    def test(self) -> dict:
        """Run every stage; the report, whose `failed` names the stages that failed."""
        row: dict = {"environment": self.name, "seconds": {}, "failed": []}
        needed = [self.install, self.controls] if self.strict else [self.install]
        for stage in (*needed, self.notebooks, self.tests):
            name, begin, error = stage.__name__, time.perf_counter(), None
            try:
                row |= stage()
            except Failed as failed:
                error = failed
                row["failed"].append(name)
            seconds = row["seconds"][name] = round(time.perf_counter() - begin, 1)
            print(
                f"{self.name:7} {name:10} {seconds:6.1f} s  {'FAILED' if error else 'ok'}",
                flush=True,
            )
            if error:
                log = self.folder / f"{name}.log"
                tail = log.read_text(encoding="utf-8").splitlines()[-60:] if log.exists() else []
                print("\n".join([*tail, f"{self.name}, {name}: {error}; all of it is in {log}"]))
                if stage in needed:
                    break
        return row


COLUMNS = ("environment", "Python", *CHECKED, "install", "notebooks", "unit tests", "")


def table(rows: list[dict]) -> str:
    """The reports as a table, one line an environment."""
    lines = [COLUMNS]
    for row in rows:
        seconds = {name: f"{value:.0f} s" for name, value in row["seconds"].items()}
        lines.append(
            (
                row["environment"],
                *(row.get(name, "-") for name in ("python", *CHECKED)),
                seconds["install"],
                f"{row.get('notebooks', '-')} in {seconds.get('notebooks', '-')}",
                f"{row.get('tests', '-')} in {seconds.get('tests', '-')}",
                f"FAILED: {', '.join(row['failed'])}" if row["failed"] else "ok",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def publish() -> Path:
    """Make the notebooks and the wheel as they are published; the folder. Raises SystemExit if that fails."""
    folder = VERSIONS / "published"
    command = [sys.executable, str(ROOT / "scripts" / "make_notebooks.py"), "--output", str(folder)]
    if subprocess.run(command, env=clean_environment(VERSIONS / "home")).returncode:
        raise SystemExit("the notebooks were not made; the reason stands above")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENVIRONMENTS)}")
    parser.add_argument("--lock", action="store_true", help="write the constraint files anew")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(ENVIRONMENTS)):
        parser.error(f"unknown environment {unknown[0]!r}; allowed: {', '.join(ENVIRONMENTS)}")
    names = [name for name in ENVIRONMENTS if name in (arguments.names or ENVIRONMENTS)]
    if arguments.lock:
        for name in names:
            lock(name)
        return 0
    for name in names:
        find_python(ENVIRONMENTS[name])  # before the long work
    published, rows = publish(), []
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            rows.append(Environment(name, published, Path(work)).test())
    print(table(rows))
    report = {"date": datetime.date.today().isoformat(), "environments": rows}
    (VERSIONS / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    failed = [f"{row['environment']}: {', '.join(row['failed'])}" for row in rows if row["failed"]]
    if failed:
        print(f"failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

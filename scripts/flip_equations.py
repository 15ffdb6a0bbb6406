#!/usr/bin/env python3
"""Make every function of the index of equations wrong, one sign or factor at a time, and see that its test notices.

    python scripts/flip_equations.py [LABEL ...]      # all of book/equations.json, or some
    python scripts/flip_equations.py --unchanged      # the control: nothing is made wrong, and no test may fail

One line of JSON a label: {"label": ..., "caught": true or false, "seconds": ...}, and "error" where the test could not
be run. Each test runs in a process forked from this one, which has imported the libraries and nothing of the package.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import equation_index  # noqa: E402


def preload() -> None:
    """Import what tests import, without starting a backend: a process with threads cannot be forked safely."""
    import flax.nnx
    import jax
    import matplotlib.pyplot
    import optax
    import pytest
    import scipy.integrate
    import scipy.special
    import scipy.stats

    del flax, jax, matplotlib, optax, pytest, scipy


def put_in_place(path: Path, text: str) -> None:
    """Load a changed module under its own name, before anything imports it."""
    import imgbook

    name = f"imgbook.{path.stem}"
    if name in sys.modules:
        raise RuntimeError(f"{name} is imported already")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(text, path, "exec"), module.__dict__)
    setattr(imgbook, path.stem, module)


def run_test(test: str, output: Path) -> int:
    """pytest's exit code for one test: 0 passed, 1 failed, above 1 not run."""
    import pytest

    with (
        output.open("w") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--no-header",
            "--tb=line",
        ]
        return int(pytest.main([str(ROOT / test), *options, "--rootdir", str(ROOT)]))


def outcome(label: str, entry: dict, folder: Path, flip: bool = True) -> dict:
    """Fork, flip and test; what `main` prints."""
    begin, output = time.perf_counter(), folder / f"{label}.txt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jax warns of every fork; here no backend runs yet
        child = os.fork()
    if child == 0:
        code = 99
        try:
            if flip:
                put_in_place(*equation_index.flipped(entry))
            code = run_test(entry["test"], output)
        except BaseException as error:  # the parent must not run on twice
            output.write_text(f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = {"label": label, "caught": code == 1, "seconds": round(time.perf_counter() - begin, 1)}
    if code not in (0, 1):
        text = output.read_text() if output.exists() else ""
        found["error"] = f"exit code {code}: {text[-500:]}"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", metavar="LABEL")
    parser.add_argument("--unchanged", action="store_true", help="flip nothing: no test may fail")
    arguments = parser.parse_args()
    entries = {k: v for k, v in equation_index.load().items() if "code" in v}
    labels = arguments.labels or list(entries)
    if unknown := [label for label in labels if label not in entries]:
        parser.error(f"no such label with code: {', '.join(unknown)}")
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take longer to load than most tests
    with contextlib.redirect_stdout(io.StringIO()):
        preload()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for label in labels:
            found = outcome(label, entries[label], Path(folder), flip=not arguments.unchanged)
            wrong += found["caught"] is arguments.unchanged or "error" in found
            print(json.dumps(found), flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

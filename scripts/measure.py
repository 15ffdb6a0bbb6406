#!/usr/bin/env python3
"""Time everything from a fresh clone and write the figures to results/build.json and into the README.

    python scripts/measure.py             # longer than the next, by each notebook at two presets
    python scripts/measure.py --commands  # without the notebooks alone, which keep their times: 50 minutes on two cores
    python scripts/measure.py --notebook scaling    # one notebook alone, with this checkout's .venv: two minutes
    python scripts/measure.py --readme    # only write the README's table anew, after a new record

Clones this checkout's last commit into a temporary folder and times there: installation, `make book`, an unchanged
`make book`, `make test`; then each notebook alone at presets quick and smoke, with its peak memory. Let nothing
else run beside it.
"""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imgbook import pages, records

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path("results") / "build.json"
NO_OPTIONS = dict.fromkeys(
    ("IMGBOOK_PRESET", "IMGBOOK_STRICT", "IMGBOOK_DATA_MIRROR", "PYTHONPATH"), ""
)
BEGIN, END = "<!-- measured: begin (scripts/measure.py) -->", "<!-- measured: end -->"


def timed(command: list[str], cwd: Path, log: Path, **environment: str) -> tuple[float, float]:
    """Run a command, its output into a log; returns seconds and the peak memory in MB of its largest process."""
    begin = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        sys.exit(f"{' '.join(command)} failed:\n" + "\n".join(log.read_text().splitlines()[-30:]))
    print(f"{' '.join(command)}: {seconds:.1f} s", flush=True)
    return round(seconds, 1), round(usage.ru_maxrss / 1024)


def measure_notebook(notebook: Path, folder: Path) -> dict:
    """Seconds and peak memory of a notebook of a checkout, at presets quick and smoke, with nothing compiled before."""
    execute = ["nbconvert", "--to", "notebook", "--execute", "--stdout", str(notebook)]
    entry = {}
    for preset in ("quick", "smoke"):
        first_time = {
            "IMGBOOK_PRESET": preset,
            "JAX_COMPILATION_CACHE_DIR": str(folder / preset / notebook.stem),
        }
        run = [".venv/bin/jupyter", *execute]
        checkout, log = notebook.parents[1], folder / "log"
        seconds, megabytes = timed(run, checkout, log, **NO_OPTIONS | first_time)
        entry[preset] = {"seconds": seconds, "peak_MB": megabytes}
    return entry


def measure(notebooks: bool = True) -> dict:
    """What the commands take and, if asked for, each notebook alone."""
    environment = dict(NO_OPTIONS)
    with tempfile.TemporaryDirectory() as folder:
        clone, log = Path(folder) / "clone", Path(folder) / "log"
        environment["JAX_COMPILATION_CACHE_DIR"] = str(clone / "_build" / "cache" / "xla")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        known = json.loads((clone / BUILD).read_text())
        result = {"commands": {}, "notebooks": known["notebooks"]}

        def make(name: str, target: str) -> None:
            result["commands"][name], _ = timed(["make", target], clone, log, **environment)

        make("installation", "setup")
        if notebooks:
            measured = sorted((clone / "book").glob("*.ipynb"))
            result["notebooks"] = {n.stem: measure_notebook(n, Path(folder)) for n in measured}
            # The pages and the README show the notebooks' times, and the tests ask for them.
            known |= {"notebooks": result["notebooks"]}
            (clone / BUILD).write_text(json.dumps(known, indent=2) + "\n")
            write_readme(clone)
        make("make book", "book")
        make("make book, unchanged", "book")
        make("make test", "test")
        result["pytest"] = [line for line in log.read_text().splitlines() if " passed" in line][-1]
        disk = subprocess.run(
            ["du", "-sm", ".venv", "_build"], cwd=clone, capture_output=True, text=True, check=True
        )
        result["disk_MB"] = {
            line.split()[1]: int(line.split()[0]) for line in disk.stdout.splitlines()
        }
    return result


def readme_section(result: dict) -> str:
    """The README's chapter table and build times, from the measurements and the result records."""
    lines = [
        "| chapter | at `quick` | memory | headline (mean ± standard deviation of recorded runs) |",
        "|:--|--:|--:|:--|",
    ]
    for name, entry in result["notebooks"].items():
        headline, text = pages.HEADLINES[name], ""
        if headline.record:
            record = records.load(headline.record)
            mean, spread = records.mean_and_spread(record, headline.measure)
            values = f"{mean:{headline.format}} ± {spread:{headline.format}}"
            text = f"{headline.words}: {values} ({len(record['seeds'])} seeds)"
        source = json.loads((ROOT / "book" / f"{name}.ipynb").read_text())["cells"][0]["source"]
        number = f"{int(name[:2])} " if name[:2].isdigit() else ""
        title = f"[{number}{source[0].removeprefix('# ').strip()}](book/{name}.ipynb)"
        seconds, gigabytes = entry["quick"]["seconds"], entry["quick"]["peak_MB"] / 1024
        lines.append(f"| {title} | {seconds:.0f} s | {gigabytes:.1f} GB | {text} |")
    commands, disk = result["commands"], result["disk_MB"]
    minutes = {name: f"{seconds / 60:.1f} min" for name, seconds in commands.items()}
    lines += [
        "",
        f"Installation {minutes['installation']}, `make book` {minutes['make book']}, again without changes "
        f"{commands['make book, unchanged']:.0f} s, `make test` {minutes['make test']}. "
        f"Disk: {disk['.venv'] / 1024:.1f} GB for `.venv`, {disk['_build']} MB for the built pages and caches. "
        f"Measured on {result['date']} from a fresh clone on {result['device']} by `{result['command']}`, "
        "and each chapter alone by the same script.",
    ]
    return "\n".join(lines)


def write_readme(root: Path) -> None:
    """Write a checkout's measurements into its README, between the marks."""
    section = f"{BEGIN}\n{readme_section(json.loads((root / BUILD).read_text()))}\n{END}"
    readme = root / "README.md"
    pattern = re.escape(BEGIN) + ".*" + re.escape(END)
    readme.write_text(re.sub(pattern, lambda _: section, readme.read_text(), flags=re.S))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--notebook", help="measure only this one, by its name in book/")
    parser.add_argument("--commands", action="store_true", help="measure no notebook alone")
    parser.add_argument("--readme", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.notebook:
        result = json.loads((ROOT / BUILD).read_text())
        with tempfile.TemporaryDirectory() as folder:
            path = ROOT / "book" / f"{options.notebook}.ipynb"
            result["notebooks"][options.notebook] = measure_notebook(path, Path(folder))
    elif not options.readme:
        result = measure(notebooks=not options.commands) | {
            "command": "python scripts/measure.py" + " --commands" * options.commands,
            "date": datetime.date.today().isoformat(),
            "device": records.describe_device(),
        }
    if not options.readme:
        (ROOT / BUILD).write_text(json.dumps(result, indent=2) + "\n")
    write_readme(ROOT)


if __name__ == "__main__":
    main()

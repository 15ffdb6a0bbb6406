#!/usr/bin/env python3
"""This package's training steps against Flax's own layers, PyTorch and Keras, in one interleaved run.

    make bench                                 # makes the environment, runs this file in it: thirteen minutes
    python benchmarks/bench.py --table         # without the curves of cost: five minutes, in that environment
    python benchmarks/bench.py --readme        # only draw the picture and write the README's table anew

Every framework has a process of its own, gets the same networks, first weights and batches, and is checked to compute
the same before anything is timed. Writes results/bench.json, which keeps the last two runs. Let nothing else run beside
it. PyTorch: any CPU build of the version in benchmarks/requirements.txt; if pip brings one for a GPU, see the
installation page of PyTorch and choose CPU.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from frameworks import measure, work
from frameworks.processes import WorkerError

from imgbook import data, files, pages, records, speed, staleness

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "book" / "_static" / "bench.svg"
BEGIN, END = "<!-- bench: begin (make bench) -->", "<!-- bench: end -->"
RUNS_KEPT = 2
PEERS = ("torch", "tensorflow-cpu", "keras")


def _engine() -> None:
    """What of the package is timed; its imports are read, it is never called."""
    from imgbook import layers, training  # noqa: F401


def _programs() -> None:
    """The benchmark's own files; their imports are read, it is never called."""
    from frameworks import jax_steps, keras_steps, measure, numpy_product, torch_steps, worker  # noqa: F401  # fmt: skip


def source_hash() -> str:
    """SHA-256 over what is timed and what times it; chapters, and what this file writes, have no part in it."""
    parts = (
        staleness.source_hash(_engine),
        staleness.source_hash(_programs, ROOT / "benchmarks" / "frameworks"),
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def write_data(model: str, folder: Path) -> Path:
    """A model's training images and labels as an .npz, so that no worker needs this package to read them."""
    dataset = data.load(work.IMAGES[model], "train", "quick")
    path = folder / f"{model}.npz"
    np.savez(path, images=dataset.images, labels=dataset.labels)
    return path


def run(models: tuple[str, ...], plan: measure.Plan) -> dict:
    """One whole run."""
    begin, results = time.perf_counter(), {}

    def say(text: str) -> None:
        print(f"{time.perf_counter() - begin:5.0f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        paths = {model: write_data(model, Path(folder)) for model in models}
        peaks = measure.peaks(paths[models[0]], plan)
        peak = max(map(statistics.median, peaks.values()))
        say(f"matrix product: {peak:.0f} GFLOP/s")
        for model, path in paths.items():
            results[model] = measure.measure_model(model, path, plan, say)
    for result in results.values():
        for entry in result["variants"].values():
            rate = entry["images_per_second"]["median"] * result["flops_an_image"] / 1e9
            entry["fraction_of_peak"] = rate / peak
    return {
        "command": "make bench" if plan.curves else "python benchmarks/bench.py --table",
        "date": datetime.date.today().isoformat(),
        "device": records.describe_device(),
        "versions": records.versions() | {p: importlib.metadata.version(p) for p in PEERS},
        "source_hash": source_hash(),
        "seconds": round(time.perf_counter() - begin),
        **plan._asdict(),
        "tolerances": measure.TOLERANCES,
        "peaks": peaks,
        "peak": peak,
        "models": results,
    }


def rounded(value: object) -> object:
    """Every float to seven digits, which is more than any of them is worth."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def keep(result: dict, path: Path) -> None:
    """Write a run into the record before those that are there; the newest `RUNS_KEPT` stay."""
    earlier = speed.load(path) if path.exists() else []
    record = {"runs": [rounded(result), *earlier][:RUNS_KEPT]}
    files.write(path, (json.dumps(record, indent=1) + "\n").encode())


def readme_section(runs: list[dict]) -> str:
    """The README's table and what it was measured on."""
    newest = runs[0]
    return "\n".join(
        [
            pages.table_text(*speed.table(newest)),
            "",
            "![Images a second by framework, and the fraction of the processor's peak]"
            f"({PICTURE.relative_to(ROOT).as_posix()})",
            "",
            f"Images a second in training: median (minimum to maximum) of {newest['repeats']} turns. "
            f"Measured on {newest['date']} on {newest['device']} by `{newest['command']}`.",
        ]
    )


def write_readme(root: Path = ROOT, picture: Path = PICTURE) -> None:
    """Draw the picture and write the table between the marks of the README.

    Raises:
        SystemExit: the README has no such marks.
    """
    runs, readme = speed.load(root / "results" / "bench.json"), root / "README.md"
    text = readme.read_text(encoding="utf-8")
    pattern = re.escape(BEGIN) + ".*" + re.escape(END)
    if not re.search(pattern, text, flags=re.S):
        raise SystemExit(f"README.md has no {BEGIN} ... {END}; put them where the table shall be")
    section = f"{BEGIN}\n{readme_section(runs)}\n{END}"
    readme.write_text(re.sub(pattern, lambda _: section, text, flags=re.S), encoding="utf-8")
    speed.save_picture(runs[0], picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=measure.Plan().repeats, help="5 or more")
    parser.add_argument("--output", type=Path, help="write there, and not into the records")
    parser.add_argument("--table", action="store_true", help="without the curves of cost")
    parser.add_argument("--readme", action="store_true", help="only picture and table, no run")
    arguments = parser.parse_args()
    if arguments.repeats < 5 and not arguments.output:
        parser.error(f"--repeats {arguments.repeats}: a record has 5 or more; with --output fewer")
    if not arguments.readme:
        plan = measure.Plan(repeats=arguments.repeats, curves=not arguments.table)
        plan = plan._replace(curve_repeats=min(plan.curve_repeats, plan.repeats))
        path = arguments.output or ROOT / "results" / "bench.json"
        try:
            if path.exists():
                speed.load(path)  # a damaged one is found before the work and not after
            keep(run(work.MODELS, plan), path)
        except (measure.CheckFailed, WorkerError, ValueError) as error:
            sys.exit(str(error))
    if not arguments.output:
        write_readme()


if __name__ == "__main__":
    main()

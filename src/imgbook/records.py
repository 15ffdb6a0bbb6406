"""Result records: numbers that take longer than a page allows, written by a named command and read by the pages.

A record is a JSON file `results/NAME.json` with the command, package version, hash of sources and data, seeds,
versions, device, seconds and the values of every seed. `python -m imgbook record NAME` writes it.
"""

import ast
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import imgbook

KEYS = (
    "name",
    "command",
    "version",
    "preset",
    "source_hash",
    "data_hash",
    "seeds",
    "versions",
    "device",
    "date",
    "seconds",
    "values",
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class OutsideBand(AssertionError):
    """A measured value lies outside its recorded band."""


def folder() -> Path:
    """Where the records are: inside the installed package, or in the checkout that the package is imported from."""
    package = Path(__file__).parent
    inside = package / "results"
    return inside if inside.is_dir() else package.parents[1] / "results"


def source_hash() -> str:
    """SHA-256 over the syntax trees of the package's modules, without comments and docstrings."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(path.name.encode() + b"\0" + ast.dump(tree).encode())
    return digest.hexdigest()


def describe_device() -> str:
    """The machine in words: accelerator if there is one, else processor and number of cores."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.device_kind} x {jax.device_count()}"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"CPU {model}, {os.cpu_count()} cores"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that results depend on."""
    return {
        "python": platform.python_version(),
        **{p: importlib.metadata.version(p) for p in PACKAGES},
    }


def write(
    name: str,
    *,
    command: str,
    preset: str,
    data_hash: str,
    seeds: list[int],
    seconds: list[float],
    values: Mapping[str, list[float]],
) -> Path:
    """Write `results/NAME.json` and return its path.

    Raises:
        ValueError: a value is not finite, or a list does not hold one value a seed.
    """
    for key, column in {"seconds": seconds, **values}.items():
        if len(column) != len(seeds) or not all(math.isfinite(v) for v in column):
            raise ValueError(
                f"record {name!r}: {key} = {column} needs one finite value for each of the seeds {seeds}"
            )
    record = {
        "name": name,
        "command": command,
        "version": imgbook.__version__,
        "preset": preset,
        "source_hash": source_hash(),
        "data_hash": data_hash,
        "seeds": seeds,
        "versions": versions(),
        "device": describe_device(),
        "date": datetime.date.today().isoformat(),
        "seconds": [round(s, 2) for s in seconds],
        "values": {k: list(map(float, v)) for k, v in values.items()},
    }
    path = folder() / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def load(name: str) -> dict:
    """Read the record NAME.

    Raises:
        FileNotFoundError: there is none; the message lists those there are.
        ValueError: the file is no whole record.
    """
    path = folder() / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder().glob("*.json"))) or "none"
        raise FileNotFoundError(
            f"no result record {name!r}; there are: {known}. Write it with: python -m imgbook record {name}"
        )
    record = json.loads(path.read_text())
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise ValueError(
            f"result record {name!r} lacks {', '.join(missing)}; write it anew with: python -m imgbook record {name}"
        )
    return record


def mean_and_spread(record: dict, measure: str) -> tuple[float, float]:
    """Mean and standard deviation of a measure over the recorded seeds (at least five).

    Raises:
        KeyError: the record has no such measure.
        ValueError: it holds fewer than five seeds.
    """
    if measure not in record["values"]:
        raise KeyError(
            f"record {record['name']!r} has no measure {measure!r}; it has: {', '.join(record['values'])}"
        )
    values = np.asarray(record["values"][measure])
    if len(values) < 5:
        raise ValueError(
            f"record {record['name']!r} holds {len(values)} seeds; a band needs at least 5"
        )
    return float(values.mean()), float(values.std(ddof=1))


def band(record: dict, measure: str) -> tuple[float, float]:
    """The band of a measure: mean -+ 4 standard deviations (errors as in `mean_and_spread`)."""
    mean, spread = mean_and_spread(record, measure)
    return mean - 4 * spread, mean + 4 * spread


def judge(record: dict, measure: str, value: float) -> tuple[float, float, bool]:
    """Lower and upper end of the band, and whether `value` lies inside."""
    low, high = band(record, measure)
    return low, high, bool(low <= value <= high)


def raise_if_strict(name: str, judged: Mapping[str, tuple[float, float, float, bool]]) -> None:
    """Raise `OutsideBand` for values outside their bands when `IMGBOOK_STRICT=1` is set; otherwise do nothing."""
    outside = [
        f"{measure} = {value:.4g}, band {low:.4g} to {high:.4g}"
        for measure, (value, low, high, inside) in judged.items()
        if not inside
    ]
    if outside and os.environ.get("IMGBOOK_STRICT") == "1":
        raise OutsideBand(f"outside the recorded band of {name!r}: " + "; ".join(outside))

"""Result records: numbers that take longer than a page allows, written by a named command and read by the pages.

A record is a JSON file `results/NAME.json` with the command, package version, hashes of the sources that its run
imports and of the data, seeds, versions, device, seconds, the values of every seed, and a smoke run: the metrics of
every step at preset smoke, seed 0, and the hyperparameters of the record's own preset.
`python -m imgbook record NAME` writes it. When sources change that the run imports, the record is stale;
`python -m imgbook equivalent NAME` accepts the change if the smoke run stays the same.
"""

import datetime
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import imgbook
from imgbook import files

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
# What staleness is judged by. A record without them can be read, and is stale.
REPEAT_KEYS = ("judge_hash", "smoke", "equivalents")
NO_RECORDS = ("bench", "build", "quality", "scaling")  # in the same folder: times, of other kinds
SOURCES_CHANGED = "sources that its run imports have changed"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class OutsideBand(AssertionError):
    """A measured value lies outside its recorded band."""


def folder() -> Path:
    """Where the records are: inside the installed package, or in the checkout that the package is imported from."""
    package = Path(__file__).parent
    inside = package / "results"
    return inside if inside.is_dir() else package.parents[1] / "results"


def names() -> list[str]:
    """The names of all records, sorted."""
    return sorted(p.stem for p in folder().glob("*.json") if p.stem not in NO_RECORDS)


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


def new(
    name: str,
    *,
    command: str,
    preset: str,
    source_hash: str,
    data_hash: str,
    judge_hash: str,
    seeds: list[int],
    seconds: list[float],
    values: Mapping[str, list[float]],
    smoke: Mapping[str, list[float]],
) -> dict:
    """A record of runs that have just been made.

    source_hash, data_hash, judge_hash: of what ran, see `imgbook.staleness`. smoke: each metric's values by step.

    Raises:
        ValueError: a value is not finite, or a list does not hold one value a seed.
    """
    for key, column in {"seconds": seconds, **values}.items():
        if len(column) != len(seeds) or not all(math.isfinite(v) for v in column):
            raise ValueError(
                f"record {name!r}: {key} = {column} needs one finite value for each of the seeds {seeds}"
            )
    return {
        "name": name,
        "command": command,
        "version": imgbook.__version__,
        "preset": preset,
        "source_hash": source_hash,
        "data_hash": data_hash,
        "judge_hash": judge_hash,
        "seeds": seeds,
        "versions": versions(),
        "device": describe_device(),
        "date": datetime.date.today().isoformat(),
        "seconds": [round(s, 2) for s in seconds],
        "values": {k: list(map(float, v)) for k, v in values.items()},
        "smoke": {k: list(map(float, v)) for k, v in smoke.items()},
        "equivalents": [],
    }


def write(record: dict, into: Path | None = None) -> Path:
    """Write a record to `NAME.json` in a folder (default: that of the records) and return its path.

    The file is replaced as a whole: a broken write leaves the old one as it was.
    """
    path = (into or folder()) / f"{record['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, (json.dumps(record, indent=2) + "\n").encode())
    return path


def load(name: str) -> dict:
    """Read the record NAME.

    Raises:
        FileNotFoundError: there is none; the message lists those there are.
        ValueError: the file is no whole record.
    """
    path = folder() / f"{name}.json"
    if not path.exists():
        known = ", ".join(names()) or "none"
        raise FileNotFoundError(
            f"no result record {name!r}; there are: {known}. Write it with: python -m imgbook record {name}"
        )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"result record {name!r} is damaged ({error}); get it again") from error
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise ValueError(
            f"result record {name!r} lacks {', '.join(missing)}; write it anew with: python -m imgbook record {name}"
        )
    return record


def other_circumstances(record: dict) -> str:
    """What differs between the machine and versions of a record and today's, as a sentence; "" if nothing does."""
    then, now = record["versions"], versions()
    changed = [f"{p} {then.get(p)}, now {now[p]}" for p in now if then.get(p) != now[p]]
    if record["device"] != describe_device():
        changed.append(f"{record['device']}, now {describe_device()}")
    if not changed:
        return ""
    return (
        f". It was made with {'; '.join(changed)}: that alone can change numbers by more than is allowed, "
        "so compare where the record was made"
    )


def freshness(record: dict) -> tuple[str, str]:
    """("fresh" | "equivalent" | "stale", why): whether today's sources and data are those of a record.

    Equivalent: the sources are others, but were accepted by `python -m imgbook equivalent`.
    """
    from imgbook import staleness  # here, because staleness imports this module

    if missing := [key for key in REPEAT_KEYS if key not in record]:
        return "stale", f"it was written without {', '.join(missing)}"
    today = staleness.hashes(record)
    for key, what in (("data_hash", "the data"), ("judge_hash", "the weights of the judge")):
        if today[key] != record[key]:
            return "stale", f"{what} have changed"
    if today["source_hash"] == record["source_hash"]:
        return "fresh", ""
    for accepted in record["equivalents"]:
        if accepted["source_hash"] == today["source_hash"]:
            return "equivalent", (
                f"{accepted['reason']} (accepted {accepted['date']}, "
                f"largest difference {accepted['largest_difference']:.2g})"
            )
    return "stale", SOURCES_CHANGED


def stale(record: dict) -> str:
    """Why a record is stale, and the commands that repair it; "" if it is not."""
    state, why = freshness(record)
    if state != "stale":
        return ""
    again = f"record anew with: {record['command']}"
    if why == SOURCES_CHANGED:
        again = (
            f'accept with: python -m imgbook equivalent {record["name"]} --reason "..."; or {again}'
        )
    return f"record {record['name']!r} is stale: {why}; {again}"


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

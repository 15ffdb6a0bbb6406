"""When a result record is stale: the hash of the modules that its run imports, the smoke run that is compared when
they have changed, and the command that accepts a change which alters nothing.
"""

import ast
import datetime
import functools
import hashlib
import importlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imgbook import records

if TYPE_CHECKING:
    from imgbook.experiments import Experiment

PACKAGE = Path(__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SILENT_FIELDS = ("ctx", "kind", "type_comment")  # of a syntax tree: change nothing that runs
TOLERANCE = 1e-6  # of two smoke runs' metrics on one machine, see `difference`


def modules(function: Callable, package: Path = PACKAGE) -> list[str]:
    """Names of the package's modules that a function imports, directly or through others; sorted.

    Read from the import statements, wherever they stand, so nothing is executed. `__init__` is always among them.
    """
    found, waiting = {"__init__"}, [ast.parse(textwrap.dedent(inspect.getsource(function)))]
    while waiting:
        for name in _imported(waiting.pop(), package) - found:
            found.add(name)
            waiting.append(ast.parse((package / f"{name}.py").read_text(encoding="utf-8")))
    return sorted(found)


def _imported(tree: ast.AST, package: Path) -> set[str]:
    """The package's modules that the import statements of one syntax tree name."""
    dotted, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse  # what stands under it is for type checkers alone
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            dotted += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (package.name if node.level else "", node.module)))
            dotted += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    parts = [name.split(".") for name in dotted]
    named = {part[1] for part in parts if part[0] == package.name and len(part) > 1}
    return {name for name in named if (package / f"{name}.py").exists()}  # others: names within


def source_hash(function: Callable, package: Path = PACKAGE) -> str:
    """SHA-256 over the syntax trees of a function and of the `modules` it imports.

    Comments, docstrings, layout and the package's version number do not count. The same for every Python version.
    """
    digest = hashlib.sha256(_canonical_source(textwrap.dedent(inspect.getsource(function))))
    for name in modules(function, package):
        text = (package / f"{name}.py").read_text(encoding="utf-8")
        digest.update(name.encode() + b"\0" + _canonical_source(text))
    return digest.hexdigest()


@functools.cache  # most runs share most modules
def _canonical_source(text: str) -> bytes:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            node.body = [child for child in node.body if not _is_version(child)]
    return _canonical(tree).encode()


def _is_version(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"


def _canonical(node: object) -> str:
    """A syntax tree as text. Not `ast.dump`, whose text differs between Python versions."""
    if isinstance(node, list):
        return "[" + ",".join(map(_canonical, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: getattr(node, name, None) for name in node._fields}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _merged(node.values)
    shown = (
        f"{name}={_canonical(value)}"
        for name, value in fields.items()
        if value not in (None, []) and name not in SILENT_FIELDS
    )
    # A None that is written out is told from a field that is absent by its own node, Constant.
    return f"{type(node).__name__}({','.join(shown)})"


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring literals joined, empty ones left out: Python versions differ in both."""
    merged: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and value.value == "":
            continue
        if merged and isinstance(value, ast.Constant) and isinstance(merged[-1], ast.Constant):
            merged[-1] = ast.Constant(merged[-1].value + value.value)
        else:
            merged.append(value)
    return merged


def difference(stored: float, today: float) -> float:
    """|stored - today| relative to the larger of the two, and to 0.001 if both are smaller than that."""
    return abs(stored - today) / max(abs(stored), abs(today), 1e-3)


def compare(
    stored: Mapping[str, list[float]], today: Mapping[str, list[float]]
) -> tuple[dict[str, float], str]:
    """Compare two smoke runs, each metric's values by step.

    Returns the largest `difference` of each metric, and in words the earliest that is above `TOLERANCE` or no
    number; "" if there is none. Metrics or numbers of steps that differ are reported, and nothing is compared.
    """
    lengths, found = ({k: len(v) for k, v in run.items()} for run in (stored, today))
    if lengths != found:
        names = sorted(k for k in lengths | found if lengths.get(k) != found.get(k))
        return {}, "; ".join(
            f"{name} has {found.get(name, 0)} steps, stored are {lengths.get(name, 0)}"
            for name in names
        )
    largest, beyond = {}, []
    for name, values in stored.items():
        differences = [difference(*pair) for pair in zip(values, today[name], strict=True)]
        largest[name] = max(differences, default=0.0)
        beyond += [(i, name) for i, d in enumerate(differences) if not d <= TOLERANCE][:1]
    if not beyond:
        return largest, ""
    i, name = min(beyond)
    a, b = stored[name][i], today[name][i]
    at = f" at step {i + 1}" if len(stored[name]) > 1 else ""
    return largest, (
        f"{name}{at} was {a:.9g} and is {b:.9g}, a relative difference of {difference(a, b):.2g} "
        f"(allowed {TOLERANCE:g}); {len(beyond)} of {len(stored)} metrics differ"
    )


# --- of a record ----------------------------------------------------------------------------------------------


class NotEquivalent(AssertionError):
    """Today's sources do not give a record's smoke run."""


def experiment_of(record: dict) -> "Experiment":
    """The experiment that a record was made with.

    Raises:
        ValueError: there is none of its name.
    """
    from imgbook import experiments  # here, because experiments imports this module

    experiments.check_name(name := experiment_name(record))
    return experiments.EXPERIMENTS[name]


def experiment_name(record: dict) -> str:
    """The name of a record without its preset, which all but those of preset quick have at their end."""
    return record["name"].removesuffix(f"-{record['preset']}")


@functools.cache
def data_hash(data_name: str, preset: str) -> str:
    """The content hash of a data set's training split."""
    if not data_name:
        return "no data set"
    from imgbook.data import load

    return load(data_name, "train", preset).content_hash


def judge_hash(experiment: "Experiment") -> str:
    """SHA-256 of the judge's weights; "" for a run that the judge has no part in."""
    if not experiment.judged:
        return ""
    weights = PACKAGE / "judge.safetensors"  # judge.PATH, without the import of jax
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def settings(name: str, preset: str) -> dict[str, list[float]]:
    """The hyperparameters of an experiment at a preset, numbers by name: "quick/num_steps".

    A smoke run does not see those of larger presets, so they are compared beside it.
    """
    from imgbook import experiments

    module = importlib.import_module(f"imgbook.{name.partition('-')[0]}")
    data_name = experiments.EXPERIMENTS[name].data
    if data_name and name != "judge":
        from imgbook.data import load

        # All that is asked of the images is their shape, the same at every preset.
        config = module.config_for(load(data_name, "train", "quick"), preset)
    else:
        config = module.config_for(preset)
    numbers = {}
    for field, value in asdict(config).items():
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":  # words, by their letters
            array = np.frombuffer(repr(value).encode(), np.uint8)
        numbers[f"{preset}/{field}"] = array.ravel().astype(float).tolist()
    return numbers


def hashes(record: dict) -> dict[str, str]:
    """`source_hash`, `data_hash` and `judge_hash` as they would be recorded today for a record's experiment.

    At preset full the data hash is the record's: those data are not in the package, and their files are checked
    against hashes that are in the sources.

    Raises:
        ValueError: no experiment makes that record.
    """
    experiment = experiment_of(record)
    full = record["preset"] == "full"
    return {
        "source_hash": source_hash(experiment.run),
        "data_hash": record["data_hash"] if full else data_hash(experiment.data, record["preset"]),
        "judge_hash": judge_hash(experiment),
    }


def equivalent(name: str, reason: str) -> tuple[dict, Path]:
    """Accept today's sources for the record NAME if its smoke run comes out the same; returns the entry and the file.

    The hyperparameters of the record's own preset have to be the same too, see `settings`.

    Raises:
        ValueError: no reason, a record that is not stale, or one that only a new recording repairs.
        NotEquivalent: a metric differs.
        FileNotFoundError: there is no such record.
    """
    from imgbook import experiments

    stored, reason = records.load(name), " ".join(reason.split())
    if not reason:
        raise ValueError("the reason is empty; say why the change of sources changes no result")
    state, why = records.freshness(stored)
    if state != "stale":
        raise ValueError(f"record {name!r} is {state}; there is nothing to accept")
    if why != records.SOURCES_CHANGED:
        raise ValueError(records.stale(stored))
    experiment = experiment_of(stored)
    source = source_hash(experiment.run)  # before the run, as in `record`
    today = experiments.flat(*experiments.run(experiment, "smoke", 0))
    today |= settings(experiment_name(stored), stored["preset"])
    differences, beyond = compare(stored["smoke"], today)
    if beyond:
        raise NotEquivalent(
            f"record {name!r}: {beyond}. Record anew with: {stored['command']}"
            + records.other_circumstances(stored)
        )
    entry = {
        "source_hash": source,
        "reason": reason,
        "date": datetime.date.today().isoformat(),
        "versions": records.versions(),
        "largest_difference": max(differences.values()),
        "metrics": differences,
    }
    return entry, records.write({**stored, "equivalents": [*stored["equivalents"], entry]})

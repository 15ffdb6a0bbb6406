"""Is everything here that the book needs? One line for each thing, `OK` or `FAIL`, and what to do about a failure.

Nothing is downloaded, changed or left behind. Only the standard library is imported before a check needs more, so
that a broken installation can be looked at too.
"""

import difflib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

MINIMUM_PYTHON = (3, 11)
ROOM = 250e6  # bytes; both whole data sets take 182 MB
VARIABLES = ("IMGBOOK_DATA_DIR", "IMGBOOK_DATA_MIRROR", "IMGBOOK_PRESET", "IMGBOOK_STRICT")
FOR_DEVELOPERS = ("IMGBOOK_PYTHON_", "IMGBOOK_SITE")  # read by tests and scripts of the checkout

Lines = Iterator[tuple[bool, str]]


def report() -> tuple[list[str], bool]:
    """What was found: lines that begin with `OK  ` or `FAIL`, and whether all are OK. Raises nothing."""
    lines, all_ok = [], True
    for name, check in CHECKS.items():
        try:
            for ok, text in check():
                lines.append(_line(ok, text))
                all_ok &= ok
        except Exception as error:  # whatever is broken is what is to be reported
            lines.append(_line(False, f"{name}: {_said(error)}"))
            all_ok = False
    return lines, all_ok


def _line(ok: bool, text: str) -> str:
    return f"{'OK  ' if ok else 'FAIL'} {' '.join(text.split())}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def check_python() -> Lines:
    wanted = ".".join(map(str, MINIMUM_PYTHON))
    ok = sys.version_info >= MINIMUM_PYTHON
    advice = "" if ok else "; make the environment anew with a newer Python"
    yield ok, f"Python {platform.python_version()} (needed: {wanted} or newer){advice}"


def check_packages() -> Lines:
    """The versions of the declared dependencies, and of jaxlib, which belongs to a version of jax."""
    from packaging.requirements import Requirement  # comes with matplotlib and pooch

    declared = [Requirement(line) for line in metadata.requires("imgbook") or ()]
    try:
        of_jax = [Requirement(line) for line in metadata.requires("jax") or ()]
    except metadata.PackageNotFoundError:
        of_jax = []  # said below, with the version that is needed
    needs = [*declared, *(need for need in of_jax if need.name == "jaxlib")]
    for need in sorted(needs, key=lambda need: need.name):
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        advice = f"; python -m pip install '{need.name}{need.specifier}'"
        try:
            found = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield False, f"{need.name} is not installed (needed: {need.specifier}){advice}"
            continue
        ok = need.specifier.contains(found, prereleases=True)
        yield ok, f"{need.name} {found} (needed: {need.specifier}){'' if ok else advice}"


def check_devices() -> Lines:
    import jax

    try:
        devices = jax.devices()
    except (
        Exception
    ) as error:  # RuntimeError, or AssertionError for a platform that is not installed
        wish = os.environ.get("JAX_PLATFORMS")
        why = f" (JAX_PLATFORMS is {wish!r}; without it jax chooses for itself)" if wish else ""
        yield False, f"jax has no device: {_said(error)}{why}"
        return
    kinds = sorted({device.device_kind for device in devices})
    yield True, f"jax backend {jax.default_backend()}: {len(devices)} x {', '.join(kinds)}"


def check_arithmetic() -> Lines:
    """A compiled product of matrices of small whole numbers, which is exact in every floating-point format."""
    import jax
    import numpy as np

    matrix = np.arange(64 * 64).reshape(64, 64) % 5
    product = np.asarray(jax.jit(lambda a: a @ a)(matrix.astype(np.float32)))
    ok = np.array_equal(product, matrix @ matrix)
    wrong = "is wrong; reinstall jax and jaxlib, or choose another device by JAX_PLATFORMS"
    yield ok, f"a compiled matrix product {'is right' if ok else wrong}"


def check_embedded() -> Lines:
    from imgbook import sources

    for name in sources.EMBEDDED_SHA256:
        try:
            path = sources.embedded_file(name)
            yield True, f"{name}, in the package: {path.stat().st_size / 1e6:.1f} MB, undamaged"
        except ValueError as error:
            yield False, str(error)


def check_whole_sets() -> Lines:
    """Missing whole sets are no failure, unless preset full is set and nothing may be downloaded."""
    from imgbook import download, sources

    full = os.environ.get("IMGBOOK_PRESET") == "full"
    for name, source in sources.SOURCES.items():
        missing, damaged, came = [], [], 0
        for file in source.files:
            places = sources.local_files(name, file)
            path = next((place for place in places if place.exists()), None)
            if path is None:
                missing.append(file)
                came += sum(part.stat().st_size for part in download.part_files(places[0]))
                continue
            try:
                source.check(path, file)
            except (OSError, ValueError) as error:
                damaged.append(f"{path}: {error}; delete it and get it again")
        for words in damaged:
            yield False, f"{name}, whole: {words}"
        if damaged:
            continue
        folder = sources.data_folder() / name
        if not missing:
            yield True, f"{name}, whole: here and undamaged ({path.parent})"
            continue
        state = (
            "not here" if len(missing) == len(source.files) else f"{', '.join(missing)} not here"
        )
        begun = f", {came / 1e6:.1f} MB have come" if came else ""
        may_download = bool(sources.urls(name, missing[0]))
        way = f"downloaded to {folder} at first use" if may_download else f"put it into {folder}"
        need = "preset full needs it" if full else "preset quick does not need it; for preset full"
        yield may_download or not full, f"{name}, whole: {state}{begun}; {need}: {way}"


def check_data_folder() -> Lines:
    from imgbook import sources

    folder = sources.data_folder().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    advice = "set IMGBOOK_DATA_DIR to another folder"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield False, f"data folder {folder}: cannot be written to ({error.strerror}); {advice}"
        return
    free = shutil.disk_usage(there).free
    state = "writable" if there == folder else "not there yet, can be made"
    words = f"data folder {folder}: {state}, {free / 1e9:.1f} GB free"
    yield free >= ROOM, words + ("" if free >= ROOM else f"; preset full needs 0.25 GB: {advice}")


def check_records() -> Lines:
    from imgbook import records

    bad = []
    for name in records.names():
        try:
            records.load(name)
        except (OSError, ValueError) as error:
            bad.append(f"result record {name}: {error}")
    for words in bad:
        yield False, words
    if not bad:
        names = records.names()
        where = f"{len(names)} in {records.folder()}: {', '.join(names)}"
        yield bool(names), f"result records: {where if names else f'none in {records.folder()}'}"


def check_judge() -> Lines:
    from imgbook import judge

    judge.load()
    yield True, f"weights of the judge: {judge.PATH.stat().st_size / 1e6:.1f} MB, readable"


def check_variables() -> Lines:
    """The environment's variables that begin with IMGBOOK_: their names, and what they are set to."""
    given = {n: v for n, v in sorted(os.environ.items()) if n.upper().startswith("IMGBOOK_")}
    for name, value in given.items():
        if name.startswith(FOR_DEVELOPERS):
            yield True, f"{name}={value} (for tests and scripts)"
        elif name not in VARIABLES:
            names = {known.removeprefix("IMGBOOK_"): known for known in VARIABLES}
            near = difflib.get_close_matches(name.upper().removeprefix("IMGBOOK_"), names, n=1)
            meant = f"; did you mean {names[near[0]]}?" if near else ""
            yield (
                False,
                f"{name}={value} is read by nothing{meant} (there are {', '.join(VARIABLES)})",
            )
        else:
            wrong = value and _complaint(name, value)
            yield not wrong, f"{name}={value}{f': {wrong}' if wrong else ''}"
    if not given:
        yield True, "environment: no variable IMGBOOK_... is set, so the preset is quick"


def _complaint(name: str, value: str) -> str:
    """What is wrong with the value of a variable, "" if nothing is."""
    from imgbook import presets, sources

    if name == "IMGBOOK_PRESET" and value not in presets.PRESETS:
        return f"allowed are {', '.join(presets.PRESETS)}"
    if name == "IMGBOOK_STRICT" and value not in ("0", "1"):
        return "allowed are 1 (a value outside its band is an error) and 0"
    if name == "IMGBOOK_DATA_DIR" and Path(value).is_file():
        return "is a file; allowed is a folder, which may not be there yet"
    if name == "IMGBOOK_DATA_MIRROR" and value != "none" and not sources.is_url(value):
        return "" if Path(value).is_dir() else "is no folder; allowed are a folder, a URL and none"
    return ""


CHECKS: dict[str, Callable[[], Lines]] = {
    "Python": check_python,
    "packages": check_packages,
    "devices": check_devices,
    "arithmetic": check_arithmetic,
    "embedded data": check_embedded,
    "whole data sets": check_whole_sets,
    "data folder": check_data_folder,
    "result records": check_records,
    "weights of the judge": check_judge,
    "environment": check_variables,
}

"""The three sizes in which everything runs: `smoke`, `quick` (the default) and `full`."""

import os

PRESETS = ("smoke", "quick", "full")
SAMPLES = {"smoke": 50, "quick": 2000, "full": 10_000}  # generated images that a model is judged by


def current(preset: str | None = None) -> str:
    """The preset to use: the argument if given, else the environment's `IMGBOOK_PRESET`, else `quick`.

    `smoke`: seconds, checks that code runs and says nothing about quality. `quick`: the data in the package, at
    most two minutes a notebook. `full`: whole data sets, from the command line or on an accelerator.

    Raises:
        ValueError: the name is none of the three.
    """
    name, origin = (
        (preset, "argument preset")
        if preset is not None
        else (os.environ.get("IMGBOOK_PRESET") or "quick", "environment variable IMGBOOK_PRESET")
    )
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r} ({origin}); allowed: {', '.join(PRESETS)}")
    return name

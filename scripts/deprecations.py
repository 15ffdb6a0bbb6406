"""Deprecation warnings as errors in notebooks, and the notebooks that prove it.

pytest's option -W does not reach the kernels of notebooks; a startup file of IPython does.
"""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

CATEGORIES = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")
# Read by every kernel of `newest`. A warning belongs to the module that its stacklevel points to: mostly the caller
# (a notebook is __main__), but with the default stacklevel, or below a transformation, the library itself.
STARTUP = f"""\
import warnings as _warnings
for _category in ({", ".join(CATEGORIES)}):
    _warnings.filterwarnings(
        "error", category=_category, module=r"(__main__|imgbook|jax|jaxlib|flax|optax)(\\.|$)"
    )
del _warnings, _category
"""


def warn_as(category: str, module: str) -> str:
    """Source of a cell that raises a warning as if in a module."""
    warn = f"warnings.warn('control', {category})"
    return f'import warnings\nexec("{warn}", {{"__name__": "{module}", "warnings": warnings}})'


# Name: (the only cell of a notebook, the warning that must stop it; None: it must pass).
CONTROLS = {
    "clean": ("import jax.numpy as jnp\njnp.ones(1) + 1", None),
    "notebook": (
        "import warnings\nwarnings.warn('control', DeprecationWarning)",
        "DeprecationWarning",
    ),
    "package": (
        warn_as("PendingDeprecationWarning", "imgbook.gan"),
        "PendingDeprecationWarning",
    ),
    "library": (warn_as("FutureWarning", "jax._src.lax"), "FutureWarning"),
    # A real one. Once Flax has removed it, put another deprecated name of JAX or Flax here.
    "flax": ("from flax import nnx\nnnx.Param(0.0).value", "DeprecationWarning"),
}


def write_startup(ipython: Path) -> Path:
    """Make deprecations errors in the kernels of this IPYTHONDIR; the path of the file that does so."""
    path = ipython / "profile_default" / "startup" / "deprecations.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STARTUP)
    return path


def write_notebook(path: Path, source: str) -> None:
    """Write a notebook of one code cell."""
    cell = {"cell_type": "code", "id": "cell", "metadata": {}, "source": source}
    cell |= {"outputs": [], "execution_count": None}
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))


def failures(case: ET.Element) -> list[ET.Element]:
    """What failed in a test case of a JUnit report; nothing if it passed or was skipped."""
    return [*case.iter("failure"), *case.iter("error")]


def stopped_by(case: ET.Element) -> str | None:
    """The exception that stopped a notebook's cell; None if the cell passed."""
    if not (found := failures(case)):
        return None
    text = re.sub(r"(?:\x1b|#x1B)\[[\d;]*m", "", found[0].text or "")
    names = re.findall(r"^(\w*(?:Warning|Error|Exception))(?:: |$)", text, re.M)
    return names[-1] if names else text[:200]

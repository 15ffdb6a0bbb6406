"""Trained weights on disk: NAME.safetensors for the arrays, NAME.json for where they come from. No pickles, no network.

The JSON says what was trained, on which data, with which seed and versions, how well it does, under which licence, and
the SHA-256 of the other file, whose header holds the same description: a change to either is noticed.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imgbook.training import History, TrainState

REQUIRED = ("architecture", "data", "seed", "versions", "result", "licence")
TRAINED = Path(__file__).parent / "trained"  # the chapters' models
HISTORY = "history."  # what the names of a history's arrays begin with
TIMES = tuple(f.name for f in fields(History) if f.name != "metrics")  # numbers, in the description
REMEDY = "get both files again, or train again"


def named(tree: Any) -> dict[str, Any]:
    """The leaves of any pytree by name, "params.convs.layers.0.kernel" for instance, in the tree's order."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {".".join(_words(path)): leaf for path, leaf in leaves}


def _words(path: tuple) -> list[str]:
    """A path as words; the `.value` at the end of a Flax variable's path is left out."""
    words = [
        str(next(getattr(k, a) for a in ("key", "name", "idx") if hasattr(k, a))) for k in path
    ]
    return words[:-1] if words and words[-1] == "value" else words


def check_equal(where: Path, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the first differences, unless names, shapes and dtypes are the same."""
    differences = []
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        there, here = (
            f"{np.dtype(tree[name].dtype).name} {tuple(tree[name].shape)}"
            if name in tree
            else "nothing"
            for tree in (found, wanted)
        )
        if there != here:
            differences.append(f"{name}: {there} in the file, {here} in this model")
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ValueError(
            f"{where} holds another model's weights ({'; '.join(differences[:3])}{more}). Choose the model and "
            "hyperparameters that it was trained with, or another file."
        )


def save(path: Path, tree: Any, description: Mapping[str, Any]) -> None:
    """Write the arrays of `tree` to `path` (.safetensors) and the description to the .json beside it.

    Both files are written whole under other names before either takes its place; if that fails or is interrupted, the
    pair that was there stays.

    Raises:
        ValueError: another ending, a description that lacks one of `REQUIRED` or holds a number that is not finite, or
            a .json of that name without its .safetensors, which is somebody else's.
        TypeError: a description that JSON cannot hold, or a leaf that is no array (a PRNG key: see `inference`).
        OSError: the files cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    check_ending(path)
    missing = [key for key in REQUIRED if key not in description]
    if missing:
        raise ValueError(f"the description of {path.name} lacks {', '.join(missing)}")
    if not path.exists() and (other := path.with_suffix(".json")).exists():
        raise ValueError(f"{other} is there and is no part of a {path.name}; choose another name")
    text = json.dumps(description, sort_keys=True, allow_nan=False)
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in named(tree).items()}
    content = to_bytes(arrays, {"description": text})
    sidecar = sidecar_text(json.loads(text), hashlib.sha256(content).hexdigest())
    try:
        _write_pair(path, content, path.with_suffix(".json"), sidecar.encode())
    except OSError as error:
        raise type(error)(
            error.errno,
            f"weights could not be written to {path}: {error.strerror}; make room or choose another folder. "
            "Nothing was overwritten.",
        ) from error


def sidecar_text(description: Mapping[str, Any], sha256: str) -> str:
    """What the .json holds: the description and the SHA-256 of the other file."""
    return json.dumps({**description, "sha256": sha256}, indent=2) + "\n"


def _write_pair(first: Path, first_content: bytes, second: Path, second_content: bytes) -> None:
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in (first, second)]
    before = first.read_bytes() if first.is_file() else None
    try:
        parts[0].write_bytes(first_content)
        parts[1].write_bytes(second_content)
        os.replace(parts[0], first)
        try:
            os.replace(parts[1], second)
        except BaseException:  # a new file beside an old one would be no pair
            first.unlink() if before is None else first.write_bytes(before)
            raise
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def check_ending(path: Path) -> None:
    """Raise ValueError unless the name ends in .safetensors."""
    if path.suffix != ".safetensors":
        raise ValueError(f"weights file {path.name!r}; its name must end in .safetensors")


def load(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """The arrays at `path` in the structure of `like`, and their description.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is damaged or was changed, or names, shapes or dtypes differ from those of `like`.
    """
    arrays, description = read(path)
    return in_structure(Path(path), arrays, like), description


def in_structure(path: Path, arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Arrays by name, read from `path`, in the structure of `like`; ValueError unless they are the same."""
    wanted = named(like)
    check_equal(path, wanted, arrays)
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays at `path` by name and their description; errors as for `load`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check_ending(path)
    sidecar = path.with_suffix(".json")
    for file in (path, sidecar):
        if not file.is_file():
            raise FileNotFoundError(
                f"no weights file {file}; a trained model is two files, .safetensors and .json: get both"
            )
    content = path.read_bytes()
    try:
        text = sidecar.read_text(encoding="utf-8")
        sha256 = json.loads(text)["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{sidecar} is damaged ({error!r}); {REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path} is damaged or {sidecar.name} is not its own: its SHA-256 is another one; {REMEDY}"
        )
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            description = json.loads(file.metadata()["description"])
        expected = sidecar_text(description, sha256)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no weights file of this package ({error!r}); {REMEDY}"
        ) from error
    if text != expected:
        raise ValueError(
            f"{sidecar} was changed: it is not the description in {path.name}; {REMEDY}"
        )
    return arrays, description


# --- whole models ---------------------------------------------------------------------------------------------


def inference(state: Any) -> Any:
    """What of a training state a trained model needs: parameters and statistics, without optimiser, key and step.

    `state`: a `TrainState`, or a named tuple of several (a GAN's).
    """
    if isinstance(state, TrainState):
        return state._replace(opt_state=None, key=None, step=None)
    return type(state)(*(inference(part) for part in state))


def with_weights(state: Any, trained: Any) -> Any:
    """`state` with the parameters and statistics of `trained` (as `inference` gives it)."""
    if isinstance(state, TrainState):
        return state._replace(params=trained.params, stats=trained.stats)
    return type(state)(*(with_weights(*pair) for pair in zip(state, trained, strict=True)))


def save_model(path: Path, state: Any, history: History, description: Mapping[str, Any]) -> None:
    """Write a trained model: what `inference` keeps of its state, and the history of its training. Errors as `save`."""
    metrics = {name: np.asarray(v, np.float32) for name, v in history.metrics.items()}
    times = {name: float(getattr(history, name)) for name in TIMES}
    save(path, {"model": inference(state), "history": metrics}, {**description, **times})


def load_model(path: Path, state: Any) -> tuple[Any, History, dict[str, Any]]:
    """A trained model in the structure of `state` (fresh from a chapter's `init`): state, history, description.

    Raises:
        as for `load`.
    """
    arrays, description = read(path)
    metrics = {
        n.removeprefix(HISTORY): arrays.pop(n) for n in list(arrays) if n.startswith(HISTORY)
    }
    tree = in_structure(Path(path), arrays, {"model": inference(state)})
    times = {name: float(description.get(name, 0.0)) for name in TIMES}
    return with_weights(state, tree["model"]), History(metrics, **times), description


def save_trained(
    name: str, state: Any, history: History, description: Mapping[str, Any]
) -> list[Path]:
    """Write the model NAME that comes with the package; returns the two files. Errors as `save`."""
    TRAINED.mkdir(exist_ok=True)
    path = TRAINED / f"{name}.safetensors"
    save_model(path, state, history, description)
    return [path, path.with_suffix(".json")]


def load_trained(name: str, state: Any) -> tuple[Any, History]:
    """The model NAME that comes with the package, trained at preset quick with seed 0, and the history of its training.

    `state`: fresh from the chapter's `init`, with the hyperparameters of preset quick.

    Raises:
        FileNotFoundError: there is none of that name; the message lists those there are. ValueError: as for `load`.
    """
    path = TRAINED / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in TRAINED.glob("*.safetensors"))) or "none"
        raise FileNotFoundError(f"no trained model {name!r} in the package; there are: {known}")
    state, history, description = load_model(path, state)
    result = ", ".join(f"{key} {value:.4g}" for key, value in description["result"].items())
    print(f"weights of {name}, not trained here (recorded result: {result})", file=sys.stderr)
    return state, history

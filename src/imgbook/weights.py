"""Weights on disk: one safetensors file, its description (JSON text) in the file's own header. No pickles."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes


def flatten(state: nnx.State) -> dict[str, np.ndarray]:
    """A Flax state as float arrays by name, "convs.layers.0.kernel" for instance."""
    return {
        ".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(state)
    }


def save(path: Path, state: nnx.State, description: dict) -> None:
    """Write a state with a description of where it comes from (anything that JSON can hold)."""
    path.write_bytes(to_bytes(flatten(state), {"description": json.dumps(description)}))


def load(path: Path, like: nnx.State) -> tuple[nnx.State, dict]:
    """Read the state at `path` into the structure of `like`; returns it and its description.

    Raises:
        ValueError: no whole safetensors file, or names or shapes that differ from those of `like`.
    """
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            description = json.loads((file.metadata() or {}).get("description", "{}"))
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no whole weights file ({error}); get it again or retrain"
        ) from error
    wanted = {name: array.shape for name, array in flatten(like).items()}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        differing = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise ValueError(
            f"{path} holds another model's weights: they differ in {', '.join(differing)}"
        )
    pure = {}
    for path_keys, _ in nnx.to_flat_state(like):
        node = pure
        for key in path_keys[:-1]:
            node = node.setdefault(key, {})
        node[path_keys[-1]] = jnp.asarray(arrays[".".join(map(str, path_keys))])
    state = jax.tree.map(lambda leaf: leaf, like)  # a copy: the leaves of `like` stay as they are
    nnx.replace_by_pure_dict(state, pure)
    return state, description

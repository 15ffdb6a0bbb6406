"""Chapter 4, inside: what a trained network looks at.

Every function takes a Flax module that is called as `model(x)`, with `x` `[N, H, W, C]` as the network takes it
(standardised), and gives logits `[N, K]`; it has to be in evaluation mode, or the images of a batch mix. No function
changes the model. A layer is named by its path, as in "convs.layers.2". Raised everywhere: ValueError for an `x` that
is no such array or that the network does not take, for a class outside of its logits and for a layer that is not there
(the message lists those there are); TypeError for pixels or class indices of another type.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

# --- one layer of a network -----------------------------------------------------------------------------------


class Tap(nnx.Module):
    """Stands in for a layer: calls it, keeps what it gives in a list, and adds a probe to what it hands on.

    The probe is zero. It is there to be differentiated by: the gradient by it is the gradient by the output.
    """

    def __init__(self, layer: nnx.Module, probe: jax.Array | None, kept: list):
        self.layer, self.probe, self.kept = layer, probe, kept

    def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
        y = self.layer(*args, **kwargs)
        self.kept.append(y)
        return y if self.probe is None else y + self.probe

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "layer" not in vars(self):  # not yet: while it is made or copied
            raise AttributeError(name)
        return getattr(self.layer, name)  # a network may read a layer's weights itself


def layer_names(model: nnx.Module) -> list[str]:
    """Paths of all sub-modules that can be called, parents before children, in the order of their attributes."""
    return [".".join(path) for path, node in _nodes(model) if path and _is_layer(node)]


def _is_layer(node: Any) -> bool:
    return isinstance(node, nnx.Module) and callable(node)


def _nodes(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The node and all below it, with their paths."""
    yield path, node
    for word, child in _children(node):
        yield from _nodes(child, (*path, word))


def _children(node: Any) -> list[tuple[str, Any]]:
    """Modules and containers in a node. `nnx.List` and `nnx.Dict`, where Flax has them, are modules and containers."""
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, Sequence):
        items = enumerate(node)
    else:
        items = vars(node).items() if isinstance(node, nnx.Module) else ()
    kinds = nnx.Module, Mapping, list, tuple
    return [(str(k), v) for k, v in items if isinstance(v, kinds) and not str(k).startswith("_")]


def _replaced(node: Any, path: Sequence[str], change: Callable[[Any], Any]) -> Any:
    """The node with `change` done to what is at the path; in place, but for tuples, which are made anew."""
    if not path:
        return change(node)
    word, *rest = path
    new = _replaced(dict(_children(node))[word], rest, change)
    if isinstance(node, tuple):
        return (*node[: int(word)], new, *node[int(word) + 1 :])
    if isinstance(node, Mapping):
        node[next(key for key in node if str(key) == word)] = new
    elif isinstance(node, Sequence):
        node[int(word)] = new
    else:
        setattr(node, word, new)
    return node


def run(
    graphdef: nnx.GraphDef, layer: str, state: Any, x: jax.Array, probe: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Logits, and the output of the layer, to which the probe is added; of the network that was split into two."""
    kept = []
    copy = nnx.merge(graphdef, state)
    logits = _replaced(copy, layer.split("."), lambda node: Tap(node, probe, kept))(x)
    if len(kept) != 1:
        raise ValueError(
            f"layer {layer!r} is called {len(kept)} times in a pass through the network; choose one that is called once"
        )
    return logits, kept[0]


@partial(jax.jit, static_argnums=0)
def _logits(graphdef: nnx.GraphDef, state: Any, x: jax.Array) -> jax.Array:
    return nnx.merge(graphdef, state)(x)


def check(
    model: nnx.Module, x: jax.Array, layer: str | None = None, class_index: Any = None
) -> None:
    """Raise what the module's first lines promise."""
    if jnp.ndim(x) != 4:
        raise ValueError(f"x has shape {jnp.shape(x)}; allowed: images [N, H, W, C]")
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise TypeError(f"x has dtype {jnp.result_type(x)}; allowed: floats, standardised")
    graphdef, state = nnx.split(model)
    try:
        logits = jax.eval_shape(partial(_logits, graphdef), state, x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the network does not take x of shape {jnp.shape(x)}; give images of the size and channels that it was "
            f"trained on ({error})"
        ) from error
    if layer is not None and layer not in (names := layer_names(model)):
        raise ValueError(f"no layer {layer!r}; there are: {', '.join(names)}")
    if class_index is None or isinstance(class_index, jax.core.Tracer):
        return
    indices, (n, k) = np.asarray(class_index), logits.shape
    if not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"class_index has dtype {indices.dtype}; allowed: integers")
    if indices.shape not in ((), (n,)):
        raise ValueError(f"class_index has shape {indices.shape}; allowed: one integer, or ({n},)")
    if np.any((indices < 0) | (indices >= k)):
        raise ValueError(f"class_index {class_index}; allowed: 0 to {k - 1}")


def activations(model: nnx.Module, x: jax.Array, layer: str) -> jax.Array:
    """What the named layer gives, for a convolution `[N, h, w, C]`, before any activation that follows it."""
    check(model, x, layer)
    graphdef, state = nnx.split(model)
    return _activations(graphdef, layer, state, x)


@partial(jax.jit, static_argnums=(0, 1))
def _activations(graphdef: nnx.GraphDef, layer: str, state: Any, x: jax.Array) -> jax.Array:
    return run(graphdef, layer, state, x)[1]


def logits(model: nnx.Module, x: jax.Array) -> jax.Array:
    """`model(x)`, `[N, K]`, compiled once for all networks of one structure."""
    check(model, x)
    return _logits(*nnx.split(model), x)


# --- what a kernel is made of ---------------------------------------------------------------------------------

COLOUR_AXES = ("brightness", "blue-yellow", "red-green")


def patterns(k: int) -> np.ndarray:
    """An orthonormal basis of the `k` x `k` kernels of three channels, `[3, k * k, k, k, 3]`: axes of colour first.

    On each of `COLOUR_AXES` the patterns are the products of the cosines cos(pi u (2 i + 1) / (2 k)), u = 0 ... k - 1,
    of rows and of columns (the discrete cosine transform): the first is flat, then come slopes, then finer ones.

    Raises:
        ValueError: `k` below 1.
    """
    if k < 1:
        raise ValueError(f"k = {k}; allowed: 1 or more")
    u, i = np.ogrid[:k, :k]
    waves = np.cos(np.pi * u * (2 * i + 1) / (2 * k))
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    colours = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([3, 6, 2])[:, None]
    return np.einsum("ui,vj,ac->auvijc", waves, waves, colours).reshape(3, k * k, k, k, 3)


def pattern_shares(kernel: np.ndarray) -> np.ndarray:
    """How much of a layer's kernels `[k, k, 3, B]` each of `patterns(k)` makes up: `[3, k * k]`, sums to 1.

    The sum of squared coefficients over the B kernels, divided by the sum of squared weights; 1 / (3 k^2) each is what
    weights without any order have, on average.

    Raises:
        ValueError: another shape, as for grey images.
    """
    if np.ndim(kernel) != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[2] != 3:
        raise ValueError(f"kernel has shape {np.shape(kernel)}; allowed: [k, k, 3, B]")
    kernel = np.asarray(kernel, np.float64)
    found = np.einsum("apijc,ijcb->apb", patterns(len(kernel)), kernel)
    return (found**2).sum(2) / (kernel**2).sum()


# --- where it looks -------------------------------------------------------------------------------------------


def of_class(logits: jax.Array, class_index: jax.Array) -> jax.Array:
    """The sum over images of the logit of each one's class: its gradient by one image is that of one logit."""
    index = jnp.broadcast_to(jnp.asarray(class_index), len(logits))
    return jnp.take_along_axis(logits, index[:, None], 1).sum()


def grad_cam(
    model: nnx.Module, x: jax.Array, layer: str, class_index: int | jax.Array
) -> jax.Array:
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2): `[N, h, w]`, 0 or more, as large as the layer's maps.

    `ReLU(sum_k alpha_k A_k)`, A_k the maps that the layer gives, alpha_k the mean over places of the gradient by A_k
    of the logit of `class_index` (one for all, or `[N]`). Not normalised and not resized.

    Raises:
        ValueError: also a layer without places, a dense one, or one that is not called exactly once.
    """
    check(model, x, layer, class_index)
    graphdef, state = nnx.split(model)
    return _grad_cam(graphdef, layer, state, x, class_index)


@partial(jax.jit, static_argnums=(0, 1))
def _grad_cam(
    graphdef: nnx.GraphDef, layer: str, state: Any, x: jax.Array, class_index: jax.Array
) -> jax.Array:
    _, output = jax.eval_shape(partial(run, graphdef, layer), state, x)
    if output.ndim != 4:
        raise ValueError(
            f"layer {layer!r} gives {output.shape}, which has no places; choose one that gives maps [N, h, w, C]"
        )

    def logit(probe: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, maps = run(graphdef, layer, state, x, probe)
        return of_class(logits, class_index), maps

    gradient, maps = jax.grad(logit, has_aux=True)(jnp.zeros(output.shape, output.dtype))
    alpha = gradient.mean((1, 2), keepdims=True)
    return nnx.relu((alpha * maps).sum(-1))


def saliency(model: nnx.Module, x: jax.Array, class_index: int | jax.Array) -> jax.Array:
    """Largest |d logit / d pixel| over channels (Simonyan et al. 2014, section 3.1): `[N, H, W]`."""
    check(model, x, class_index=class_index)
    graphdef, state = nnx.split(model)
    return largest_slope(graphdef, _call, state, x, class_index)


@partial(jax.jit, static_argnums=(0, 1))
def largest_slope(
    graphdef: nnx.GraphDef, forward: Callable, state: Any, x: jax.Array, class_index: jax.Array
) -> jax.Array:
    """Largest |d logit / d pixel| over channels, `[N, H, W]`, of a network split into two and called by `forward`."""
    model = nnx.merge(graphdef, state)
    return jnp.abs(jax.grad(lambda x: of_class(forward(model, x), class_index))(x)).max(-1)


def _call(model: nnx.Module, x: jax.Array) -> jax.Array:
    return model(x)

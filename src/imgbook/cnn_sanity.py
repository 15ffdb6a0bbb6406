"""Chapter 4, inside: whether a map of what a network looks at can be believed.

`randomised` takes from a network what it has learned, `similarity` says whether a map notices. `guided_backprop` and
`edges` are maps to compare with that notice less, or nothing. `top_pixels` chooses what to hide from the network.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from imgbook import cnn_inside, layers, weights
from imgbook.cnn import CNN


def randomised(
    model: nnx.Module, key: jax.Array, layers: Sequence[str] | None = None
) -> nnx.Module:
    """A copy of the network whose weights in the named layers (default: in all) have lost their order.

    The values of each weight array are permuted, so that its mean, spread and histogram stay and what was learned
    goes (the parameter randomisation of Adebayo et al. 2018, which draws from the initial distribution).
    A layer is permuted in the same way whatever else is. Weights are all numbers but the averages of BatchNorm, which
    stay: also those that are not trained, as a first layer that was computed from the data.

    Raises:
        ValueError: a name without weights below it.
    """
    graphdef, rest, params = nnx.split(model, nnx.Any(nnx.BatchStat, nnx.RngState), ...)
    arrays = weights.named(params)
    for layer in () if layers is None else layers:
        if not any(_below(name, layer) for name in arrays):
            raise ValueError(f"no weights in a layer {layer!r}; there are: {', '.join(arrays)}")
    leaves = [
        jax.random.permutation(jax.random.fold_in(key, i), array.ravel()).reshape(array.shape)
        if layers is None or any(_below(name, layer) for layer in layers)
        else array
        for i, (name, array) in enumerate(arrays.items())
    ]
    return nnx.merge(graphdef, rest, jax.tree.unflatten(jax.tree.structure(params), leaves))


def _below(name: str, layer: str) -> bool:
    return f"{name}.".startswith(f"{layer}.")


def similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """Spearman's rank correlation of maps `[N, ...]`, signed, `[N]` in [-1, 1]; ties share their mean rank.

    A map whose values are all equal has no order; its correlation with any other is 0 here.

    Raises:
        ValueError: maps of different shapes, or without places.
    """
    if jnp.shape(a) != jnp.shape(b) or jnp.ndim(a) < 2:
        raise ValueError(f"maps {jnp.shape(a)} and {jnp.shape(b)}; allowed: one shape [N, h, w]")
    ranks = [
        jax.scipy.stats.rankdata(jnp.reshape(maps, (len(maps), -1)), axis=1)  # [N, h, w] -> [N, hw]
        for maps in (a, b)
    ]
    u, v = (r - r.mean(1, keepdims=True) for r in ranks)
    length = jnp.sqrt((u**2).sum(1) * (v**2).sum(1))
    return jnp.where(length > 0, (u * v).sum(1) / jnp.where(length > 0, length, 1), 0)


def top_pixels(maps: jax.Array, share: float, key: jax.Array) -> jax.Array:
    """The `share` of pixels where a map `[N, H, W]` is highest: bool, the same shape, the same count in each image.

    Equal values are chosen among by chance: a map that is zero in places has no lowest pixel, and taking the first
    would prefer the top of the image.

    Raises:
        ValueError: a share outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}; allowed: 0 to 1")
    flat = jnp.reshape(maps, (len(maps), -1))  # [N, H, W] -> [N, H * W]
    order = jnp.lexsort((jax.random.uniform(key, flat.shape), -flat), axis=1)
    place = jnp.argsort(order, axis=1)  # of each pixel in the order
    return (place < round(share * flat.shape[1])).reshape(jnp.shape(maps))


# --- maps to compare with ----------------------------------------------------------------------------------------


def guided_backprop(model: nnx.Module, x: jax.Array, class_index: int | jax.Array) -> jax.Array:
    """`saliency` with `guided_relu` for each ReLU, `[N, H, W]`: it looks like an explanation, and is a control here.

    Defined for networks of ReLUs: for `imgbook.cnn.CNN`, whose pass is repeated here; TypeError for others.
    """
    if not isinstance(model, CNN):
        raise TypeError(f"model is {type(model).__name__}; allowed: imgbook.cnn.CNN (ReLU)")
    cnn_inside.check(model, x, class_index=class_index)
    graphdef, state = nnx.split(model)
    return cnn_inside.largest_slope(graphdef, guided_logits, state, x, class_index)


@jax.custom_vjp
def guided_relu(x: jax.Array) -> jax.Array:
    """ReLU whose gradient lets only positive parts of the cotangent through (Springenberg et al. 2015, figure 1)."""
    return nnx.relu(x)


guided_relu.defvjp(lambda x: (nnx.relu(x), x > 0), lambda on, c: (jnp.where(on, nnx.relu(c), 0),))


def guided_logits(model: nnx.Module, x: jax.Array) -> jax.Array:
    """The logits of an `imgbook.cnn.CNN`, the same values, with `guided_relu`."""
    for conv in model.convs.layers:
        x = layers.max_pool(guided_relu(conv(x)), (2, 2), strides=(2, 2))
    x = x.reshape(len(x), -1)  # [N, h, w, c] -> [N, h * w * c]
    return model.head(guided_relu(model.dense(x)))


def edges(x: jax.Array) -> jax.Array:
    """Length of the brightness gradient by central differences, `[N, H, W]`: a map that knows of no network."""
    brightness = jnp.pad(jnp.asarray(x).mean(-1), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]) / 2
    columns = (brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]) / 2
    return jnp.hypot(rows, columns)

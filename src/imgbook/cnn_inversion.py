"""Chapter 4, inside: images made from a classifier, by gradient descent on pixels instead of weights.

`invert` looks for an image that a layer cannot tell from a given one: what it finds is what the layer has kept.
`maximise` looks for an image that a class's logit likes best. Both know nothing of photographs but the two penalties
of Mahendran and Vedaldi (2015, section 2): pixels should be in range, and neighbours alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from imgbook import cnn_inside


@dataclass(frozen=True)
class InversionConfig:
    """How images are made. Pixels are in the network's own units, standardised.

    Raises:
        ValueError: no step, a learning rate or a bound that is not positive, a negative weight or spread.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_steps: int = 300
    learning_rate: float = 0.1  # of Adam, in pixel units a step; falls to 0 along a cosine
    total_variation: float = 0.01  # weight of the mean squared difference of neighbours
    norm: float = 0.01  # weight of the mean of |pixel / bound| ** power
    power: int = 6
    bound: float = 2.0  # pixels beyond it are punished: 2 is white, -2 black, after cnn.standardise
    start: float = 0.1  # standard deviation of the noise that the descent starts from

    def __post_init__(self):
        least = {"num_steps": 1, "total_variation": 0, "norm": 0, "power": 1, "start": 0}
        low = [f"{k} = {getattr(self, k)}" for k, v in least.items() if getattr(self, k) < v]
        low += [f"{k} = {v}" for k in ("learning_rate", "bound") if (v := getattr(self, k)) <= 0]
        if low:
            raise ValueError(
                f"{', '.join(low)}; allowed: num_steps and power 1 or more, learning_rate and bound above 0, others 0 "
                "or more"
            )


def penalty(x: jax.Array, config: InversionConfig) -> jax.Array:
    """What an image `[N, H, W, C]` pays, whatever the network says, `[N]` (Mahendran and Vedaldi 2015, section 2)."""
    rows, columns = (jnp.diff(x, axis=axis) ** 2 for axis in (1, 2))
    variation = rows.mean((1, 2, 3)) + columns.mean((1, 2, 3))
    size = jnp.abs(x / config.bound) ** config.power
    return config.total_variation * variation + config.norm * size.mean((1, 2, 3))


def relative_error(found: jax.Array, target: jax.Array) -> jax.Array:
    """`||found - target|| / ||target||` for each row of `[N, ...]`: `[N]`; 1 is what zeros have."""
    return jnp.sqrt(_squared_error(found, target))


def _squared_error(found: jax.Array, target: jax.Array) -> jax.Array:
    """The square of `relative_error`, whose gradient is finite where the error is 0."""
    found, target = (jnp.reshape(a, (len(a), -1)) for a in (found, target))  # [N, ...] -> [N, D]
    return ((found - target) ** 2).sum(1) / (target**2).sum(1)


def invert(
    model: nnx.Module, layer: str, target: jax.Array, key: jax.Array, config: InversionConfig
) -> jax.Array:
    """Images `[N, H, W, C]` whose activations at the layer are near `target` `[N, ...]`, by descent from noise.

    Minimises the squared `relative_error` plus `penalty` (Mahendran and Vedaldi 2015, equation 1).

    Raises:
        ValueError: a target that is not what the layer gives for such images, and what `cnn_inside` promises.
    """
    x = _noise(key, len(target), config)
    cnn_inside.check(model, x, layer)
    given = jax.eval_shape(lambda x: cnn_inside.activations(model, x, layer), x).shape
    if jnp.shape(target) != given:
        raise ValueError(
            f"target has shape {jnp.shape(target)}; layer {layer!r} gives {given} for images {x.shape}"
        )
    graphdef, state = nnx.split(model)
    return _invert(graphdef, layer, config, state, target, x)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _invert(
    graphdef: nnx.GraphDef,
    layer: str,
    config: InversionConfig,
    state: Any,
    target: jax.Array,
    x: jax.Array,
) -> jax.Array:
    def objective(x: jax.Array) -> jax.Array:
        _, found = cnn_inside.run(graphdef, layer, state, x)
        return _squared_error(found, target) + penalty(x, config)

    return _descend(objective, x, config)


def maximise(
    model: nnx.Module, class_index: jax.Array, key: jax.Array, config: InversionConfig
) -> jax.Array:
    """Images `[N, H, W, C]` with a high logit of their class, `class_index` `[N]`, by ascent from noise.

    Maximises the logit less `penalty` (Simonyan et al. 2014, equation 1, with another penalty); weights of the
    penalty are to be chosen for the size of logits.
    """
    x = _noise(key, len(class_index), config)
    cnn_inside.check(model, x, class_index=class_index)
    graphdef, state = nnx.split(model)
    return _maximise(graphdef, config, state, jnp.asarray(class_index), x)


@partial(jax.jit, static_argnums=(0, 1))
def _maximise(
    graphdef: nnx.GraphDef, config: InversionConfig, state: Any, index: jax.Array, x: jax.Array
) -> jax.Array:
    def objective(x: jax.Array) -> jax.Array:
        logits = nnx.merge(graphdef, state)(x)
        return penalty(x, config).sum() - cnn_inside.of_class(logits, index)

    return _descend(objective, x, config)


def _noise(key: jax.Array, n: int, config: InversionConfig) -> jax.Array:
    return config.start * jax.random.normal(key, (n, *config.image_shape))


def _descend(objective: Callable, x: jax.Array, config: InversionConfig) -> jax.Array:
    """Adam on pixels; it scales each pixel by itself, so that the images of a batch do not mix in the sum."""
    tx = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def step(_: jax.Array, carry: tuple) -> tuple:
        x, memory = carry
        updates, memory = tx.update(jax.grad(lambda x: objective(x).sum())(x), memory)
        return x + updates, memory

    return lax.fori_loop(0, config.num_steps, step, (x, tx.init(x)))[0]

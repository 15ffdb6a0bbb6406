"""Chapter 2: a network with one hidden layer, its gradient written by hand, and the
Kullback-Leibler divergence.

Initialisation, optimiser, loss and prediction are those of `imgbook.cnn`, which work for any
classifier.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from imgbook import cnn, presets, training
from imgbook.data import Dataset
from imgbook.training import TrainState


@dataclass(frozen=True)
class MLPConfig:
    """Hyperparameters of the network; sizes below 1 raise ValueError."""

    image_shape: tuple[int, int, int] = (28, 28, 1)
    num_classes: int = 10
    hidden: int = 128
    learning_rate: float = 2e-3  # the peak of a one-cycle schedule
    batch_size: int = 64
    num_steps: int = 1000

    def __post_init__(self) -> None:
        for name in ("num_classes", "hidden", "batch_size", "num_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: 1 or more")


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> MLPConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields."""
    sizes = dict(image_shape=dataset.image_shape, num_classes=dataset.num_classes)
    steps = {"smoke": dict(num_steps=4, batch_size=32), "quick": {}, "full": dict(num_steps=8000)}
    return replace(MLPConfig(), **{**sizes, **steps[presets.current(preset)], **changes})


class MLP(nnx.Module):
    """A multilayer perceptron: pixels to `hidden` ReLU neurons to logits."""

    def __init__(self, config: MLPConfig, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(int(np.prod(config.image_shape)), config.hidden, rngs=rngs)
        self.head = nnx.Linear(config.hidden, config.num_classes, rngs=rngs)

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """`x` `[N, H, W, C]`, standardised, to logits `[N, num_classes]`; no dropout, so the
        key is not used.
        """
        h = nnx.relu(self.hidden(x.reshape(len(x), -1)))  # [N, H, W, C] -> [N, H * W * C]
        return self.head(h)


def make_train_step(graphdef: nnx.GraphDef, config: MLPConfig) -> Callable:
    """The training step `step(state, (images, labels)) -> (state, metrics)`; images uint8
    `[N, H, W, C]`.
    """
    tx = cnn.optimizer(config)

    def loss_fn(params, stats, images, labels):
        logits = nnx.merge(graphdef, params, stats)(cnn.standardise(images))
        return cnn.cross_entropy(logits, labels), (logits.argmax(-1) == labels).mean()

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        (loss, accuracy), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, *batch
        )
        return state.updated(grads, tx), {"loss": loss, "accuracy": accuracy}

    return step


def train(
    dataset: Dataset,
    config: MLPConfig,
    key: jax.Array,
    model_class: type[nnx.Module] = MLP,
    progress: bool = True,
    **fit_options: object,
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Initialise and train the network (or a `cnn.SoftmaxRegression`): `cnn.train` with this
    chapter's step, which neither mirrors nor moves the images.
    """
    return cnn.train(
        dataset, config, key, model_class, progress, make_step=make_train_step, **fit_options
    )


class Params(NamedTuple):
    """The weights of a two-layer network as plain arrays: w1 `[D, M]`, b1 `[M]`, w2 `[M,
    K]`, b2 `[K]`.
    """

    w1: jax.Array
    b1: jax.Array
    w2: jax.Array
    b2: jax.Array


def params_of(model: MLP) -> Params:
    """The weights of an `MLP` as plain arrays."""
    return Params(
        model.hidden.kernel[...],
        model.hidden.bias[...],
        model.head.kernel[...],
        model.head.bias[...],
    )


def loss(params: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of a two-layer ReLU network in nats; x `[N, D]`, integer labels
    `[N]` in 0..K-1; scalar.
    """
    check_shapes(params, x, labels)
    logits = jax.nn.relu(x @ params.w1 + params.b1) @ params.w2 + params.b2
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


def backpropagation(params: Params, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, Params]:
    """The same loss and its gradient by the chain rule, without automatic differentiation.

    Rumelhart, Hinton and Williams (1986). Arguments as for `loss`; gradients in the shapes
    of `params`.
    """
    check_shapes(params, x, labels)
    a = x @ params.w1 + params.b1  # [N, M]
    h = jnp.maximum(a, 0)
    logits = h @ params.w2 + params.b2  # [N, K]
    shifted = logits - logits.max(
        axis=1, keepdims=True
    )  # softmax ignores a shift; exp cannot overflow now
    log_p = shifted - jnp.log(jnp.exp(shifted).sum(axis=1, keepdims=True))
    one_hot = jnp.arange(logits.shape[1]) == labels[:, None]
    value = -(log_p * one_hot).sum() / len(x)
    # Backward: d2 and d1 are the derivatives of the loss by the logits and by a.
    d2 = (jnp.exp(log_p) - one_hot) / len(x)  # [N, K]
    d1 = (d2 @ params.w2.T) * (a > 0)  # [N, M]
    return value, Params(w1=x.T @ d1, b1=d1.sum(axis=0), w2=h.T @ d2, b2=d2.sum(axis=0))


def check_shapes(params: Params, x: jax.Array, labels: jax.Array) -> None:
    """Raise ValueError unless x is `[N, D]` with the D of `params.w1`, and labels are `[N]`."""
    if x.ndim != 2 or x.shape[1] != params.w1.shape[0]:
        raise ValueError(
            f"x has shape {x.shape}; expected [N, {params.w1.shape[0]}] (flatten the images)"
        )
    if labels.shape != (len(x),):
        raise ValueError(f"labels have shape {labels.shape}; expected ({len(x)},)")


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) = sum_i p_i log(p_i / q_i) in nats of two discrete distributions `[K]`; inf
    where q = 0 < p.

    Raises ValueError for shapes that differ, negative entries, or a sum that is not 1.
    """
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    if p.shape != q.shape:
        raise ValueError(f"p has shape {p.shape}, q has shape {q.shape}; expected equal shapes")
    for name, values in (("p", p), ("q", q)):
        if values.min() < 0 or not np.isclose(values.sum(), 1):
            raise ValueError(
                f"{name} is no distribution: smallest entry {values.min():.3g}, "
                f"sum {values.sum():.6g}"
            )
    used = p > 0  # 0 log 0 = 0
    if (q[used] == 0).any():
        return float("inf")
    return float((p[used] * np.log(p[used] / q[used])).sum())

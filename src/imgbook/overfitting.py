"""Chapter 2: overfitting measured, on curves with a known truth and on a few digits, and what is done against it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import cnn, optimisers
from imgbook.augment import random_shift
from imgbook.concepts import Params, loss

# --- a curve whose truth is known -------------------------------------------------------------------------------


def polynomials(x: np.ndarray, degree: int) -> np.ndarray:
    """Legendre polynomials of degree 0 to `degree` at x `[N]` in [-1, 1]: `[N, degree + 1]`."""
    return np.polynomial.legendre.legvander(x, degree)


def fitted(x: np.ndarray, y: np.ndarray, degree: int, at: np.ndarray) -> np.ndarray:
    """Least-squares polynomials through data sets y `[R, N]` at the same x `[N]`, evaluated at `at` `[M]`: `[R, M]`."""
    coefficients = np.linalg.lstsq(polynomials(x, degree), y.T, rcond=None)[0]
    return (polynomials(at, degree) @ coefficients).T


class Decomposition(NamedTuple):
    """A mean squared error on new data, and its three parts."""

    error: float
    squared_bias: float
    variance: float
    noise: float


def decompose(predictions: np.ndarray, truth: np.ndarray, new: np.ndarray) -> Decomposition:
    """Error and parts from the fits of R data sets `[R, M]`, the truth `[M]`, and new noisy values `[R, M]`."""
    mean = predictions.mean(axis=0)
    return Decomposition(
        error=((new - predictions) ** 2).mean(),
        squared_bias=((mean - truth) ** 2).mean(),
        variance=((predictions - mean) ** 2).mean(),
        noise=((new - truth) ** 2).mean(),
    )


def expected_parts(
    x: np.ndarray, truth_x: np.ndarray, degree: int, at: np.ndarray, truth: np.ndarray, std: float
) -> Decomposition:
    """The same without a simulation: a least-squares fit is linear in the data, so both parts follow from one matrix.

    truth_x `[N]` and truth `[M]` are the values without noise at x and at `at`; `std` is that of the noise.
    """
    smoother = polynomials(at, degree) @ np.linalg.pinv(polynomials(x, degree))  # [M, N]
    squared_bias = ((smoother @ truth_x - truth) ** 2).mean()
    variance = std**2 * (smoother**2).sum(axis=1).mean()
    return Decomposition(squared_bias + variance + std**2, squared_bias, variance, std**2)


# --- more parameters than images --------------------------------------------------------------------------------


def random_feature_errors(
    x: np.ndarray, labels: np.ndarray, x_new: np.ndarray, labels_new: np.ndarray, num_features: int,
    seed: int,
) -> tuple[float, float]:  # fmt: skip
    """Mean squared error on training and on new images of a network whose hidden layer is random and stays so.

    The second layer is the least-squares solution, the shortest if there are many; targets are 1 for the right class
    and 0 for the others. x `[N, D]`, labels `[N]`.
    """
    weights = np.random.default_rng(seed).normal(size=(x.shape[1], num_features))
    hidden, hidden_new = (np.maximum(a @ weights / np.sqrt(x.shape[1]), 0) for a in (x, x_new))
    targets, targets_new = (np.eye(10)[k] for k in (labels, labels_new))
    head = np.linalg.lstsq(hidden, targets, rcond=None)[0]
    return tuple(
        float(((h @ head - t) ** 2).sum(axis=1).mean())
        for h, t in ((hidden, targets), (hidden_new, targets_new))
    )


# --- a few digits, a wide network -------------------------------------------------------------------------------


class Remedy(NamedTuple):
    """What is done against overfitting; the defaults do nothing. All are arguments of one compiled program."""

    num_images: int = 200
    decay: float = 0.0  # AdamW's
    dropout: float = 0.0  # share of hidden units that are switched off
    shift: bool = False  # move each image by up to a pixel


class Run(NamedTuple):
    """The last parameters of a training, the best by validation loss, and the losses at its checkpoints."""

    last: Params
    best: Params
    train_loss: jax.Array  # [C]
    validation_loss: jax.Array  # [C]


def regularised_loss(
    params: Params, images: jax.Array, labels: jax.Array, remedy: Remedy, key: jax.Array
) -> jax.Array:
    """Cross-entropy of a batch of images `[B, H, W, C]`, standardised, with dropout and shifts; scalar, in nats."""
    shift_key, dropout_key = jax.random.split(key)
    images = jnp.where(remedy.shift, random_shift(images, shift_key, 1), images)
    x = images.reshape(len(images), -1)  # [B, H, W, C] -> [B, D]
    hidden = jax.nn.relu(x @ params.w1 + params.b1)
    keep = jax.random.bernoulli(dropout_key, 1 - remedy.dropout, hidden.shape)
    hidden = hidden * keep / (1 - remedy.dropout)
    return cnn.cross_entropy(hidden @ params.w2 + params.b2, labels)


@partial(jax.jit, static_argnames=("batch_size", "shown"))
def train(
    params: Params,
    data: tuple[jax.Array, jax.Array],
    validation: tuple[jax.Array, jax.Array],
    checkpoints: jax.Array,
    remedy: Remedy,
    key: jax.Array,
    rate: float = 1e-3,
    batch_size: int = 50,
    shown: int = 200,
) -> Run:
    """Train with AdamW on the first `remedy.num_images` of the data (images `[N, H, W, C]`, standardised, labels).

    checkpoints: numbers of steps `[C]`, rising, at which the losses are taken: on all of validation, and on the first
    `shown` training images, both without dropout and shifts.
    """
    images, labels = data
    x, x_validation = (a.reshape(len(a), -1) for a in (images[:shown], validation[0]))

    def step(number: int, carry: tuple) -> tuple:
        keys = jax.random.split(jax.random.fold_in(key, number))
        chosen = jax.random.randint(keys[0], (batch_size,), 0, remedy.num_images)
        batch = images[chosen], labels[chosen]
        gradient = jax.grad(regularised_loss)(carry[0], *batch, remedy, keys[1])
        return optimisers.adamw(*carry, gradient, rate, decay=remedy.decay)

    def to_checkpoint(carry: tuple, until: jax.Array) -> tuple[tuple, tuple]:
        done, state, best, lowest = carry
        state = jax.lax.fori_loop(done, until, step, state)
        values = loss(state[0], x, labels[:shown]), loss(state[0], x_validation, validation[1])
        better = values[1] < lowest
        best = jax.tree.map(partial(jnp.where, better), state[0], best)
        return (until, state, best, jnp.where(better, values[1], lowest)), values

    first = jnp.zeros((), checkpoints.dtype), (params, optimisers.start(params)), params, jnp.inf
    (_, state, best, _), losses = jax.lax.scan(to_checkpoint, first, checkpoints)
    return Run(state[0], best, *losses)


@jax.jit
def accuracy(params: Params, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of images x `[N, D]` whose largest logit is the label's; scalar."""
    logits = jax.nn.relu(x @ params.w1 + params.b1) @ params.w2 + params.b2
    return (logits.argmax(axis=1) == labels).mean()

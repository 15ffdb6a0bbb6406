"""Was this image in the training set? Membership inference on small classifiers, many of them trained at once.

From a pool of images each of R classifiers gets a random half. An attacker who sees only what a classifier answers to
an image and its label guesses on which side the image was: with one threshold for all images (Yeom et al. 2018), or
by comparing with other classifiers that did and did not see that very image (Carlini et al. 2022, "LiRA").
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from imgbook import presets


@dataclass(frozen=True)
class MembershipConfig:
    """Hyperparameters of the classifiers and their number, all positive (else ValueError)."""

    models: int = 32
    hidden: int = 64
    batch_size: int = 64
    num_steps: int = 300
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} = {value}; expected a positive number")


def config_for(preset: str | None = None, **changes: object) -> MembershipConfig:
    """Hyperparameters at a preset; `changes` override single fields."""
    sizes = {"smoke": dict(models=6, num_steps=10), "quick": {}, "full": dict(models=128)}
    return MembershipConfig(**{**sizes[presets.current(preset)], **changes})


def halves(rng: np.random.Generator, models: int, pool: int) -> np.ndarray:
    """Members `[models, pool]`, bool: an exact half of the pool for each, and each image in half of the models.

    Models come in pairs, of which each has what the other has not. ValueError unless both numbers are even.
    """
    if models % 2 or pool % 2 or min(models, pool) < 2:
        raise ValueError(f"models = {models}, pool = {pool}; expected even numbers from 2")
    first = np.zeros((models // 2, pool), bool)
    first[:, : pool // 2] = True
    first = rng.permuted(first, axis=1)
    return np.stack([first, ~first], 1).reshape(models, pool)  # [R / 2, 2, N] -> [R, N]


def train(
    x: np.ndarray, labels: np.ndarray, members: np.ndarray, config: MembershipConfig, key: jax.Array
) -> dict[str, jax.Array]:
    """Weights of R classifiers with one hidden layer, stacked; the r-th sees the images `members[r]` only.

    x `[N, D]` floats, labels `[N]` 0 to 9, members `[R, N]` bool. Batches are drawn with replacement. The program
    depends on the shapes only, so pools of different sizes, marked in the same images, are compiled once. ValueError
    for a classifier without members.
    """
    members = np.asarray(members, bool)
    counts = members.sum(1)
    if counts.min() < 1:
        raise ValueError(f"classifier {counts.argmin()} has no members; give each at least one")
    own = np.argsort(~members, axis=1, kind="stable")  # the members' indices come first
    keys = jax.random.split(key, len(own))
    return _train(
        config, jnp.asarray(x), jnp.asarray(labels), jnp.asarray(own), jnp.asarray(counts), keys
    )


@partial(jax.jit, static_argnums=0)
def _train(
    config: MembershipConfig,
    x: jax.Array,
    labels: jax.Array,
    own: jax.Array,
    counts: jax.Array,
    keys: jax.Array,
) -> dict[str, jax.Array]:
    tx = optax.adam(config.learning_rate)

    def one(own: jax.Array, count: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, 3)
        params = {
            "w1": jax.random.normal(keys[0], (x.shape[1], config.hidden)) / jnp.sqrt(x.shape[1]),
            "b1": jnp.zeros(config.hidden),
            "w2": jax.random.normal(keys[1], (config.hidden, 10)) / jnp.sqrt(config.hidden),
            "b2": jnp.zeros(10),
        }

        def loss(params: dict, index: jax.Array) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits(params, x[index]), labels[index]
            )
            return losses.mean()

        def step(carry: tuple, number: jax.Array) -> tuple[tuple, None]:
            params, memory = carry
            draw = jax.random.fold_in(keys[2], number)
            index = own[jax.random.randint(draw, (config.batch_size,), 0, count)]
            updates, memory = tx.update(jax.grad(loss)(params, index), memory)
            return (optax.apply_updates(params, updates), memory), None

        start = (params, tx.init(params))
        return jax.lax.scan(step, start, jnp.arange(config.num_steps))[0][0]

    return jax.lax.map(lambda run: one(*run), (own, counts, keys))


def logits(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Logits `[N, 10]` of one classifier for x `[N, D]`."""
    return jax.nn.relu(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


@jax.jit
def confidences(params: dict[str, jax.Array], x: jax.Array, labels: jax.Array) -> jax.Array:
    """log p / (1 - p) of the right label's probability p, `[R, N]`, of R classifiers.

    Computed from logits z as z_y - log sum over the others of exp z, exact where p rounds to 1. Carlini et al. 2022,
    section IV: on this scale the values of one image over many classifiers are nearly Gaussian.
    """

    def one(params: dict[str, jax.Array]) -> jax.Array:
        z = logits(params, x)
        right = jax.nn.one_hot(labels, z.shape[1], dtype=bool)
        others = jax.nn.logsumexp(jnp.where(right, -jnp.inf, z), axis=1)
        return jnp.where(right, z, 0).sum(1) - others

    return jax.vmap(one)(params)


# --- the attacks ------------------------------------------------------------------------------------------------------


def likelihood_ratios(confidence: np.ndarray, members: np.ndarray) -> np.ndarray:
    """LiRA's score `[R, N]`: log N(c; in) - log N(c; out) of a classifier's confidence c in an image.

    confidence and members `[R, N]`. "In" and "out" are Gaussians fitted to the confidences of the *other* classifiers
    that did and did not see the image; their means are the image's own, their variances one each for all images, as
    Carlini et al. (2022) advise for few classifiers. ValueError where an image lacks two others on a side.
    """
    c, inside = np.asarray(confidence, np.float64), np.asarray(members, bool)
    score = np.zeros_like(c)
    for side, sign in ((inside, 1), (~inside, -1)):
        count, total = side.sum(0), (side * c).sum(0)
        others = count - side
        if others.min() < 2:
            raise ValueError(
                f"an image has {others.min()} other classifiers on a side; train more, at least 6"
            )
        mean = (total - side * c) / others  # without the classifier under attack
        squares = (side * (c - total / count) ** 2).sum()
        variance = squares / (side.sum() - side.shape[1])
        score += sign * (-((c - mean) ** 2) / (2 * variance) - np.log(variance) / 2)
    return score


def roc(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates `[T]` each, rising, for "member if the score is above", over all thresholds.

    scores and members of one shape, all trials together. Equal scores are decided together. ValueError unless both
    kinds occur.
    """
    scores, inside = np.ravel(scores), np.ravel(members).astype(bool)
    if inside.all() or not inside.any():
        raise ValueError(f"{inside.sum()} members of {len(inside)}; expected members and others")
    order = np.argsort(-scores, kind="stable")
    inside, ends = inside[order], np.flatnonzero(np.diff(scores[order], append=-np.inf))
    true, false = np.cumsum(inside)[ends] / inside.sum(), np.cumsum(~inside)[ends] / (~inside).sum()
    return np.concatenate([[0], false]), np.concatenate([[0], true])


def true_rate_at(scores: np.ndarray, members: np.ndarray, false_rate: float = 0.01) -> float:
    """The share of members found by the lowest threshold whose share of falsely accused is at most `false_rate`."""
    false, true = roc(scores, members)
    return float(true[np.flatnonzero(false <= false_rate)[-1]])

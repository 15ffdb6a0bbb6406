"""Chapter 1: a restricted Boltzmann machine, binary units in two layers (Smolensky 1986; Hinton 2002).

The energy of visible units v and hidden units h is E(v, h) = -b.v - c.h - v W h, and their probability is proportional
to exp(-E). Given one layer, the units of the other are independent, so that both can be drawn in turn.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import presets


class RBM(NamedTuple):
    """The parameters."""

    weights: jax.Array  # W [D, H]
    visible: jax.Array  # b [D]
    hidden: jax.Array  # c [H]


@dataclass(frozen=True)
class RBMConfig:
    """Hyperparameters; what is out of range raises ValueError."""

    num_hidden: int = 256
    learning_rate: float = 0.05  # falls to zero along a line
    batch_size: int = 100  # as many chains run on from step to step
    num_steps: int = 4000

    def __post_init__(self) -> None:
        for name in ("num_hidden", "batch_size", "num_steps", "learning_rate"):
            least = 0 if name == "learning_rate" else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)}; allowed: {least} or more")


def config_for(preset: str | None = None) -> RBMConfig:
    """Hyperparameters of a preset; smoke hardly trains."""
    return RBMConfig(num_steps=10) if presets.current(preset) == "smoke" else RBMConfig()


def energy(rbm: RBM, v: jax.Array, h: jax.Array) -> jax.Array:
    """E(v, h) of visible `[..., D]` and hidden units `[..., H]` in {0, 1}: `[...]`."""
    return -(v @ rbm.visible) - h @ rbm.hidden - ((v @ rbm.weights) * h).sum(-1)


def free_energy(rbm: RBM, v: jax.Array) -> jax.Array:
    """-log of the sum of exp(-E(v, h)) over all h, `[...]`: p(v) is proportional to exp(-free_energy)."""
    return -(v @ rbm.visible) - jax.nn.softplus(rbm.hidden + v @ rbm.weights).sum(-1)


def hidden_probabilities(rbm: RBM, v: jax.Array) -> jax.Array:
    """p(h_j = 1 | v), `[..., H]`."""
    return jax.nn.sigmoid(rbm.hidden + v @ rbm.weights)


def visible_probabilities(rbm: RBM, h: jax.Array) -> jax.Array:
    """p(v_i = 1 | h), `[..., D]`."""
    return jax.nn.sigmoid(rbm.visible + h @ rbm.weights.T)


def gibbs_step(rbm: RBM, v: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One sweep: hidden units drawn given v, then visible ones given them; returns v and its probabilities."""
    keys = jax.random.split(key)
    h = jax.random.bernoulli(keys[0], hidden_probabilities(rbm, v)).astype(v.dtype)
    probabilities = visible_probabilities(rbm, h)
    return jax.random.bernoulli(keys[1], probabilities).astype(v.dtype), probabilities


def likelihood_gradient(rbm: RBM, data: jax.Array, model: jax.Array) -> RBM:
    """The gradient of mean log p(v) by the parameters, from data `[N, D]` and samples of the model `[M, D]`.

    It is the mean of -dF/dtheta over the data less that over the model (Ackley, Hinton and Sejnowski 1985, eq. 9), with
    F the free energy. Exact if `model` is; samples that are only near the model give contrastive divergence.
    """
    return jax.grad(lambda r: free_energy(r, model).mean() - free_energy(r, data).mean())(rbm)


def log_partition(rbm: RBM) -> jax.Array:
    """log of the sum of exp(-E) over all units, by listing all hidden ones: at most 20 of them, else ValueError."""
    size = rbm.weights.shape[1]
    if size > 20:
        raise ValueError(f"{size} hidden units have 2^{size} states; allowed: 20 or fewer")
    states = (jnp.arange(2**size)[:, None] >> jnp.arange(size) & 1).astype(rbm.weights.dtype)
    return jax.nn.logsumexp(
        states @ rbm.hidden + jax.nn.softplus(rbm.visible + states @ rbm.weights.T).sum(-1)
    )


def init(config: RBMConfig, images: np.ndarray, key: jax.Array) -> RBM:
    """Small random weights; visible biases that give each pixel its mean over uint8 images `[N, H, W, C]`."""
    grey = images.reshape(len(images), -1).astype(np.float64).mean(0) / 255
    mean = np.clip(grey, 0.01, 0.99)
    weights = 0.01 * jax.random.normal(key, (len(mean), config.num_hidden))
    return RBM(
        weights, jnp.asarray(np.log(mean / (1 - mean)), jnp.float32), jnp.zeros(config.num_hidden)
    )


@partial(jax.jit, static_argnums=1)
def train(images: jax.Array, config: RBMConfig, rbm: RBM, key: jax.Array) -> RBM:
    """Persistent contrastive divergence (Tieleman 2008): the model's samples are chains that run on between steps.

    images: uint8 `[N, H, W, C]`; each visit draws its pixels, 1 with the probability of the grey level.
    """
    flat = images.reshape(len(images), -1).astype(jnp.float32) / 255  # [N, H, W, C] -> [N, D]

    def step(carry: tuple[RBM, jax.Array], number: jax.Array) -> tuple[tuple[RBM, jax.Array], None]:
        rbm, chains = carry
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        chosen = jax.random.randint(keys[0], (config.batch_size,), 0, len(flat))
        data = jax.random.bernoulli(keys[1], flat[chosen]).astype(jnp.float32)
        chains, _ = gibbs_step(rbm, chains, keys[2])
        rate = config.learning_rate * (1 - number / config.num_steps)
        gradient = likelihood_gradient(rbm, data, chains)
        return (jax.tree.map(lambda p, g: p + rate * g, rbm, gradient), chains), None

    start = jax.random.bernoulli(key, flat[: config.batch_size]).astype(jnp.float32)
    (rbm, _), _ = jax.lax.scan(step, (rbm, start), jnp.arange(config.num_steps))
    return rbm


@partial(jax.jit, static_argnums=3)
def run(
    rbm: RBM, v: jax.Array, key: jax.Array, num_steps: int, known: jax.Array | None = None
) -> jax.Array:
    """Probabilities of the visible units `[N, D]` after so many sweeps from v `[N, D]`.

    known: where it is 1, `[D]`, units keep their value in v: the rest is drawn given them.
    """
    known = jnp.zeros(v.shape[1]) if known is None else known

    def sweep(
        carry: tuple[jax.Array, jax.Array], key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        drawn, probabilities = gibbs_step(rbm, carry[0], key)
        keep = partial(jnp.where, known > 0, v)
        return (keep(drawn), keep(probabilities)), None

    (_, probabilities), _ = jax.lax.scan(sweep, (v, v), jax.random.split(key, num_steps))
    return probabilities

"""Flow matching on vectors of any length: the loss and the straight paths of `imgbook.flow`, several runs at once.

The data of a run are a finite set; batches are drawn from it with replacement. Sets of different sizes, or different
seeds, train one after the other in one compiled program; their weights are stacked along a first axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import flow, presets


@dataclass(frozen=True)
class VectorFlowConfig:
    """Hyperparameters of the network and its training, all positive (else ValueError)."""

    dim: int
    hidden: int = 96
    time_features: int = 4  # cosines of the time that the network sees
    batch_size: int = 128
    num_steps: int = 2000
    learning_rate: float = 5e-3  # start of a cosine decay to zero

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} = {value}; expected a positive number")


def config_for(dim: int, preset: str | None = None, **changes: object) -> VectorFlowConfig:
    """Hyperparameters at a preset; `changes` override single fields."""
    sizes = {"smoke": dict(num_steps=20, hidden=16), "quick": {}, "full": dict(num_steps=20_000)}
    return VectorFlowConfig(dim, **{**sizes[presets.current(preset)], **changes})


class VectorField(nnx.Module):
    """Velocity v(x, t) of vectors: `flow.FlowMLP` with another width of input and output."""

    def __init__(self, config: VectorFlowConfig, *, rngs: nnx.Rngs):
        self.time_features = config.time_features
        self.dense1 = nnx.Linear(config.dim + config.time_features, config.hidden, rngs=rngs)
        self.dense2 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.dense3 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.dim, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """Vectors x `[N, D]` at times t `[N]` in [0, 1] to velocities `[N, D]`."""
        clock = jnp.cos(jnp.pi * t[:, None] * jnp.arange(1, self.time_features + 1))
        h = nnx.silu(self.dense1(jnp.concatenate([x, clock], axis=1)))
        return self.out(nnx.silu(self.dense3(nnx.silu(self.dense2(h)))))


def train(
    sets: Sequence[np.ndarray], config: VectorFlowConfig, key: jax.Array
) -> tuple[nnx.GraphDef, Any, np.ndarray]:
    """One network for each of R sets of vectors `[n_r, D]`: structure, stacked weights, losses `[R, num_steps]`.

    ValueError for a set that is empty or of another width than config.dim.
    """
    for data in sets:
        if np.ndim(data) != 2 or len(data) == 0 or np.shape(data)[1] != config.dim:
            raise ValueError(f"a set has shape {np.shape(data)}; expected [n, {config.dim}]")
    counts, longest = [len(data) for data in sets], max(len(data) for data in sets)
    padded = np.zeros((len(sets), longest, config.dim), np.float32)
    for row, data in zip(padded, sets, strict=True):
        row[: len(data)] = data
    graphdef = nnx.split(nnx.eval_shape(lambda: VectorField(config, rngs=nnx.Rngs(0))))[0]
    keys = jax.random.split(key, len(sets))
    params, losses = _train(graphdef, config, jnp.asarray(padded), jnp.asarray(counts), keys)
    return graphdef, params, np.asarray(losses)


@partial(jax.jit, static_argnums=(0, 1))
def _train(
    graphdef: nnx.GraphDef,
    config: VectorFlowConfig,
    sets: jax.Array,
    counts: jax.Array,
    keys: jax.Array,
) -> tuple[Any, jax.Array]:
    tx = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))

    def one(data: jax.Array, count: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        init_key, run_key = jax.random.split(key)
        params = nnx.state(VectorField(config, rngs=nnx.Rngs(init_key)))

        def step(carry: tuple, number: jax.Array) -> tuple[tuple, jax.Array]:
            params, memory = carry
            batch_key, loss_key = jax.random.split(jax.random.fold_in(run_key, number))
            x1 = data[jax.random.randint(batch_key, (config.batch_size,), 0, count)]
            loss, grads = jax.value_and_grad(
                lambda p: flow.flow_matching_loss(nnx.merge(graphdef, p), loss_key, x1)
            )(params)
            updates, memory = tx.update(grads, memory, params)
            return (optax.apply_updates(params, updates), memory), loss

        carry, losses = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(config.num_steps))
        return carry[0], losses

    return jax.lax.map(lambda run: one(*run), (sets, counts, keys))


def sample(graphdef: nnx.GraphDef, params: Any, x0: jax.Array, num_steps: int) -> jax.Array:
    """Samples `[R, N, D]` of R networks from the same noise x0 `[N, D]`, in Euler steps of length 1 / num_steps."""
    return _sample(graphdef, num_steps, params, x0)


@partial(jax.jit, static_argnums=(0, 1))
def _sample(graphdef: nnx.GraphDef, num_steps: int, params: Any, x0: jax.Array) -> jax.Array:
    return jax.vmap(lambda p: carry(nnx.merge(graphdef, p), x0, num_steps))(params)


def carry(velocity: Callable, x0: jax.Array, num_steps: int) -> jax.Array:
    """Where v(x, t) takes x0 `[N, D]` from t = 0 to t = 1 in Euler steps, `[N, D]`; no path is kept.

    ValueError for num_steps below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps = {num_steps}; expected at least 1")

    def euler(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        return x + velocity(x, jnp.full(len(x), t)) / num_steps, None

    return jax.lax.scan(euler, x0, jnp.arange(num_steps) / num_steps)[0]


# --- tones: data that are no images ---------------------------------------------------------------------------------


def tones(key: jax.Array, n: int, length: int = 16, pitches: int = 3) -> jax.Array:
    """`n` pure tones `[n, length]` of power 1: sqrt(2) cos(2 pi f s / length + phase), f from 1 to `pitches`.

    Pitch and phase are drawn uniformly. ValueError unless 1 <= pitches < length / 2.
    """
    if not 1 <= pitches < length / 2:
        raise ValueError(f"pitches = {pitches}; allowed: 1 to less than half of length = {length}")
    pitch_key, phase_key = jax.random.split(key)
    pitch = jax.random.randint(pitch_key, (n, 1), 1, pitches + 1)
    phase = jax.random.uniform(phase_key, (n, 1), maxval=2 * jnp.pi)
    return jnp.sqrt(2.0) * jnp.cos(2 * jnp.pi * pitch * jnp.arange(length) / length + phase)


def purity(signals: np.ndarray) -> np.ndarray:
    """Share of a signal's power in its strongest frequency, `[N]` in (0, 1], of `[N, length]`; 1 for a pure tone."""
    power = np.abs(np.fft.rfft(np.asarray(signals, np.float64), axis=1)) ** 2
    weights = np.full(
        power.shape[1], 2.0
    )  # each stands for two frequencies, but the first and, if even, the last
    weights[0] = 1
    if np.shape(signals)[1] % 2 == 0:
        weights[-1] = 1
    power = power * weights
    return power.max(1) / power.sum(1)


def gaussian_like(rng: np.random.Generator, data: np.ndarray, n: int) -> np.ndarray:
    """`n` draws `[n, D]` of the Gaussian with the mean and the covariance of data `[N, D]`: the model to beat."""
    return rng.multivariate_normal(data.mean(0), np.cov(data, rowvar=False), n, method="eigh")

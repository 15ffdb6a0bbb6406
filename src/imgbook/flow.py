"""Flow matching in two dimensions: a learned velocity field beside the exact one of a
Gaussian mixture.

Noise x0 ~ N(0, I) is carried to data x1 along the straight line x_t = (1 - t) x0 + t x1, 0
<= t <= 1 (Lipman et al.
2023, "Flow Matching for Generative Modeling"). The data are a ring of Gaussians, so that the
velocity
E[x1 - x0 | x_t = x], which the network has to learn, is known in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

from imgbook import presets, training
from imgbook.training import TrainState


@dataclass(frozen=True)
class FlowConfig:
    """Hyperparameters of the experiment, all positive (else ValueError)."""

    modes: int = 8
    radius: float = 3.0  # lengths are in units of the noise's standard deviation
    std: float = 0.2
    hidden: int = 128
    time_features: int = 4  # cosines of the time that the network sees
    batch_size: int = 256
    num_steps: int = 4000
    learning_rate: float = 2e-3  # start of a cosine decay to zero

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} = {value}; expected a positive number")


def config_for(preset: str | None = None, **changes: object) -> FlowConfig:
    """Hyperparameters at a preset; `changes` override single fields."""
    steps = {
        "smoke": dict(num_steps=60, hidden=32),
        "quick": {},
        "full": dict(num_steps=20_000, hidden=256),
    }
    return FlowConfig(**{**steps[presets.current(preset)], **changes})


class FlowMLP(nnx.Module):
    """Velocity v(x, t): three hidden layers on the point and on cosines of the time."""

    def __init__(self, config: FlowConfig, *, rngs: nnx.Rngs):
        self.time_features = config.time_features
        self.dense1 = nnx.Linear(2 + config.time_features, config.hidden, rngs=rngs)
        self.dense2 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.dense3 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, 2, rngs=rngs)

    def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
        """Points x `[N, 2]` at times t `[N]` in [0, 1] to velocities `[N, 2]`."""
        # The field changes fast near t = 1; cosines of several frequencies let a small network follow it.
        clock = jnp.cos(jnp.pi * t[:, None] * jnp.arange(1, self.time_features + 1))
        h = nnx.silu(self.dense1(jnp.concatenate([x, clock], axis=1)))
        return self.out(nnx.silu(self.dense3(nnx.silu(self.dense2(h)))))


def ring_means(config: FlowConfig) -> jax.Array:
    """Centres of the modes `[K, 2]`, equally spaced on a circle."""
    angles = 2 * jnp.pi * jnp.arange(config.modes) / config.modes
    return config.radius * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)


@partial(jax.jit, static_argnames=("n", "config"))
def ring(key: jax.Array, n: int, config: FlowConfig) -> jax.Array:
    """`n` points `[n, 2]` of the mixture: a mode drawn at random, then Gaussian noise around
    its centre.
    """
    mode_key, noise_key = jax.random.split(key)
    modes = jax.random.randint(mode_key, (n,), 0, config.modes)
    return ring_means(config)[modes] + config.std * jax.random.normal(noise_key, (n, 2))


def ring_batches(key: jax.Array, config: FlowConfig) -> training.Batches:
    """Fresh batches `([batch_size, 2],)`, drawn from `key` and the step's number.

    No point comes twice, so there is nothing to overfit.
    """

    def plan(first: int, n: int) -> np.ndarray:
        return np.arange(first, first + n, dtype=np.uint32)

    def draw(key: jax.Array, step: jax.Array) -> tuple[jax.Array]:
        return (ring(jax.random.fold_in(key, step), config.batch_size, config),)

    note = f"{config.batch_size} fresh points a step, no epochs"
    return training.Batches(key, plan, draw, config.batch_size, note)


def exact_velocity(x: jax.Array, t: jax.Array, means: jax.Array, std: float) -> jax.Array:
    """E[x1 - x0 | x_t = x] `[N, D]` for x0 ~ N(0, I) and x1 from equally weighted Gaussians
    N(m_k, std^2 I).

    Within mode k, x_t has mean t m_k and variance c = (1 - t)^2 + t^2 std^2, and, all being
    jointly Gaussian,
    E[x1 - x0 | x_t = x, k] = m_k + (t std^2 - (1 - t)) (x - t m_k) / c. The posterior
    weights average the modes.
    ValueError for shapes other than x `[N, D]`, t `[N]`, means `[K, D]`.
    """
    if x.ndim != 2 or t.shape != x.shape[:1] or means.ndim != 2 or means.shape[1] != x.shape[1]:
        raise ValueError(
            f"x {x.shape}, t {t.shape}, means {means.shape}; expected [N, D], [N], [K, D]"
        )
    t = t[:, None, None]
    offset = x[:, None, :] - t * means
    variance = (1 - t) ** 2 + (t * std) ** 2
    within = means + (t * std**2 - (1 - t)) / variance * offset
    weights = jax.nn.softmax(-(offset**2).sum(-1) / (2 * variance[..., 0]), axis=1)
    return (weights[..., None] * within).sum(1)


def interpolate(key: jax.Array, x1: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Random points on the lines from noise to data x1 `[N, 2]`: x_t `[N, 2]`, t `[N]`, x1 -
    x0 `[N, 2]`.
    """
    noise_key, time_key = jax.random.split(key)
    x0 = jax.random.normal(noise_key, x1.shape)
    t = jax.random.uniform(time_key, x1.shape[:1])
    return (1 - t[:, None]) * x0 + t[:, None] * x1, t, x1 - x0


def flow_matching_loss(velocity: Callable, key: jax.Array, x1: jax.Array) -> jax.Array:
    """Mean of |v(x_t, t) - (x1 - x0)|^2 over the batch x1 `[N, 2]`, summed over the two
    coordinates.
    """
    x_t, t, target = interpolate(key, x1)
    return ((velocity(x_t, t) - target) ** 2).sum(1).mean()


def optimizer(config: FlowConfig) -> optax.GradientTransformation:
    """Adam with a cosine decay to zero."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))


def init(config: FlowConfig, key: jax.Array) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh velocity network: its structure and its training state."""
    model_key, run_key = jax.random.split(key)
    return training.init_state(
        FlowMLP(config, rngs=nnx.Rngs(model_key)), optimizer(config), run_key
    )


def make_train_step(graphdef: nnx.GraphDef, config: FlowConfig) -> Callable:
    """The training step `step(state, (x1,)) -> (state, metrics)`; data points x1 `[N, 2]`."""
    tx = optimizer(config)

    @partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: tuple[jax.Array]) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        loss, grads = jax.value_and_grad(
            lambda params: flow_matching_loss(
                nnx.merge(graphdef, params, state.stats), key, batch[0]
            )
        )(state.params)
        return state.updated(grads, tx), {"loss": loss}

    return step


def train(
    config: FlowConfig, key: jax.Array, progress: bool = True, **fit_options: object
) -> tuple[Partial, training.History]:
    """Initialise and train a network; returns its velocity as a function v(x, t) that
    `sample` takes (its `args` are the structure and the training state).

    `fit_options` go to `training.fit`.
    """
    graphdef, state = init(config, jax.random.fold_in(key, 0))
    stream, step = (
        ring_batches(jax.random.fold_in(key, 1), config),
        make_train_step(graphdef, config),
    )
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return Partial(apply, graphdef, state), history


def apply(graphdef: nnx.GraphDef, state: TrainState, x: jax.Array, t: jax.Array) -> jax.Array:
    """Velocities `[N, 2]` of the network in `state` at points x `[N, 2]` and times t `[N]`."""
    return nnx.merge(graphdef, state.params, state.stats)(x, t)


def exact(config: FlowConfig) -> Partial:
    """The exact velocity of the ring as a function v(x, t) that `sample` takes."""
    return Partial(exact_velocity, means=ring_means(config), std=config.std)


@partial(jax.jit, static_argnames="num_steps")
def sample(velocity: Partial, x0: jax.Array, num_steps: int) -> jax.Array:
    """Paths `[num_steps + 1, N, 2]` from noise x0 `[N, 2]` to samples (the last row): x +=
    v(x, t) / num_steps.

    `velocity`: `exact(config)` or what `train` returns. A Partial is a pytree, so its
    weights are arguments of the compiled loop and new weights need no new compilation.
    ValueError for num_steps below 1, or x0 not `[N, 2]`.
    """
    if num_steps < 1 or x0.ndim != 2 or x0.shape[1] != 2:
        raise ValueError(f"num_steps = {num_steps}, x0 {x0.shape}; expected at least 1, and [N, 2]")

    def euler(x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x + velocity(x, jnp.full(len(x), t)) / num_steps, x

    x1, path = jax.lax.scan(euler, x0, jnp.arange(num_steps) / num_steps)
    return jnp.concatenate([path, x1[None]])


@partial(jax.jit, static_argnames=("n", "config"))
def velocity_errors(
    velocity: Partial, key: jax.Array, n: int, config: FlowConfig
) -> dict[str, jax.Array]:
    """Mean squared errors over `n` points x_t at uniform times, summed over the two
    coordinates.

    error: `velocity` against the exact one. zero: the same for predicting zero. loss, floor:
    flow-matching loss of
    `velocity` and of the exact one on the same pairs; no function of (x, t) has a smaller
    expected loss.
    """
    x_t, t, target = interpolate(
        jax.random.fold_in(key, 1), ring(jax.random.fold_in(key, 0), n, config)
    )
    v, best = velocity(x_t, t), exact(config)(x_t, t)
    pairs = {
        "error": (v, best),
        "zero": (0 * best, best),
        "loss": (v, target),
        "floor": (best, target),
    }
    return {name: ((a - b) ** 2).sum(1).mean() for name, (a, b) in pairs.items()}


def coverage(samples: jax.Array, config: FlowConfig) -> dict[str, float]:
    """`near`: share of samples `[N, 2]` within 3 standard deviations of a centre. `modes`:
    how many of the K modes
    get at least half of a fair share N / K of samples that near."""
    distances = np.linalg.norm(
        np.asarray(samples)[:, None] - np.asarray(ring_means(config)), axis=-1
    )
    near = distances.min(1) <= 3 * config.std
    counts = np.bincount(distances.argmin(1)[near], minlength=config.modes)
    return {
        "near": float(near.mean()),
        "modes": int((counts >= len(samples) / config.modes / 2).sum()),
    }

"""Small GANs on mixtures of Gaussians: discriminators on the line beside the optimal one, and GANs on a ring of modes.

Several runs, other seeds or other settings, train at once: their weights are stacked along a first axis, and
`jax.vmap` makes one step of all of them. The ring and the count of its modes are those of `imgbook.flow`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import flow, gan_losses, presets, training
from imgbook.games import Mixture
from imgbook.training import TrainState

ACTIVATIONS = {"relu": nnx.relu, "tanh": nnx.tanh}


@dataclass(frozen=True)
class MixtureConfig:
    """Hyperparameters of the small networks; ValueError for numbers that are not positive or an unknown activation."""

    modes: int = 8
    radius: float = 2.0  # of the ring
    std: float = 0.1  # of each mode
    latent_dim: int = 4
    hidden: int = 64
    activation: str = "relu"
    batch_size: int = 128
    num_steps: int = 3000
    learning_rate: float = 2e-3
    beta1: float = 0.5

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}; allowed: {', '.join(ACTIVATIONS)}")
        for name, value in vars(self).items():
            if name != "activation" and not value > 0:
                raise ValueError(f"{name} = {value}; expected a positive number")

    @property
    def ring(self) -> flow.FlowConfig:
        """The data, as `flow.ring` and `flow.coverage` take them."""
        return flow.FlowConfig(modes=self.modes, radius=self.radius, std=self.std)


def config_for(preset: str | None = None, **changes: object) -> MixtureConfig:
    """Hyperparameters at a preset; `changes` override single fields."""
    sizes = {
        "smoke": dict(num_steps=40, hidden=16, batch_size=32),
        "quick": {},
        "full": dict(num_steps=20_000),
    }
    return MixtureConfig(**{**sizes[presets.current(preset)], **changes})


class MLP(nnx.Module):
    """Two hidden layers."""

    def __init__(self, num_in: int, num_out: int, config: MixtureConfig, *, rngs: nnx.Rngs):
        self.activation = config.activation
        self.dense1 = nnx.Linear(num_in, config.hidden, rngs=rngs)
        self.dense2 = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, num_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Points `[N, num_in]` to `[N, num_out]`."""
        bend = ACTIVATIONS[self.activation]
        return self.out(bend(self.dense2(bend(self.dense1(x)))))


class GraphDefs(NamedTuple):
    generator: nnx.GraphDef
    discriminator: nnx.GraphDef


class Players(NamedTuple):
    """Both networks' training states, one pytree."""

    generator: TrainState
    discriminator: TrainState


def optimizer(config: MixtureConfig) -> optax.GradientTransformation:
    """Adam with a small first moment."""
    return optax.adam(config.learning_rate, b1=config.beta1)


def stacked(
    num_in: int, num_out: int, config: MixtureConfig, keys: jax.Array
) -> tuple[nnx.GraphDef, TrainState]:
    """Fresh networks, one for each of the keys `[R]`: their structure, and their states along a first axis."""

    def init(key: jax.Array) -> tuple[nnx.GraphDef, TrainState]:
        model = MLP(num_in, num_out, config, rngs=nnx.Rngs(key))
        return training.init_state(model, optimizer(config), key)

    return jax.jit(jax.vmap(init))(keys)


def apply(graphdef: nnx.GraphDef, params: nnx.State, x: jax.Array) -> jax.Array:
    """Outputs `[N, num_out]` of one network at points `[N, num_in]`."""
    return nnx.merge(graphdef, params)(x)


@jax.jit
def outputs(graphdef: nnx.GraphDef, state: TrainState, x: jax.Array) -> jax.Array:
    """Outputs `[R, N, num_out]` of all R networks of a state, at points `[N, num_in]` or their own `[R, N, num_in]`."""
    axis = 0 if x.ndim == 3 else None
    return jax.vmap(partial(apply, graphdef), in_axes=(0, axis))(state.params, x)


def fresh(data: tuple, draw: Callable, config: MixtureConfig) -> training.Batches:
    """Batches `draw(key of the step, *data[1:])`, where data[0] is the key of all.

    No point comes twice, so there is nothing to overfit.
    """

    def plan(first: int, n: int) -> np.ndarray:
        return np.arange(first, first + n, dtype=np.uint32)

    def of_step(data: tuple, step: jax.Array) -> tuple:
        return draw(jax.random.fold_in(data[0], step), *data[1:])

    note = f"{config.batch_size} fresh points a step, no epochs"
    return training.Batches(data, plan, of_step, config.batch_size, note)


def fit(
    state: Any, step: Callable, stream: training.Batches, config: MixtureConfig, every: int
) -> tuple[dict[int, Any], training.History]:
    """Train; the states before the first step, after every `every` steps (0: none) and at the end, by number of steps.

    The last number is config.num_steps, or that of the steps done if the run was interrupted.
    """
    stages = {}

    def keep(number: int, state: Any) -> None:
        stages[number] = jax.tree.map(jnp.copy, state)  # the next step consumes the state itself

    last, history = training.fit(
        state, step, stream, config.num_steps, progress=False, callback=keep, callback_every=every
    )
    done = len(next(iter(history.metrics.values()), ()))
    return {**stages, done: last}, history


# --- discriminators on the line, the generator fixed ------------------------------------------------------------


def train_discriminators(
    p_data: Mixture, shifts: Sequence[float], config: MixtureConfig, key: jax.Array, every: int = 0
) -> tuple[nnx.GraphDef, dict[int, TrainState], training.History]:
    """Train one discriminator for each of R shifts, on samples of p_data against samples of it moved by the shift.

    The same shift several times gives runs with weights and samples of their own. Returns the networks' structure,
    their states by number of steps (see `fit`), and the history, whose loss is the mean over the runs.
    """
    graphdef, state = stacked(
        1, 1, config, jax.random.split(jax.random.fold_in(key, 0), len(shifts))
    )
    tx = optimizer(config)

    def loss_fn(params: nnx.State, real: jax.Array, fake: jax.Array) -> jax.Array:
        critic = partial(apply, graphdef, params)
        return gan_losses.discriminator_loss(critic(real)[:, 0], critic(fake)[:, 0])

    def one(state: TrainState, real: jax.Array, fake: jax.Array) -> tuple[TrainState, jax.Array]:
        loss, grads = jax.value_and_grad(loss_fn)(state.params, real, fake)
        return state.updated(grads, tx), loss

    def step(state: TrainState, batch: tuple) -> tuple[TrainState, dict[str, jax.Array]]:
        state, losses = jax.vmap(one)(state, *batch)
        return state, {"loss": losses.mean()}

    draw = partial(real_and_fake, p_data=p_data, n=config.batch_size)
    data = (jax.random.fold_in(key, 1), jnp.asarray(shifts, jnp.float32))
    stages, history = fit(state, step, fresh(data, draw, config), config, every)
    return graphdef, stages, history


def real_and_fake(
    key: jax.Array, shifts: jax.Array, p_data: Mixture, n: int
) -> tuple[jax.Array, jax.Array]:
    """`n` points of p_data and `n` of p_data moved, `[R, n, 1]` each, all of them drawn anew, for each shift `[R]`."""
    keys = jax.random.split(key, (2, len(shifts)))
    real, fake = jax.vmap(jax.vmap(lambda key: p_data.sample(key, n)))(keys)[..., None]
    return real, fake + shifts[:, None, None]


# --- GANs on a ring -----------------------------------------------------------------------------------------------


def make_train_step(graphdefs: GraphDefs, config: MixtureConfig, loss: str) -> Callable:
    """The step `step(players, (real, gammas)) -> (players, metrics)` of R runs; real `[R, N, 2]`, R1's weights `[R]`.

    In each run a turn of the discriminator and then one of the generator. Metrics are means over the runs, in nats.
    """
    tx = optimizer(config)
    generate, discriminate = (partial(apply, graphdef) for graphdef in graphdefs)

    def d_loss_fn(params, real, fake, gamma):
        def critic(x):
            return discriminate(params, x)[:, 0]

        value = gan_losses.discriminator_loss(critic(real), critic(fake), loss)
        return value + gamma * gan_losses.r1_penalty(critic, real), value

    def g_loss_fn(params, latents, d_params):
        fake_logits = discriminate(d_params, generate(params, latents))[:, 0]
        return gan_losses.generator_loss(fake_logits, loss)

    def one(players: Players, real: jax.Array, gamma: jax.Array) -> tuple[Players, dict]:
        g, d = players
        key = jax.random.fold_in(g.key, g.step)
        latents = jax.random.normal(key, (len(real), config.latent_dim))
        fake = generate(g.params, latents)  # a constant in the discriminator's turn
        (_, d_loss), grads = jax.value_and_grad(d_loss_fn, has_aux=True)(
            d.params, real, fake, gamma
        )
        d = d.updated(grads, tx)
        g_loss, grads = jax.value_and_grad(g_loss_fn)(g.params, latents, d.params)
        metrics = {"discriminator_loss": d_loss, "generator_loss": g_loss}
        return Players(g.updated(grads, tx), d), metrics

    def step(players: Players, batch: tuple) -> tuple[Players, dict[str, jax.Array]]:
        players, metrics = jax.vmap(one)(players, *batch)
        return players, {name: values.mean() for name, values in metrics.items()}

    return step


def train(
    gammas: Sequence[float],
    config: MixtureConfig,
    key: jax.Array,
    loss: str = "non_saturating",
    every: int = 0,
) -> tuple[GraphDefs, dict[int, Players], training.History]:
    """Train one GAN on the ring for each of R weights of the penalty R1 (0: none), with weights and samples of its own.

    `loss`: one of `gan_losses.LOSSES` that needs no real images for the generator, else ValueError. Returns the
    structures, the players by number of steps (see `fit`), and the history.
    """
    keys = jax.random.split(jax.random.fold_in(key, 0), (2, len(gammas)))
    g_graphdef, generator = stacked(config.latent_dim, 2, config, keys[0])
    d_graphdef, discriminator = stacked(2, 1, config, keys[1])
    graphdefs = GraphDefs(g_graphdef, d_graphdef)

    def draw(key: jax.Array, gammas: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, len(gammas))
        return jax.vmap(lambda key: flow.ring(key, config.batch_size, config.ring))(keys), gammas

    stages, history = fit(
        Players(generator, discriminator),
        make_train_step(graphdefs, config, loss),
        fresh((jax.random.fold_in(key, 1), jnp.asarray(gammas, jnp.float32)), draw, config),
        config,
        every,
    )
    return graphdefs, stages, history


def coverage(
    graphdefs: GraphDefs, stages: dict[int, Players], latents: jax.Array, config: MixtureConfig
) -> dict[str, np.ndarray]:
    """`near` and `modes` of `flow.coverage`, each `[T, R]`, at all T stages of R runs, from the same latents `[N, L]`.

    `near`: the share of high quality, within three standard deviations of a mode.
    """
    found = [
        [flow.coverage(s, config.ring) for s in outputs(graphdefs.generator, p.generator, latents)]
        for p in stages.values()
    ]
    return {
        name: np.array([[run[name] for run in runs] for runs in found])
        for name in ("near", "modes")
    }

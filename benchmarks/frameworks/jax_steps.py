"""The three training steps in JAX: `naive`, as Flax's tutorials write them, and `engine`, as this package runs them.

naive: Flax's own layers, one `nnx.jit` step on the model and its `nnx.Optimizer`, a Python loop over batches.
engine: the layers of `imgbook.layers` in the loop of `imgbook.training`. The networks are the same classes with other
layers. Nothing else of the package is used: chapters may change, this benchmark must not.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from frameworks import work
from frameworks.jax_networks import LOSSES, build, d_loss, g_loss, gan_inputs, norm
from imgbook import training

# --- naive ----------------------------------------------------------------------------------------------------


def naive_step(nets, optimizers, rngs, batch, noise, *, model: str, update: bool) -> tuple:
    """Losses, and the gradients' norms if nothing is updated. The models change in place, as Flax NNX has it."""
    key, norms = rngs(), []

    def turn(prefix: str, grads: nnx.State) -> None:
        if update:
            optimizers[prefix].update(nets[prefix], grads)
        else:
            norms.append(norm(grads))

    if model != "gan":
        loss, grads = nnx.value_and_grad(LOSSES[model])(nets[""], batch, noise, key)
        turn("", grads)
        return [loss], norms
    real, latents = gan_inputs(batch, noise, key)
    loss, grads = nnx.value_and_grad(d_loss)(nets["d."], real, nets["g."](latents))
    turn("d.", grads)
    # The generator's images are written twice, as one does here; XLA finds that they are the same and computes them
    # once, and leaves out the discriminator's gradients, which nobody asks for.
    second, grads = nnx.value_and_grad(g_loss)(nets["g."], nets["d."], latents)
    turn("g.", grads)
    return [loss, second], norms


class Naive:
    """See `worker.Runner`. The images stay in memory as NumPy, whose batches JAX takes without a copy."""

    def __init__(self, model: str, variant: str, arrays: dict[str, np.ndarray], batch_size: int):
        self.model, self.variant, self.batch_size = model, variant, batch_size
        self.data = inputs(model, arrays)
        self.program = nnx.jit(partial(naive_step, model=model), static_argnames="update")
        self.reset()

    def reset(self) -> None:
        self.steps, self.rngs = 0, nnx.Rngs(0)
        self.nets = build(self.model, self.variant)
        self.optimizers = {
            prefix: nnx.Optimizer(net, optimizer(self.model), wrt=nnx.Param)
            for prefix, net in self.nets.items()
        }

    def step(self, rows: np.ndarray, noise: dict | None, update: bool) -> tuple[list, list]:
        batch = tuple(array[rows] for array in self.data)
        state = self.nets, self.optimizers, self.rngs
        return self.program(*state, batch, noise or {}, update=update)

    def run(self, n: int) -> None:
        for i in range(self.steps, self.steps + n):
            self.step(work.rows(len(self.data[0]), self.batch_size, i), None, True)
        self.steps += n
        jax.block_until_ready([nnx.state(net) for net in self.nets.values()])


# --- engine ---------------------------------------------------------------------------------------------------


def apply(graphdef: nnx.GraphDef, params: Any, stats: Any, *inputs: Any) -> tuple:
    """A network's output, and what it keeps beside the weights (BatchNorm's averages) afterwards."""
    # A copy of the averages: Flax updates no variable made outside the current transformation.
    net = nnx.merge(graphdef, params, jax.tree.map(lambda a: a, stats))
    output = net(*inputs)
    return output, nnx.state(net, nnx.Not(nnx.Param))


def engine_step(graphdefs, tx, model, states, batch, noise=None, update=True) -> tuple:
    """The next states and the metrics: losses, and the gradients' norms if nothing is updated."""
    noise, metrics, states = noise or {}, {}, dict(states)

    def turn(name: str, loss: jax.Array, grads: Any, stats: Any) -> None:
        metrics[f"{name}loss"] = loss
        if update:
            states[name] = states[name].updated(grads, tx, stats=stats)
        else:
            metrics[f"{name}norm"] = norm(grads)

    first = states["" if model != "gan" else "g."]
    key = jax.random.fold_in(first.key, first.step)
    if model != "gan":
        loss_fn = lambda p: LOSSES[model](nnx.merge(graphdefs[""], p, first.stats), batch, noise, key)  # noqa: E731  # fmt: skip
        turn("", *jax.value_and_grad(loss_fn)(first.params), first.stats)
        return states, metrics
    real, latents = gan_inputs(batch, noise, key)
    generate, discriminate = (partial(apply, graphdefs[name]) for name in ("g.", "d."))
    fake, g_vjp, g_stats = jax.vjp(
        lambda params: generate(params, first.stats, latents), first.params, has_aux=True
    )

    def d_loss_fn(params: Any, stats: Any) -> tuple:
        real_logits, stats = discriminate(params, stats, real)
        fake_logits, stats = discriminate(params, stats, fake)
        return nnx.softplus(-real_logits).mean() + nnx.softplus(fake_logits).mean(), stats

    d = states["d."]
    (loss, d_stats), grads = jax.value_and_grad(d_loss_fn, has_aux=True)(d.params, d.stats)
    turn("d.", loss, grads, d_stats)
    d = states["d."]
    g_loss_fn = lambda fake: nnx.softplus(-discriminate(d.params, d.stats, fake)[0]).mean()  # noqa: E731
    loss, fake_grads = jax.value_and_grad(g_loss_fn)(fake)
    turn("g.", loss, g_vjp(fake_grads)[0], g_stats)
    return states, metrics


class Engine:
    """See `worker.Runner`. The batches' order is the benchmark's own, given as a plan to the package's loop."""

    def __init__(self, model: str, variant: str, arrays: dict[str, np.ndarray], batch_size: int):
        self.model, self.variant, self.batch_size = model, variant, batch_size
        self.tx = optimizer(model)
        data = jax.device_put(inputs(model, arrays))
        n = len(data[0])

        def plan(first: int, count: int) -> np.ndarray:
            return np.stack([work.rows(n, batch_size, i) for i in range(first, first + count)])

        def draw(data: tuple, rows: jax.Array) -> tuple:
            return tuple(array[rows] for array in data)

        self.stream = training.Batches(data, plan, draw, batch_size)
        self.reset()
        step = partial(engine_step, self.graphdefs, self.tx, model)
        self.program, _ = training.compile_loop(step, self.states, self.stream)
        self.one_step = jax.jit(step, static_argnames="update")

    def reset(self) -> None:
        self.steps, self.graphdefs, self.states = 0, {}, {}
        for prefix, net in build(self.model, self.variant).items():
            made = training.init_state(net, self.tx, jax.random.key(len(prefix)))
            self.graphdefs[prefix], self.states[prefix] = made

    def step(self, rows: np.ndarray, noise: dict | None, update: bool) -> tuple[list, list]:
        batch = self.stream.draw(self.stream.data, rows)
        self.states, metrics = self.one_step(self.states, batch, noise, update=update)
        # The discriminator's turn is the first: "d." before "g.".
        losses, norms = (
            [metrics[k] for k in sorted(metrics) if k.endswith(e)] for e in ("loss", "norm")
        )
        return losses, norms

    def run(self, n: int) -> None:
        while n:
            now = min(n, training.STEPS_A_CALL)
            plan = training.filled(self.stream.plan(self.steps, now))
            self.states, _ = self.program(self.states, self.stream.data, plan, now)
            self.steps, n = self.steps + now, n - now
        jax.block_until_ready(self.states)


# --------------------------------------------------------------------------------------------------------------


def optimizer(model: str) -> optax.GradientTransformation:
    rate, beta1 = work.LEARNING_RATES[model], work.BETA1[model]
    return optax.adam(rate, b1=beta1, b2=work.BETA2, eps=work.EPSILON)


def inputs(model: str, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    images = arrays["images"]
    if model == "vae":
        return (images.reshape(len(images), -1),)
    return (images, arrays["labels"].astype(np.int32)) if model == "cnn" else (images,)


def Runner(model: str, variant: str, arrays: dict, batch_size: int) -> Naive | Engine:
    return {"naive": Naive, "engine": Engine}[variant](model, variant, arrays, batch_size)


def product(a: np.ndarray) -> Callable[[], object]:
    """A function that multiplies a matrix by itself and has finished when it returns."""
    matrix = jnp.asarray(a)
    multiply = jax.jit(lambda a: a @ a)
    return lambda: multiply(matrix).block_until_ready()

"""Chapter 2: optimisers written out, how fast they are on a quadratic, and how noisy a batch's gradient is.

A rule is a pure function `rule(theta, memory, gradient, rate) -> (theta, memory)` of pytrees. All rules keep the same
memory, of which each uses what it needs, so that one compiled loop can run any of them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgbook.concepts import Params, backpropagation, loss


class Memory(NamedTuple):
    """What a rule remembers: how many steps it made, and one or two arrays for each array of parameters."""

    step: jax.Array  # int32, 0 before the first step
    first: Any  # momentum's velocity, or Adam's mean of the gradient
    second: Any  # the mean of the squared gradient


def start(theta: Any) -> Memory:
    """The memory before the first step: zeros."""
    zeros = jax.tree.map(jnp.zeros_like, theta)
    return Memory(jnp.zeros((), jnp.int32), zeros, zeros)


# --- the rules ------------------------------------------------------------------------------------------------


def descent(theta: Any, memory: Memory, gradient: Any, rate: float) -> tuple[Any, Memory]:
    """Gradient descent: against the gradient, by the learning rate."""
    theta = jax.tree.map(lambda p, g: p - rate * g, theta, gradient)
    return theta, memory._replace(step=memory.step + 1)


def momentum(
    theta: Any, memory: Memory, gradient: Any, rate: float, beta: float = 0.9
) -> tuple[Any, Memory]:
    """The heavy ball (Polyak 1964): a velocity collects gradients and forgets a share 1 - beta of itself a step."""
    v = jax.tree.map(lambda v, g: beta * v + g, memory.first, gradient)
    theta = jax.tree.map(lambda p, v: p - rate * v, theta, v)
    return theta, memory._replace(step=memory.step + 1, first=v)


def nesterov(
    theta: Any, memory: Memory, gradient: Any, rate: float, beta: float = 0.9
) -> tuple[Any, Memory]:
    """Nesterov's momentum in the form of Sutskever et al. (2013): the velocity, looked at one step ahead."""
    v = jax.tree.map(lambda v, g: beta * v + g, memory.first, gradient)
    theta = jax.tree.map(lambda p, v, g: p - rate * (beta * v + g), theta, v, gradient)
    return theta, memory._replace(step=memory.step + 1, first=v)


def rmsprop(
    theta: Any, memory: Memory, gradient: Any, rate: float, beta: float = 0.9, eps: float = 1e-8
) -> tuple[Any, Memory]:
    """RMSProp: the gradient over the root of a running mean of its square, entry by entry."""
    s = jax.tree.map(lambda s, g: beta * s + (1 - beta) * g**2, memory.second, gradient)
    theta = jax.tree.map(lambda p, g, s: p - rate * g / jnp.sqrt(s + eps), theta, gradient, s)
    return theta, memory._replace(step=memory.step + 1, second=s)


def adam(
    theta: Any,
    memory: Memory,
    gradient: Any,
    rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Any, Memory]:
    """Adam (Kingma and Ba 2015): RMSProp of a running mean of the gradient, with both means freed of their start."""
    t = memory.step + 1
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, memory.first, gradient)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, memory.second, gradient)

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return p - rate * (m / (1 - beta1**t)) / (jnp.sqrt(v / (1 - beta2**t)) + eps)

    return jax.tree.map(moved, theta, m, v), Memory(t, m, v)


def adamw(
    theta: Any, memory: Memory, gradient: Any, rate: float, decay: float = 0.01, **settings: float
) -> tuple[Any, Memory]:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): the decay is not divided by anything."""
    moved, memory = adam(theta, memory, gradient, rate, **settings)
    return jax.tree.map(lambda new, p: new - rate * decay * p, moved, theta), memory


RULES = {
    "gradient descent": descent,
    "momentum": momentum,
    "Nesterov": nesterov,
    "RMSProp": rmsprop,
    "Adam": adam,
    "AdamW": adamw,
}


@partial(jax.jit, static_argnames=("function", "num_steps"))
def follow(
    rule: int,
    function: Callable[[jax.Array], jax.Array],
    theta: jax.Array,
    rate: float,
    num_steps: int,
) -> jax.Array:
    """The path `[num_steps + 1, D]` on a function, from theta `[D]`, of the rule of that number in `RULES`.

    The number is an argument of the compiled program, so that all rules share one.
    """
    branches = tuple(RULES.values())

    def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
        theta, memory = jax.lax.switch(rule, branches, *carry, jax.grad(function)(carry[0]), rate)
        return (theta, memory), theta

    _, path = jax.lax.scan(step, (theta, start(theta)), None, num_steps)
    return jnp.concatenate([theta[None], path])


def valley(theta: jax.Array) -> jax.Array:
    """A curved valley of two variables, 1/2 (1 - a)^2 + 5 (b - a^2)^2, after Rosenbrock; lowest at (1, 1)."""
    return 0.5 * (1 - theta[0]) ** 2 + 5 * (theta[1] - theta[0] ** 2) ** 2


def best_path(
    rule: int,
    function: Callable[[jax.Array], jax.Array],
    theta: jax.Array,
    rates: np.ndarray,
    num_steps: int,
) -> tuple[float, np.ndarray]:
    """The learning rate of those given that ends lowest, and its path `[num_steps + 1, D]`."""
    paths = [np.asarray(follow(rule, function, theta, float(rate), num_steps)) for rate in rates]
    last = np.array([function(path[-1]) for path in paths])
    best = int(np.where(np.isfinite(last), last, np.inf).argmin())
    return float(rates[best]), paths[best]


# --- a quadratic with eigenvalues between mu and L --------------------------------------------------------------


def descent_optimum(mu: float, L: float) -> tuple[float, float]:
    """The best learning rate of gradient descent, and the factor by which the error then shrinks a step."""
    return 2 / (mu + L), (L - mu) / (L + mu)


def momentum_optimum(mu: float, L: float) -> tuple[float, float, float]:
    """Learning rate and beta of the heavy ball that give the smallest factor, and that factor (Polyak 1964)."""
    factor = (np.sqrt(L) - np.sqrt(mu)) / (np.sqrt(L) + np.sqrt(mu))
    return 4 / (np.sqrt(L) + np.sqrt(mu)) ** 2, factor**2, factor


def nesterov_usual(mu: float, L: float) -> tuple[float, float, float]:
    """Nesterov's usual learning rate 1 / L, the beta that belongs to it, and the factor on a quadratic."""
    root = np.sqrt(mu / L)
    return 1 / L, (1 - root) / (1 + root), 1 - root


@partial(jax.jit, static_argnames="rule")
def measured_factor(
    rule: Callable, eigenvalues: jax.Array, num_steps: int, *settings: float
) -> jax.Array:
    """By what factor a step shrinks the largest coordinate, on average over the second half of a run.

    The function is 1/2 sum_i lambda_i theta_i^2 with the eigenvalues `[D]`, from (1, ..., 1). `settings`: learning
    rate, and beta if the rule has one. Keep the error above 1e-37, where float32 ends.
    """

    def step(_: int, carry: tuple) -> tuple:
        return rule(*carry, eigenvalues * carry[0], *settings)

    theta, half = jnp.ones_like(eigenvalues), num_steps // 2
    middle = jax.lax.fori_loop(0, half, step, (theta, start(theta)))
    end = jax.lax.fori_loop(half, num_steps, step, middle)
    ratio = jnp.abs(end[0]).max() / jnp.abs(middle[0]).max()
    return ratio ** (1 / (num_steps - half))


# --- many trainings of chapter 2's network ----------------------------------------------------------------------


@partial(jax.jit, static_argnames="batch_size")
def train(
    rule: int,
    theta: Params,
    x: jax.Array,
    labels: jax.Array,
    rates: jax.Array,
    key: jax.Array,
    batch_size: int = 32,
) -> tuple[Params, jax.Array]:
    """Train by the rule of that number in `RULES`, one step for each of `rates` `[T]`; losses of the batches `[T]`.

    x `[N, D]`, labels `[N]`; batches are drawn with replacement. All rules, rates and seeds share one program.
    """
    branches = tuple(RULES.values())

    def step(carry: tuple, now: tuple) -> tuple[tuple, jax.Array]:
        number, rate = now
        chosen = jax.random.randint(jax.random.fold_in(key, number), (batch_size,), 0, len(x))
        value, gradient = jax.value_and_grad(loss)(carry[0], x[chosen], labels[chosen])
        return jax.lax.switch(rule, branches, *carry, gradient, rate), value

    steps = jnp.arange(len(rates)), rates
    (theta, _), losses = jax.lax.scan(step, (theta, start(theta)), steps)
    return theta, losses


# --- the noise of a batch ---------------------------------------------------------------------------------------


@jax.jit
def gradient_moments(
    params: Params, x: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Squared length of the mean gradient, and the trace of the covariance of single images' gradients.

    A single image's gradient by a weight matrix is an outer product, whose squared length is the product of two squared
    lengths; so no gradient of a single image is ever formed. x `[N, D]`, labels `[N]`; two scalars.
    """
    _, mean = backpropagation(params, x, labels)
    squared = sum((g**2).sum() for g in mean)
    hidden = jax.nn.relu(x @ params.w1 + params.b1)
    d2 = jax.nn.softmax(hidden @ params.w2 + params.b2) - jax.nn.one_hot(labels, len(params.b2))
    d1 = (d2 @ params.w2.T) * (hidden > 0)
    lengths = ((x**2).sum(1) + 1) * (d1**2).sum(1) + ((hidden**2).sum(1) + 1) * (d2**2).sum(1)
    return squared, lengths.mean() - squared


def standard_error(trace: float, batch_size: int | np.ndarray) -> float | np.ndarray:
    """The root of the mean squared distance between the gradient of a batch and that of all data."""
    return np.sqrt(trace / batch_size)


@jax.jit
def batch_distances(
    params: Params, x: jax.Array, labels: jax.Array, batches: jax.Array
) -> jax.Array:
    """Distances `[M]` between the gradients of M batches and that of all data; batches: indices `[M, B]` into x."""
    _, mean = backpropagation(params, x, labels)

    def distance(chosen: jax.Array) -> jax.Array:
        _, gradient = backpropagation(params, x[chosen], labels[chosen])
        return jnp.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(gradient, mean, strict=True)))

    return jax.lax.map(distance, batches)

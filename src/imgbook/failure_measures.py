"""What is measured of the failure gallery's runs, and the runs themselves, all from one key."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgbook import gan, judge, training
from imgbook.data import load
from imgbook.failure_runs import (
    BROKEN,
    WORKING,
    Networks,
    Recipe,
    init,
    make_generator,
    make_train_step,
    prepare,
    sample,
    score,
)

NUM_SAMPLES = {"smoke": 50, "quick": 1000, "full": 1000}


class Run(NamedTuple):
    """A training of the gallery. samples: `[N, H, W, C]` in [0, 1], of the digits 0, 1, ..., 9, 0, 1, ..."""

    recipe: Recipe
    graphdefs: gan.GraphDefs
    state: Networks
    history: training.History
    samples: np.ndarray
    values: dict[str, float]


@cache
def paint(kernel: int, seed: int, count: int = 256) -> np.ndarray:
    """Mean square `[H, W]` of each pixel before any training, over `count` generators of the working recipe.

    Where more windows of the transposed convolutions overlap, it is larger.
    """
    config = WORKING.config

    def squares(key: jax.Array) -> jax.Array:
        latents = jax.random.normal(key, (16, config.latent_dim))
        images = make_generator(config, kernel, key)(latents, jnp.arange(16) % 10)
        return jnp.square(images).mean((0, 3))

    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(squares, keys).mean(0))(keys))


def checkerboard(field: np.ndarray) -> float:
    """The contrast of a pattern of period 2 in a field `[H, W]`, both even: 0 for none, 1/3 for 1, 2, 1, 2, ...

    The larger one of its Fourier coefficients at period 2 along either axis, divided by that of its mean. The outer
    four pixels are left out: there windows are cut off.
    """
    f = np.abs(np.fft.fft2(field[4:-4, 4:-4]))
    return float(max(f[len(f) // 2, 0], f[0, len(f[0]) // 2]) / f[0, 0])


def measures(
    run: Run, latents: jax.Array, labels: np.ndarray, real: judge.Opinion, seed: int
) -> dict[str, float]:
    """The measures of a training by name. latents, labels: of its samples. real: of as many real digits.

    generator_gradient: norm of the generator's gradient; generator_loss: nats; both means over the last quarter of
    the steps. least_discriminator_loss: of all steps, nats. background: mean of the samples' first and last rows of
    pixels, 0 black, 1 white. recognised, recall: as in `judge.compare`. obedience: share of samples that the judge
    takes for the digit that was asked for. checkerboard: of `paint`. unseen_gap: the discriminator's mean logit of
    samples of the last step's latents, less that of samples of new ones. batch_dependence: mean change of a pixel when
    a pair of samples is drawn alone and not in one batch with the others.
    """
    recipe, graphdefs, state, samples = run.recipe, run.graphdefs, run.state, run.samples
    metrics, config = run.history.metrics, run.recipe.config
    last = slice(-max(1, config.num_steps // 4), None)
    shape = (config.batch_size, config.latent_dim)
    seen = recipe.draw_latents(state.generator.key, jnp.int32(config.num_steps - 1), shape)
    seen, asked = jnp.repeat(seen, 10, axis=0), np.tile(np.arange(10), len(seen))
    logits = [
        score(graphdefs, state.discriminator.stats, state.discriminator.params, 2 * x - 1, y).mean()
        for x, y in (
            (jnp.asarray(sample(recipe, graphdefs, state, seen, asked)), jnp.asarray(asked)),
            (jnp.asarray(samples), jnp.asarray(labels)),
        )
    ]
    pair = sample(recipe, graphdefs, state, latents[:2], labels[:2])
    opinion = judge.opinion(samples)
    found = judge.compare(real, opinion)
    return {
        "generator_gradient": float(metrics["generator_gradient"][last].mean()),
        "generator_loss": float(metrics["generator_loss"][last].mean()),
        "least_discriminator_loss": float(metrics["discriminator_loss"].min()),
        "background": float(samples[:, [0, -1]].mean()),
        "recognised": found["recognised"],
        "recall": found["recall"],
        "obedience": float((opinion.logits.argmax(1) == labels).mean()),
        "checkerboard": checkerboard(paint(recipe.kernel, seed)),
        "unseen_gap": float(logits[0] - logits[1]),
        "batch_dependence": float(np.abs(pair - samples[:2]).mean()),
    }


def gallery(
    data_name: str, preset: str, seed: int, names: tuple[str, ...] = tuple(BROKEN)
) -> dict[str, Run]:
    """Train the working recipe and broken ones, all from one key; the runs by name, "working" first."""
    dataset, key, n = load(data_name, "train", preset), jax.random.key(seed), NUM_SAMPLES[preset]
    real = judge.opinion(load(data_name, "test", preset).images[::2][:n])  # sorted by class
    labels, trained, runs = np.arange(n) % 10, {}, {}
    for name, recipe in {"working": WORKING, **{name: BROKEN[name] for name in names}}.items():
        if preset == "smoke":
            recipe = recipe.changed(num_steps=4, width=4)
        like = replace(recipe, prepare=prepare)  # what is done after training changes none
        if like not in trained:
            graphdefs, state = init(recipe, jax.random.fold_in(key, 0))
            stream = training.batches(
                (dataset.images, dataset.labels),
                recipe.config.batch_size,
                jax.random.fold_in(key, 1),
            )
            step = make_train_step(recipe, graphdefs)
            steps = recipe.config.num_steps
            trained[like] = graphdefs, *training.fit(state, step, stream, steps, progress=False)
        latents = jax.random.normal(jax.random.fold_in(key, 2), (n, recipe.config.latent_dim))
        samples = sample(recipe, *trained[like][:2], latents, labels)
        run = Run(recipe, *trained[like], samples, {})
        runs[name] = run._replace(values=measures(run, latents, labels, real, seed))
    return runs

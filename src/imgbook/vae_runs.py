"""Chapter 5's recorded comparisons: what is measured of a VAE, and the variants that its tables and figures show.

Every run has the images of its preset (`imgbook.data.load`). Choices were made on other runs; a recorded one looks at
the test images when it has ended.
"""

from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from imgbook import gan_runs, judge, vae, vae_bounds
from imgbook.data import Dataset, load
from imgbook.training import TrainState
from imgbook.vae_collapse import AutoregressiveVAE
from imgbook.vae_networks import VAE, VAEConfig

# Test images whose log p(x) is bounded, and the samples each gets.
LIKELIHOOD_IMAGES = {"smoke": 20, "quick": 1000, "full": 1000}
LIKELIHOOD_SAMPLES = {"smoke": 50, "quick": 5000, "full": 5000}
LADDER = (1, 10, 100, 1000)  # numbers of samples below those

# All digits; preset full's own number of steps takes a few minutes.
BUDGETS = {"minute": {"num_steps": 4000}, "long": {"num_steps": 60_000}}
CONDITIONAL = {"num_classes": 10}

BETAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
RATES = {f"{beta:g}": (VAE, {"beta": beta}) for beta in BETAS}

# Codes that are not used, and what brings them back; all with as many steps.
STEPS = 2000
DEEP = {"num_steps": STEPS, "depth": 6, "hidden": 200}
COLLAPSE: dict[str, tuple[type[VAE], dict]] = {
    "one hidden layer": (VAE, {"num_steps": STEPS}),
    "mean over pixels": (VAE, {"num_steps": STEPS, "beta": 784.0}),
    "beta 8": (VAE, {"num_steps": STEPS, "beta": 8.0}),
    "beta 8, free bits": (VAE, {"num_steps": STEPS, "beta": 8.0, "free_bits": 1.0}),
    "six hidden layers": (VAE, DEEP),
    "six hidden layers, warm-up": (VAE, {**DEEP, "warm_up": STEPS // 2}),
    "six hidden layers, free bits": (VAE, {**DEEP, "free_bits": 0.5}),
    "sees earlier pixels": (AutoregressiveVAE, {"num_steps": STEPS}),
}
# The variance of the pixels learned, or held where squared error alone would put it.
COLOUR: dict[str, tuple[type[VAE], dict]] = {
    "learned sigma": (VAE, {}),
    "sigma 1": (VAE, {"sigma": 1.0}),
}
VARIANTS = {"rates": RATES, "collapse": COLLAPSE, "colour": COLOUR}


def some(images: np.ndarray, count: int) -> np.ndarray:
    """Which `count` images, or all: always the same, and of all classes."""
    return np.random.default_rng(0).permutation(len(images))[:count]


def measures(
    graphdef: nnx.GraphDef,
    state: TrainState,
    config: VAEConfig,
    test: Dataset,
    key: jax.Array,
    preset: str,
    ladder: bool = False,
) -> dict[str, float]:
    """The bound and its parts, -log p(x) by many samples with its standard error, latents in use; nats an image.

    nll: of the images chosen. nll_all: of all test images, estimated as their -ELBO less what many samples gain on
    those chosen; images differ much less in that gain than in -log p(x), so it is the better estimate of the two.
    ladder: also the bounds at fewer samples.
    """
    labels = test.labels if config.num_classes else None
    arguments = graphdef, state, test.images
    values = vae.evaluate(*arguments, jax.random.fold_in(key, 2), labels=labels)
    chosen = some(test.images, LIKELIHOOD_IMAGES[preset])
    count = LIKELIHOOD_SAMPLES[preset]
    found = vae_bounds.negative_log_likelihoods(
        graphdef,
        state,
        test.images[chosen],
        jax.random.fold_in(key, 4),
        count,
        tuple(k for k in LADDER if k < count and count % k == 0),
        labels=None if labels is None else labels[chosen],
    )
    values["nll"], values["nll_error"] = vae_bounds.mean_and_error(found[count])
    gain, values["gain_error"] = vae_bounds.mean_and_error(found[1] - found[count])
    values["nll_all"] = values["negative_elbo"] - gain
    if ladder:
        values |= {f"bound/{k}": float(v.mean()) for k, v in found.items()}
    active = vae_bounds.active_units(*arguments, jax.random.fold_in(key, 5), labels=labels)
    return {**values, "active": float(active.sum())}


def judged(
    graphdef: nnx.GraphDef,
    state: TrainState,
    config: VAEConfig,
    key: jax.Array,
    preset: str,
    real: judge.Opinion,
) -> dict[str, float]:
    """What the judge says of samples of digits, `judge.compare`; of a conditional VAE's also how many obey."""
    n, labels = gan_runs.NUM_SAMPLES[preset], None
    if config.num_classes:
        label_key = jax.random.fold_in(key, 6)
        labels = np.asarray(jax.random.randint(label_key, (n,), 0, config.num_classes))
    seen = judge.opinion(vae.sample(graphdef, state, jax.random.fold_in(key, 3), n, labels))
    values = judge.compare(real, seen)
    if labels is not None:
        values["obedience"] = float((seen.logits.argmax(1) == labels).mean())
    return values


def config_of(dataset: Dataset, preset: str, changes: Mapping[str, object]) -> VAEConfig:
    """A variant's configuration; at smoke it keeps that preset's number of steps."""
    kept = {k: v for k, v in changes.items() if preset != "smoke" or k != "num_steps"}
    return vae.config_for(dataset, preset, **kept)


def run(
    changes: Mapping[str, object], data_name: str, preset: str, seed: int
) -> tuple[dict[str, float], dict[str, tuple]]:
    """Train one VAE of digits and measure everything; values and trainings as a record has them."""
    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = config_of(dataset, preset, changes), jax.random.key(seed)
    graphdef, state, history = vae.train(dataset, config, key)
    values = measures(graphdef, state, config, test, key, preset, ladder=True)
    real, other = gan_runs.references(preset)
    values |= judged(graphdef, state, config, key, preset, real)
    values |= {"floor": judge.compare(real, other)["frechet"], "seconds": history.seconds}
    return values, {"vae": (state, history, config)}


def run_variants(
    variants: Mapping[str, tuple[type[VAE], Mapping[str, object]]],
    data_name: str,
    preset: str,
    seed: int,
) -> tuple[dict[str, float], dict[str, tuple]]:
    """Train each variant, (network, changes) by name, and measure its bound, parts and latents: "name/measure"."""
    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    values, trainings, key = {}, {}, jax.random.key(seed)
    for name, (model_class, changes) in variants.items():
        config = config_of(dataset, preset, changes)
        graphdef, state, history = vae.train(dataset, config, key, model_class=model_class)
        trainings[name] = state, history, config
        found = vae.evaluate(graphdef, state, test.images, jax.random.fold_in(key, 2))
        active = vae_bounds.active_units(graphdef, state, test.images, jax.random.fold_in(key, 5))
        found |= {"active": float(active.sum()), "seconds": history.seconds}
        if config.likelihood == "gaussian":
            found["bits_per_dim"] = vae.bits_per_dim(found["negative_elbo"], config.image_shape)
            found["sigma"] = float(np.exp(state.params["log_sigma2"][...] / 2))
        values |= {f"{name}/{k}": v for k, v in found.items()}
    return values, trainings

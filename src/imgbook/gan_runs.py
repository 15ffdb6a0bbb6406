"""The GAN chapter's comparisons: what is measured of a GAN, and the variants that its tables set side by side.

Every measure is the judge's (`judge.compare`) on 2,000 generated digits against as many real test digits (1,996 are in
the package) that neither the generator nor the judge has seen, and none of which chose anything.
"""

import jax
import numpy as np

from imgbook import gan, judge
from imgbook.data import Dataset, load

NUM_SAMPLES = {"smoke": 50, "quick": 2000, "full": 2000}  # one size: distances depend on it

# Each loss with the recipe's networks and penalty; the Wasserstein critic also with the penalty published for it.
LOSSES: dict[str, dict] = {
    "minimax": {"loss": "minimax"},
    "non-saturating": {"loss": "non_saturating"},
    "least squares": {"loss": "least_squares"},
    "hinge": {"loss": "hinge"},
    "relativistic": {"loss": "relativistic"},
    "Wasserstein": {"loss": "wasserstein"},
    "Wasserstein, gradient penalty": {
        "loss": "wasserstein",
        "penalty": "gradient",
        "penalty_weight": 10.0,
        "penalty_every": 1,
    },
}

# A fifth of the recipe's steps, so that many variants can be compared.
SHORT = {"num_steps": 1000}

# The recipe with one thing changed at a time; with BatchNorm in the discriminator the penalty has to go too.
ABLATION: dict[str, dict] = {
    "recipe": {},
    "width 8, twice the steps": {"width": 8, "num_steps": 2000},
    "width 32, half the steps": {"width": 32, "num_steps": 500},
    "no codes": {"latent_dim": 20, "num_codes": 0},
    "no hidden layer in D": {"hidden": 0},
    "neither of the two": {"latent_dim": 20, "num_codes": 0, "hidden": 0},
    "R1 and R2": {"penalty": "r1_r2", "penalty_weight": 0.5},
    "no penalty": {"penalty": "none"},
    "BatchNorm in D, no penalty": {"penalty": "none", "batch_norm": True},
    "spectral norm in D, no penalty": {"penalty": "none", "spectral_norm": True},
    "a quarter of the learning rate": {"learning_rate": 1e-3},
    "no average of weights": {"average": 0.0},
}
# Labels in place of codes.
CONDITIONAL: dict[str, dict] = {
    "conditional": {"num_classes": 10, "latent_dim": 20, "num_codes": 0}
}


def short(variants: dict[str, dict]) -> dict[str, dict]:
    """Variants with the number of steps of `SHORT`, unless they have their own."""
    return {name: {**SHORT, **changes} for name, changes in variants.items()}


def references(preset: str) -> tuple[judge.Opinion, judge.Opinion]:
    """The judge's opinion of two disjoint sets of real digits of `NUM_SAMPLES`; samples are compared with the first.

    The first are test digits. The second are training digits of the package, at preset full other official test digits
    (those that are left to the judge).
    """
    test, train = load("mnist", "test", preset).images, load("mnist", "train", preset).images
    if preset == "full":
        return judge.opinion(test[0::5]), judge.opinion(test[1::5])
    # Those of the package are sorted by class in parts, so any of them would not do.
    chosen = np.random.default_rng(0).permutation(len(train))[: len(test)]
    return judge.opinion(test), judge.opinion(train[chosen])


def measures(
    graphdefs: gan.GraphDefs,
    state: gan.GANState,
    config: gan.GANConfig,
    key: jax.Array,
    preset: str,
    real: judge.Opinion,
) -> dict[str, float]:
    """What the judge says of samples of a GAN, `judge.compare`; of a conditional one with labels drawn uniformly."""
    latent_key, label_key = jax.random.split(key)
    n, labels = NUM_SAMPLES[preset], None
    latents = jax.random.normal(latent_key, (n, config.latent_dim))
    if config.num_classes:
        labels = jax.random.randint(label_key, (n,), 0, config.num_classes)
    seen = judge.opinion(gan.sample(graphdefs, state, latents, labels))
    values = judge.compare(real, seen)
    if labels is not None:
        values["obedience"] = float((seen.logits.argmax(1) == np.asarray(labels)).mean())
    return values


def run(
    variants: dict[str, dict], dataset: Dataset, preset: str, seed: int
) -> tuple[dict[str, float], dict[str, tuple]]:
    """Train each variant, `{name: changes of the configuration}`; values and trainings as a record has them.

    Values are named "measure", or "name/measure" if there are several variants; "seconds" are those of training,
    "floor" is the Frechet distance of the two sets of real digits, "real" the share of them that is recognised.
    """
    key, (real, other) = jax.random.key(seed), references(preset)
    floor = judge.compare(real, other)
    values = {"floor": floor["frechet"], "real": floor["recognised"]}
    trainings = {}
    for name, changes in variants.items():
        changes = {k: v for k, v in changes.items() if preset != "smoke" or k != "num_steps"}
        config = gan.config_for(dataset, preset, **changes)
        graphdefs, state, history = gan.train(dataset, config, key)
        trainings[name] = state, history, config
        found = measures(graphdefs, state, config, jax.random.fold_in(key, 2), preset, real)
        prefix = f"{name}/" if len(variants) > 1 else ""
        values |= {prefix + k: v for k, v in {**found, "seconds": history.seconds}.items()}
    return values, trainings

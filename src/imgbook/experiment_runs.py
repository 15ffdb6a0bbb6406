"""The runs behind the result records: each trains what a chapter trains, with the chapter's own functions.

A run imports all it uses inside itself, and nothing of this module: a record's hash covers the run's own text and the
modules that it imports (see `imgbook.staleness`), so that a change to one chapter makes only the records stale that
depend on it. A run returns its values and its trainings by name, (state, history, config) each; the last is the
chapter's own model, whose seconds are recorded.
"""

Outcome = tuple[dict[str, float], dict[str, tuple]]  # values, trainings

# From the article's network to the fast recipe, see `imgbook.fast_runs.STAIRS`; here, where jax is not imported.
STAIRS = (
    "article",
    "schedule",
    "augmentation",
    "normalisation",
    "network",
    "initialisation",
    "alternating",
    "width",
)


def run_cnn(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the classifier and the linear baseline; test accuracies."""
    import jax

    from imgbook import cnn
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = cnn.config_for(dataset, preset), jax.random.key(seed)
    values, trainings = {}, {}
    for label, measure, model_class in (
        ("linear", "linear_accuracy", cnn.SoftmaxRegression),
        ("cnn", "accuracy", cnn.CNN),
    ):
        graphdef, state, history = cnn.train(dataset, config, key, model_class)
        trainings[label] = state, history, config
        logits = cnn.predict(graphdef, state, test.images)
        values[measure] = cnn.accuracy(logits, test.labels)
    return values, trainings


def run_concepts(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the network with one hidden layer and the linear baseline; test accuracies, and the network's test loss."""
    import jax

    from imgbook import cnn, concepts
    from imgbook.data import load

    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    config, key = concepts.config_for(dataset, preset), jax.random.key(seed)
    values, trainings = {}, {}
    for label, measure, model_class in (
        ("linear", "linear_accuracy", cnn.SoftmaxRegression),
        ("mlp", "accuracy", concepts.MLP),
    ):
        graphdef, state, history = concepts.train(dataset, config, key, model_class)
        trainings[label] = state, history, config
        logits = cnn.predict(graphdef, state, test.images)
        values[measure] = cnn.accuracy(logits, test.labels)
    values["cross_entropy"] = float(cnn.cross_entropy(logits, test.labels))
    return values, trainings


def run_gan(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the GAN; what the judge says of its samples, and of real digits."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run({"gan": {}}, load(data_name, "train", preset), preset, seed)


def run_gan_losses(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with each of six losses."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(
        gan_runs.short(gan_runs.LOSSES), load(data_name, "train", preset), preset, seed
    )


def run_gan_ablation(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with one thing changed at a time."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(
        gan_runs.short(gan_runs.ABLATION), load(data_name, "train", preset), preset, seed
    )


def run_gan_conditional(data_name: str, preset: str, seed: int) -> Outcome:
    """The recipe with labels."""
    from imgbook import gan_runs
    from imgbook.data import load

    return gan_runs.run(gan_runs.CONDITIONAL, load(data_name, "train", preset), preset, seed)


def run_gan_failures(data_name: str, preset: str, seed: int) -> Outcome:
    """The failure gallery's working GAN and its broken variants; their measures."""
    from imgbook import failure_measures

    runs = failure_measures.gallery(data_name, preset, seed)
    values = {f"{n}/{m}": v for n, run in runs.items() for m, v in run.values.items()}
    return values, {n: (run.state, run.history, run.recipe.config) for n, run in runs.items()}


def run_vae(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the VAE; its bound on the test digits, log p(x) by many samples, and the judge's score of its samples."""
    from imgbook import vae_runs

    return vae_runs.run({}, data_name, preset, seed)


def run_vae_budget(data_name: str, preset: str, seed: int, variant: str) -> Outcome:
    """The VAE of all digits with fewer steps, or with many."""
    from imgbook import vae_runs

    return vae_runs.run(vae_runs.BUDGETS[variant], data_name, preset, seed)


def run_vae_conditional(data_name: str, preset: str, seed: int) -> Outcome:
    """The VAE with labels: its bound on log p(x | label), and how many of its samples are of the digit asked for."""
    from imgbook import vae_runs

    return vae_runs.run(vae_runs.CONDITIONAL, data_name, preset, seed)


def run_vae_variants(data_name: str, preset: str, seed: int, variant: str) -> Outcome:
    """A set of VAEs to compare: weights of the divergence, collapse and its cures, variances of colour."""
    from imgbook import vae_runs

    return vae_runs.run_variants(vae_runs.VARIANTS[variant], data_name, preset, seed)


def run_flow(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the velocity field of the ring; its error against the exact one, and the share of samples near a mode.

    There is no data set (`data_name` is empty): the run draws its points.
    """
    import jax

    from imgbook import flow

    config, key = flow.config_for(preset), jax.random.key(seed)
    velocity, history = flow.train(config, key)
    errors = flow.velocity_errors(velocity, jax.random.fold_in(key, 2), 20_000, config)
    x0 = jax.random.normal(jax.random.fold_in(key, 3), (2000, 2))
    near = flow.coverage(flow.sample(velocity, x0, 100)[-1], config)["near"]
    _, state = velocity.args
    values = {"velocity_error": float(errors["error"]), "near": near}
    return values, {"flow": (state, history, config)}


def run_judge(data_name: str, preset: str, seed: int) -> Outcome:
    """Train the judge on official training digits 10,001 to 60,000, the tenth part of them set apart, which gives its
    temperature; its accuracy and confidence on the official test digits.
    """
    import jax
    import numpy as np

    from imgbook import judge, sources
    from imgbook.data import load

    config = judge.config_for(preset)
    if preset == "smoke":
        digits, test = load(data_name, "train", "smoke"), load(data_name, "test", "smoke")
        images, labels = digits.images, digits.labels
        test_images, test_labels = test.images, test.labels
    else:
        images, labels = (part[10_000:] for part in sources.official(data_name, "train"))
        test_images, test_labels = sources.official(data_name, "test")
    apart = judge.held_out(len(images))
    graphdef, state, history = judge.train(
        images[~apart], labels[~apart], config, jax.random.key(seed)
    )
    _, logits = judge.outputs(graphdef, state, images[apart])
    temperature = judge.calibrate(logits, labels[apart])
    _, logits = judge.outputs(graphdef, state, test_images)
    seen = judge.Opinion(np.zeros((len(logits), 0)), logits / temperature)
    p = seen.probabilities
    right = p.argmax(1) == test_labels
    values = {
        "test_accuracy": right.mean(),
        "temperature": temperature,
        "test_confidence": p.max(1).mean(),
        "test_cross_entropy": -np.log(p[np.arange(len(p)), test_labels]).mean(),
        "recognised": (p.max(1) > judge.CONFIDENCE).mean(),
    }
    return {k: float(v) for k, v in values.items()}, {"judge": (state, history, config)}


def run_fast(data_name: str, preset: str, seed: int, variant: str) -> Outcome:
    """The fast recipe, or the article's network as well as it goes: accuracies, seconds, validation curve."""
    from imgbook import fast_runs

    runner = {variant: fast_runs.RACE[preset][variant]}
    return fast_runs.run_all(runner, data_name, preset, seed, curves=True)


def run_fast_stair(data_name: str, preset: str, seed: int, variant: str) -> Outcome:
    """One stair between the article's network and the fast recipe."""
    from imgbook import fast_runs

    stair = fast_runs.STAIR_EPOCHS, fast_runs.staircase()[variant]
    return fast_runs.run_all({variant: stair}, data_name, preset, seed)


def run_fast_sizes(data_name: str, preset: str, seed: int) -> Outcome:
    """Both networks on a few images of each class, on more, and on all, for the same number of steps."""
    from imgbook import fast_runs

    return fast_runs.run_sizes(data_name, preset, seed)


def run_fast_long(data_name: str, preset: str, seed: int) -> Outcome:
    """The fast recipe with a wide network, for as long as an hour allows."""
    from imgbook import fast_runs

    return fast_runs.run_all({"long": fast_runs.LONG}, data_name, preset, seed, curves=True)


def run_fast_mnist(data_name: str, preset: str, seed: int) -> Outcome:
    """The fast recipe on digits."""
    from imgbook import fast_runs

    return fast_runs.run_all({"digits": fast_runs.DIGITS}, data_name, preset, seed)

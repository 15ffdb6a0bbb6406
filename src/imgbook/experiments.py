"""The runs behind the result records: each trains what a chapter trains, with the chapter's own functions.

`python -m imgbook record NAME` runs one over several seeds and writes `results/NAME.json`.
"""

import time
from collections.abc import Callable
from datetime import date

import jax
import numpy as np

import imgbook
from imgbook import cnn, concepts, flow, gan, judge, records, sources, vae, weights
from imgbook.data import Dataset, load

SAMPLES = {"smoke": 50, "quick": 2000, "full": 10_000}  # generated images a measurement is made on


def run_cnn(name: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the classifier and the linear baseline; test accuracies and the classifier's seconds of training."""
    dataset, test = load(name, "train", preset), load(name, "test", preset)
    config, key = cnn.config_for(dataset, preset), jax.random.key(seed)
    values = {}
    for label, model_class in (("linear_accuracy", cnn.SoftmaxRegression), ("accuracy", cnn.CNN)):
        graphdef, state, history = cnn.train(dataset, config, key, model_class)
        values[label] = cnn.accuracy(cnn.predict(graphdef, state, test.images), test.labels)
    return values, history.seconds


def run_concepts(name: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the network with one hidden layer and the linear baseline; test accuracies, and the network's test loss."""
    dataset, test = load(name, "train", preset), load(name, "test", preset)
    config, key = concepts.config_for(dataset, preset), jax.random.key(seed)
    values = {}
    for label, model_class in (
        ("linear_accuracy", cnn.SoftmaxRegression),
        ("accuracy", concepts.MLP),
    ):
        graphdef, state, history = concepts.train(dataset, config, key, model_class)
        logits = cnn.predict(graphdef, state, test.images)
        values[label] = cnn.accuracy(logits, test.labels)
    return {
        **values,
        "cross_entropy": float(cnn.cross_entropy(logits, test.labels)),
    }, history.seconds


def run_gan(name: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the GAN and let the judge score its samples."""
    dataset, key = load(name, "train", preset), jax.random.key(seed)
    config = gan.config_for(dataset, preset)
    graphdefs, state, history = gan.train(dataset, config, key)
    latents = jax.random.normal(jax.random.fold_in(key, 2), (SAMPLES[preset], config.latent_dim))
    scored = judge.score(gan.sample(graphdefs, state, latents))
    return {
        k: float(scored[k]) for k in ("recognised", "classes", "smallest_share")
    }, history.seconds


def run_vae(name: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the VAE; its bound on the test digits, and the judge's score of its samples."""
    dataset, test, key = (
        load(name, "train", preset),
        load(name, "test", preset),
        jax.random.key(seed),
    )
    graphdef, state, history = vae.train(dataset, vae.config_for(dataset, preset), key)
    values = vae.evaluate(graphdef, state, test.images, jax.random.fold_in(key, 2))
    samples = vae.sample(graphdef, state, jax.random.fold_in(key, 3), SAMPLES[preset])
    return {**values, "recognised": judge.score(samples)["recognised"]}, history.seconds


def run_flow(_: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the velocity field of the ring; its error against the exact one, and the share of samples near a mode."""
    config, key = flow.config_for(preset), jax.random.key(seed)
    velocity, history = flow.train(config, key)
    errors = flow.velocity_errors(velocity, jax.random.fold_in(key, 2), 20_000, config)
    x0 = jax.random.normal(jax.random.fold_in(key, 3), (2000, 2))
    near = flow.coverage(flow.sample(velocity, x0, 100)[-1], config)["near"]
    return {"velocity_error": float(errors["error"]), "near": near}, history.seconds


def run_judge(_: str, preset: str, seed: int) -> tuple[dict[str, float], float]:
    """Train the judge on official training digits 10,001 to 60,000 and write its weights into the package."""
    if preset == "smoke":
        digits, test = load("mnist", "train", "smoke"), load("mnist", "test", "smoke")
        images, labels, test_images, test_labels = (
            digits.images,
            digits.labels,
            test.images,
            test.labels,
        )
    else:
        images, labels = (part[10_000:] for part in sources.official("mnist", "train"))
        test_images, test_labels = sources.official("mnist", "test")
    others = judge.non_digits(images, len(images) // 5, seed)
    dataset = Dataset.from_arrays(
        np.concatenate([images, others]),
        np.concatenate([labels, np.full(len(others), 10)]),
        (*"0123456789", "not a digit"),
        name="mnist",
    )
    config = judge.CONFIG if preset != "smoke" else cnn.config_for(dataset, "smoke")
    graphdef, state, history = cnn.train(dataset, config, jax.random.key(seed))
    accuracy = cnn.accuracy(cnn.predict(graphdef, state, test_images), test_labels)
    if preset != "smoke":
        weights.save(
            judge.PATH,
            state.params,
            {
                "what": "classifier of MNIST digits, imgbook.cnn.CNN with imgbook.judge.CONFIG",
                "data": "official MNIST training digits 10,001 to 60,000; eleventh class: judge.non_digits of them",
                "data_hash": dataset.content_hash,
                "command": "python -m imgbook record judge",
                "seed": seed,
                "date": date.today().isoformat(),
                "test_accuracy": accuracy,
                "version": imgbook.__version__,
                "licence": "MIT (weights); data CC BY-SA 3.0",
            },
        )
        judge.load.cache_clear()
    return {"test_accuracy": accuracy}, history.seconds


EXPERIMENTS: dict[str, tuple[Callable, str]] = {
    "concepts": (run_concepts, "mnist"),
    "gan": (run_gan, "mnist"),
    "cnn-mnist": (run_cnn, "mnist"),
    "cnn-cifar10": (run_cnn, "cifar10"),
    "vae": (run_vae, "mnist"),
    "flow": (run_flow, ""),  # its points are drawn by the run
    "judge": (run_judge, "mnist"),
}


def check_name(name: str) -> None:
    """Raise ValueError if there is no experiment of that name."""
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}; allowed: {', '.join(EXPERIMENTS)}")


def record(name: str, preset: str, seeds: list[int], command: str) -> dict:
    """Run an experiment for each seed, write its record (none at preset smoke), and return the values.

    Raises:
        ValueError: unknown experiment or preset.
    """
    check_name(name)
    run, data_name = EXPERIMENTS[name]
    columns: dict[str, list[float]] = {}
    seconds = []
    for seed in seeds:
        begin = time.perf_counter()
        values, training_seconds = run(data_name, preset, seed)
        seconds.append(training_seconds)
        for key, value in values.items():
            columns.setdefault(key, []).append(value)
        print(
            f"{name}, seed {seed}: {values}, {training_seconds:.1f} s of training, "
            f"{time.perf_counter() - begin:.1f} s in all",
            flush=True,
        )
    if preset != "smoke":
        path = records.write(
            name if preset == "quick" else f"{name}-{preset}",
            command=command,
            preset=preset,
            seeds=seeds,
            seconds=seconds,
            values=columns,
            data_hash=load(data_name, "train", preset).content_hash if data_name else "no data set",
        )
        print(f"wrote {path.name}")
    return {key: np.asarray(column) for key, column in columns.items()}

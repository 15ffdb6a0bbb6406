"""Chapter 4's comparisons: the staircase from the article's network to the fast recipe, the race of the two, accuracy
against the number of images, and the long run.

Every run has the training, validation and test images of its preset (`imgbook.data.load`). Choices were made on
validation images; a run looks at the test images once, when it has ended.
"""

import jax
import numpy as np

from imgbook import fast
from imgbook.data import Dataset, load
from imgbook.fast_networks import FastConfig
from imgbook.training import TrainState

POINTS = 20  # of a validation curve
CURVE_IMAGES = 2000  # validation images that a curve is measured on

# The article's network: as the article has it, and as well as it goes.
ARTICLE = dict(
    network="article",
    widths=(32, 64, 128),
    optimizer="adam_constant",
    learning_rate=1e-3,
    label_smoothing=0.0,
    flip="none",
    shift=0,
    batch_size=64,
    logit_scale=1.0,
)
BASELINE = ARTICLE | dict(optimizer="adam", learning_rate=2e-3, flip="random", dropout=0.25)

# Both networks, (epochs, changes) at each preset.
RACE: dict[str, dict[str, tuple[float, dict]]] = {
    "smoke": {"baseline": (1, BASELINE), "fast": (1, {})},
    "quick": {"baseline": (21, BASELINE), "fast": (14, {})},
    "full": {"baseline": (10, BASELINE), "fast": (5, {})},
}

# Each stair adds to the one before; each is trained for as many epochs.
STAIR_EPOCHS = 2
STAIR_CHANGES: dict[str, dict] = {
    "article": ARTICLE,
    "schedule": dict(optimizer="adam", learning_rate=2e-3),
    "augmentation": dict(flip="random", shift=2),
    "normalisation": dict(network="article_norm", dropout=0.0),
    "network": dict(
        network="fast",
        widths=(32, 64, 128),
        whiten=False,
        dirac=False,
        optimizer="nesterov",
        learning_rate=0.25,
        label_smoothing=0.2,
        batch_size=128,
        logit_scale=1 / 9,
    ),
    "initialisation": dict(whiten=True, dirac=True),
    "alternating": dict(flip="alternating"),
    "width": dict(widths=(48, 96, 192)),
}

# As published but for the number of epochs and the batch.
LONG = (12, dict(widths=(64, 256, 256), stride=1))
NARROW = dict(widths=(32, 64, 128))
DIGITS = (3, dict(widths=(24, 48, 96)))

# Images a class, and steps that are the same for all of them.
SIZES = (50, 450, 4500)
SIZE_STEPS = {"baseline": 1200, "fast": 400}


def staircase() -> dict[str, dict]:
    """The configuration of every stair: its own changes on top of all before it."""
    found, changes = {}, {}
    for name, own in STAIR_CHANGES.items():
        changes = changes | own
        found[name] = changes
    return found


def configured(dataset: Dataset, preset: str, epochs: float, changes: dict) -> FastConfig:
    """A variant's configuration for so many epochs; at preset smoke for the few steps of that."""
    if preset == "smoke":  # no larger networks, no more steps
        kept = ("learning_rate", "widths", "batch_size", "num_steps")
        return fast.config_for(
            dataset, preset, **{k: v for k, v in changes.items() if k not in kept}
        )
    batch_size = fast.config_for(dataset, preset, **changes).batch_size
    steps = max(1, round(epochs * (len(dataset) // batch_size)))
    return fast.config_for(dataset, preset, **{"num_steps": steps, **changes})


def train_and_test(
    dataset: Dataset,
    test: Dataset,
    config: FastConfig,
    key: jax.Array,
    validation: Dataset | None = None,
) -> tuple[dict[str, float], tuple]:
    """Train a variant; what it reaches and costs, and the training.

    Values: "accuracy" on `test`, and "flipped", with the mirrored test images too, if the training images were
    mirrored; "seconds" of training; "images" seen in
    all epochs. With `validation` also "curve/NN", the accuracy on `CURVE_IMAGES` of its images after NN of `POINTS`
    parts of the steps.
    """
    curve, options = {}, {}
    if validation is not None:
        some = validation.subset(
            np.random.default_rng(0).permutation(len(validation))[:CURVE_IMAGES]
        )
        every = max(1, config.num_steps // POINTS)

        def look(step: int, state: TrainState) -> None:
            logits = fast.predict(graphdef, state, some.images)
            curve[f"curve/{step // every:02d}"] = fast.accuracy(logits, some.labels)

        graphdef, _ = fast.init(config, key)
        options = {"callback": look, "callback_every": every}
    graphdef, state, history = fast.train(dataset, config, key, **options)
    logits = fast.predict(graphdef, state, test.images)
    values = {
        "accuracy": fast.accuracy(logits, test.labels),
        "seconds": history.seconds,
        "images": config.num_steps * min(config.batch_size, len(dataset)),
        **{k: v for k, v in sorted(curve.items()) if int(k[-2:]) <= POINTS},
    }
    if config.flip != "none":
        mirrored = fast.predict(graphdef, state, test.images, flip=True)
        values["flipped"] = fast.accuracy(mirrored, test.labels)
    return values, (state, history, config)


def run_all(
    variants: dict[str, tuple[float, dict]],
    data_name: str,
    preset: str,
    seed: int,
    curves: bool = False,
) -> tuple[dict[str, float], dict[str, tuple]]:
    """Train variants, (epochs, changes) by name; values "name/measure" and trainings, as a record has them."""
    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    validation = load(data_name, "validation", preset) if curves else None
    values, trainings = {}, {}
    for name, (epochs, changes) in variants.items():
        config = configured(dataset, preset, epochs, changes)
        found, trained = train_and_test(dataset, test, config, jax.random.key(seed), validation)
        values |= {f"{name}/{measure}": value for measure, value in found.items()}
        trainings[name] = trained
    return values, trainings


def run_sizes(data_name: str, preset: str, seed: int) -> tuple[dict[str, float], dict[str, tuple]]:
    """Both networks on the first `SIZES` images of each class; values "name/size/measure" and trainings."""
    dataset, test = load(data_name, "train", preset), load(data_name, "test", preset)
    values, trainings = {}, {}
    for size in SIZES if preset != "smoke" else SIZES[:1]:
        few = first_of_each(dataset, size)
        for name, changes in (("baseline", BASELINE), ("fast", NARROW)):
            steps = {"num_steps": SIZE_STEPS[name]}
            config = configured(few, preset, 1, {**changes, **steps})
            found, trained = train_and_test(few, test, config, jax.random.key(seed))
            values |= {f"{name}/{size}/{measure}": value for measure, value in found.items()}
            trainings[f"{name}/{size}"] = trained
    return values, trainings


def first_of_each(dataset: Dataset, size: int) -> Dataset:
    """The first `size` images of each class, or all of a class that has fewer."""
    places = [np.flatnonzero(dataset.labels == c)[:size] for c in range(dataset.num_classes)]
    return dataset.subset(np.sort(np.concatenate(places)))

"""A judge of generated digits: a classifier of real digits, frozen, that no chapter's model shares anything with.

It was trained on 45,000 of the official MNIST training digits 10,001 to 60,000; the other 5,000 of them set its
temperature. The digits in the package are the first 10,000, which it has not seen. It knows only digits and must call
everything one, so what it recognises in noise and in the mean image is to be shown beside what it recognises in
samples. `python -m imgbook record judge` (needs the whole data set) trains it anew. Its features are no Inception
features: distances in them compare with nothing outside this book.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import metrics, training, weights
from imgbook.augment import random_shift
from imgbook.layers import Conv, max_pool
from imgbook.pixels import as_unit
from imgbook.training import TrainState

PATH = Path(__file__).parent / "judge.safetensors"
IMAGE_SHAPE = (28, 28, 1)
NUM_CLASSES = 10
NUM_FEATURES = 64
CONFIDENCE = 0.9  # "recognised" means: the largest calibrated probability is above this
MOST_TEMPERATURE = 100.0  # and 1 / 100 the least


@dataclass(frozen=True)
class JudgeConfig:
    """How the judge is trained. Its architecture has no choices."""

    learning_rate: float = 2e-3  # the peak of a one-cycle schedule
    dropout: float = 0.5  # of the features
    shift: int = 2  # pixels by which training images are moved
    batch_size: int = 128
    num_steps: int = 3000


def config_for(preset: str) -> JudgeConfig:
    """How the judge is trained: in one way, but for a smoke run."""
    return JudgeConfig(batch_size=32, num_steps=4) if preset == "smoke" else JudgeConfig()


class Judge(nnx.Module):
    """Four convolutions and three poolings to 64 features, and a dense layer to 10 logits."""

    def __init__(self, config: JudgeConfig, *, rngs: nnx.Rngs):
        self.conv1 = Conv(1, 32, (5, 5), padding="VALID", rngs=rngs)
        self.conv2 = Conv(32, 64, (3, 3), rngs=rngs)
        self.conv3 = Conv(64, 64, (3, 3), rngs=rngs)
        self.conv4 = Conv(64, 96, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(3 * 3 * 96, NUM_FEATURES, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)
        self.head = nnx.Linear(NUM_FEATURES, NUM_CLASSES, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """Images `[N, 28, 28, 1]` in [-1, 1] to the penultimate layer `[N, 64]`, in (-1, 1).

        Bounded, because with ReLU the length of a feature vector says how sure the judge is, and
        distances would see little else.
        """
        pool = partial(max_pool, window_shape=(2, 2), strides=(2, 2))
        x = pool(nnx.relu(self.conv1(x)))  # [N, 12, 12, 32]
        x = pool(nnx.relu(self.conv3(nnx.relu(self.conv2(x)))))  # [N, 6, 6, 64]
        x = pool(nnx.relu(self.conv4(x)))  # [N, 3, 3, 96]
        return jnp.tanh(self.dense(x.reshape(len(x), -1)))  # [N, 3, 3, 96] -> [N, 864] -> [N, 64]

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits `[N, 10]`, not calibrated; with a key, dropout is on (training)."""
        h = self.dropout(self.features(x), deterministic=dropout_key is None, rngs=dropout_key)
        return self.head(h)


def as_input(images: jax.Array) -> jax.Array:
    """uint8 pixels to floats in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1


# --- training ---------------------------------------------------------------------------------------------------


def optimizer(config: JudgeConfig) -> optax.GradientTransformation:
    """Adam under a one-cycle schedule."""
    schedule = optax.cosine_onecycle_schedule(config.num_steps, config.learning_rate, pct_start=0.3)
    return optax.adam(schedule)


def init(config: JudgeConfig, key: jax.Array) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh judge: its structure and its training state."""
    model_key, run_key = jax.random.split(key)
    return training.init_state(Judge(config, rngs=nnx.Rngs(model_key)), optimizer(config), run_key)


def make_train_step(graphdef: nnx.GraphDef, config: JudgeConfig) -> Callable:
    """The training step `step(state, (images, labels)) -> (state, metrics)`; images uint8 `[N, 28, 28, 1]`."""
    tx = optimizer(config)

    def loss_fn(params, stats, images, labels, dropout_key):
        logits = nnx.merge(graphdef, params, stats)(images, dropout_key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels = batch
        shift_key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        images = random_shift(as_input(images), shift_key, config.shift)
        loss, grads = jax.value_and_grad(loss_fn)(
            state.params, state.stats, images, labels, dropout_key
        )
        return state.updated(grads, tx), {"loss": loss}

    return step


def train(
    images: np.ndarray, labels: np.ndarray, config: JudgeConfig, key: jax.Array
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Train a judge on digits uint8 `[N, 28, 28, 1]` with labels 0..9."""
    graphdef, state = init(config, jax.random.fold_in(key, 0))
    stream = training.batches((images, labels), config.batch_size, jax.random.fold_in(key, 1))
    step = make_train_step(graphdef, config)
    state, history = training.fit(state, step, stream, config.num_steps)
    return graphdef, state, history


def held_out(count: int) -> np.ndarray:
    """A mask `[count]` of the images that only calibrate: each tenth."""
    return np.arange(count) % 10 == 9


def calibrate(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T in [0.01, 100] that makes the mean of -log softmax(logits / T)[label] least (Guo et al. 2017).

    logits `[N, K]`, labels `[N]`. The loss is convex in 1 / T, so its slope there has one zero, found by bisection. The
    bounds are for logits that tell nothing of the labels, or all: of those ever larger or smaller T would be better.
    """
    logits, (low, high) = np.asarray(logits, np.float64), (1 / MOST_TEMPERATURE, MOST_TEMPERATURE)
    right = logits[np.arange(len(labels)), labels].mean()
    for _ in range(60):  # to the last digits of float64
        inverse = np.sqrt(low * high)
        expected = (_softmax(inverse * logits) * logits).sum(1).mean()
        low, high = (inverse, high) if expected < right else (low, inverse)
    return float(1 / inverse)


def _softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


# --- judging ----------------------------------------------------------------------------------------------------


@cache
def load() -> tuple[nnx.GraphDef, TrainState, dict]:
    """The judge: (structure, state, description). The description says how it was made and how well it does.

    Raises:
        FileNotFoundError: one of its two files is missing. ValueError: one is damaged.
    """
    graphdef, state = init(JudgeConfig(), jax.random.key(0))
    params, description = weights.load(PATH, state.params)
    return graphdef, state._replace(params=params), description


@partial(jax.jit, static_argnums=0)
def _outputs(
    graphdef: nnx.GraphDef, params: nnx.State, stats: nnx.State, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    model = nnx.merge(graphdef, params, stats)
    features = model.features(as_input(images))
    return features, model.head(features)


def outputs(
    graphdef: nnx.GraphDef, state: TrainState, images: np.ndarray, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """Features `[N, 64]` and logits `[N, 10]` (not calibrated) of uint8 images `[N, 28, 28, 1]`."""
    parts = [
        _outputs(graphdef, state.params, state.stats, images[i : i + batch_size])
        for i in range(0, len(images), batch_size)
    ]
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features, logits


class Opinion(NamedTuple):
    """What the judge sees in images: features `[N, 64]`, in (-1, 1), and calibrated logits `[N, 10]`."""

    features: np.ndarray
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Calibrated, of the ten digits, `[N, 10]`."""
        return _softmax(self.logits.astype(np.float64))


def opinion(images: np.ndarray) -> Opinion:
    """What the judge sees in images `[N, 28, 28, 1]`, uint8 or in [0, 1].

    Raises:
        ValueError: another shape, or pixels out of range.
    """
    images = np.rint(as_unit(images) * 255).astype(np.uint8)
    if images.shape[1:] != IMAGE_SHAPE:
        raise ValueError(
            f"images have shape {images.shape[1:]}; the judge knows digits of {IMAGE_SHAPE}"
        )
    graphdef, state, description = load()
    features, logits = outputs(graphdef, state, images)
    return Opinion(features, logits / description["result"]["temperature"])


def probabilities(images: np.ndarray) -> np.ndarray:
    """Calibrated probabilities `[N, 10]` of the digits. Arguments and errors as `opinion`."""
    return opinion(images).probabilities


def score(images: np.ndarray) -> dict[str, float | np.ndarray]:
    """How digit-like images `[N, 28, 28, 1]` are, and how varied: `summary` of the judge's opinion; errors as there."""
    return summary(opinion(images))


def summary(seen: Opinion) -> dict[str, float | np.ndarray]:
    """How digit-like a set of images is, and how varied.

    recognised: share of images to which the judge gives a digit a probability above 0.9, in [0, 1].
    class_shares: `[10]`, the shares of the digits among the recognised images (zeros if none is). smallest_share:
    the smallest of them times ten, so that 1 is balance and 0 a lost class. classes: how many occur.
    """
    p = seen.probabilities
    recognised = p.max(axis=1) > CONFIDENCE
    counts = np.bincount(p[recognised].argmax(axis=1), minlength=p.shape[1])
    shares = counts / max(1, counts.sum())
    return {
        "recognised": float(recognised.mean()),
        "class_shares": shares,
        "smallest_share": float(shares.min() * len(shares)),
        "classes": int((counts > 0).sum()),
    }


def compare(real: Opinion, fake: Opinion) -> dict[str, float]:
    """Every measure of generated images against real ones, by name; n and m are their numbers.

    recognised: as in `summary`. frechet: squared Frechet distance of the features; kernel, kernel_error: unbiased
    kernel distance and its standard error. precision, recall: of 3-nearest-neighbour manifolds of the features.
    smallest_share, largest_share: the extreme ratios of a digit's share among the recognised images to its share
    among the recognised real ones. variation: half the sum of those shares' differences. classifier_score: the
    formula of the Inception score on calibrated logits, 1 to 10. Errors as in `imgbook.metrics`.
    """
    here, there = summary(fake), summary(real)
    shares, reference = here["class_shares"], there["class_shares"]
    ratios = shares / np.maximum(reference, 1 / len(real.logits))  # a class that is not in `real`
    kernel, error = metrics.kernel_distance(real.features, fake.features)
    precision, recall = metrics.precision_recall(real=real.features, fake=fake.features)
    return {
        "recognised": here["recognised"],
        "frechet": metrics.frechet_distance(real.features, fake.features),
        "kernel": kernel,
        "kernel_error": error,
        "precision": precision,
        "recall": recall,
        "smallest_share": float(ratios.min()),
        "largest_share": float(ratios.max()),
        "variation": float(np.abs(shares - reference).sum() / 2),
        "classifier_score": metrics.classifier_score(fake.logits),
    }

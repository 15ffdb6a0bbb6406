"""Chapter 4: a convolutional classifier, its loss, training step and evaluation, and a
linear baseline.

The rest of the chapter can be had from here too: `conv_output_size`, `grad_cam`, ..., see
`ELSEWHERE`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import presets, training
from imgbook.augment import random_flip, random_shift
from imgbook.data import Dataset
from imgbook.layers import Conv, max_pool
from imgbook.training import TrainState

# Functions of the chapter that train nothing, by module. They are imported when they are asked for, so
# that what a training depends on, and its record with it, is only what trains.
ELSEWHERE = {
    "conv_output_size": "cnn_arithmetic",
    "conv_transpose_output_size": "cnn_arithmetic",
    "receptive_field": "cnn_arithmetic",
    "count_flops": "cnn_costs",
    "count_parameters": "cnn_costs",
    "layer_costs": "cnn_costs",
    "grad_cam": "cnn_inside",
    "saliency": "cnn_inside",
}


def __getattr__(name: str) -> Any:
    if name not in ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"imgbook.{ELSEWHERE[name]}"), name)


@dataclass(frozen=True)
class CNNConfig:
    """Hyperparameters of the classifier. The defaults are the article's network on colour
    images.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    num_classes: int = 10
    widths: tuple[int, ...] = (
        32,
        64,
        128,
    )  # channels of the 3 x 3 convolutions, each followed by 2 x 2 pooling
    hidden: int = 128
    dropout: float = 0.5
    flip: bool = True  # mirror half of the training images: right for photographs, wrong for digits
    shift: int = 0  # move training images by up to this many pixels: right for digits, which are centred by hand
    learning_rate: float = 2e-3  # the peak of a one-cycle schedule
    batch_size: int = 64
    num_steps: int = 1500


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> CNNConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields."""
    sizes = dict(image_shape=dataset.image_shape, num_classes=dataset.num_classes)
    if dataset.image_shape[-1] == 1:
        sizes.update(flip=False, shift=1, num_steps=1500)
    steps = {"smoke": dict(num_steps=4, batch_size=32), "quick": {}, "full": dict(num_steps=7000)}
    return replace(CNNConfig(), **{**sizes, **steps[presets.current(preset)], **changes})


class CNN(nnx.Module):
    """Blocks of 3 x 3 VALID convolution, ReLU and 2 x 2 max pooling; then two dense layers
    with dropout between.
    """

    def __init__(self, config: CNNConfig, *, rngs: nnx.Rngs):
        height, width, channels = self.image_shape = tuple(config.image_shape)
        convs = []
        for features in config.widths:
            convs.append(Conv(channels, features, (3, 3), padding="VALID", rngs=rngs))
            height, width, channels = (height - 2) // 2, (width - 2) // 2, features
            if min(height, width) < 1:
                raise ValueError(
                    f"images of {config.image_shape[:2]} pixels are too small for {len(config.widths)} "
                    "blocks; give fewer widths or larger images"
                )
        self.convs = nnx.Sequential(*convs)
        self.dense = nnx.Linear(height * width * channels, config.hidden, rngs=rngs)
        self.dropout = nnx.Dropout(config.dropout)
        self.head = nnx.Linear(config.hidden, config.num_classes, rngs=rngs)

    def features(self, x: jax.Array) -> jax.Array:
        """The penultimate layer: `x` `[N, H, W, C]`, standardised, to `[N, hidden]`."""
        check_images(x, self.image_shape)
        for conv in self.convs.layers:
            x = max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)  # [N, h, w, c] -> [N, h * w * c]
        return nnx.relu(self.dense(x))

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits `[N, num_classes]`; with a key, dropout is on (training), without it is off
        (evaluation).
        """
        h = self.dropout(self.features(x), deterministic=dropout_key is None, rngs=dropout_key)
        return self.head(h)


class SoftmaxRegression(nnx.Module):
    """The linear baseline: one dense layer from pixels to logits."""

    def __init__(self, config: CNNConfig, *, rngs: nnx.Rngs):
        self.head = nnx.Linear(int(np.prod(config.image_shape)), config.num_classes, rngs=rngs)

    def __call__(self, x: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        return self.head(x.reshape(len(x), -1))  # [N, H, W, C] -> [N, H * W * C]


def check_images(x: jax.Array, image_shape: tuple[int, int, int]) -> None:
    """Raise ValueError if `x` is not a batch of images of that shape."""
    if x.shape[1:] != image_shape:
        raise ValueError(
            f"images {x.shape}; this network takes [N, {', '.join(map(str, image_shape))}]"
        )


def standardise(images: jax.Array) -> jax.Array:
    """uint8 pixels to floats of about zero mean and unit spread: (x / 255 - 1/2) / (1/4)."""
    return images.astype(jnp.float32) / 63.75 - 2.0


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean of -log softmax(logits)[label] in nats; logits `[N, K]`, labels `[N]`; scalar."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def optimizer(config: CNNConfig) -> optax.GradientTransformation:
    """Adam under a one-cycle schedule: up to the peak over the first 30 % of the steps, then
    down to nearly zero.
    """
    schedule = optax.cosine_onecycle_schedule(config.num_steps, config.learning_rate, pct_start=0.3)
    return optax.adam(schedule)


def init(
    config: CNNConfig, key: jax.Array, model_class: type[nnx.Module] = CNN
) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh network: its structure and its training state."""
    model_key, run_key = jax.random.split(key)
    return training.init_state(
        model_class(config, rngs=nnx.Rngs(model_key)), optimizer(config), run_key
    )


def make_train_step(graphdef: nnx.GraphDef, config: CNNConfig) -> Callable:
    """The training step `step(state, (images, labels)) -> (state, metrics)`; images uint8
    `[N, H, W, C]`.
    """
    tx = optimizer(config)

    def loss_fn(params, stats, images, labels, key):
        model = nnx.merge(graphdef, params, stats)
        logits = model(images, dropout_key=key)
        accuracy = (logits.argmax(-1) == labels).mean()
        return cross_entropy(logits, labels), accuracy

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels = batch
        flip_key, shift_key, dropout_key = jax.random.split(
            jax.random.fold_in(state.key, state.step), 3
        )
        images = standardise(images)
        if config.flip:
            images = random_flip(images, flip_key)
        if config.shift:
            images = random_shift(images, shift_key, config.shift)
        (loss, accuracy), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, images, labels, dropout_key
        )
        return state.updated(grads, tx), {"loss": loss, "accuracy": accuracy}

    return step


def predict(
    graphdef: nnx.GraphDef, state: TrainState, images: np.ndarray, batch_size: int = 500
) -> np.ndarray:
    """Logits float32 `[N, num_classes]` of uint8 images `[N, H, W, C]`, in evaluation mode."""
    logits = _logits_function(graphdef)
    return np.concatenate(
        [
            logits(state.params, state.stats, images[i : i + batch_size])
            for i in range(0, len(images), batch_size)
        ]
    )


def _logits_function(graphdef: nnx.GraphDef) -> Callable:
    @jax.jit
    def logits(params, stats, images):
        return nnx.merge(graphdef, params, stats)(standardise(images))

    return logits


def check_fits(dataset: Dataset, config: Any) -> None:
    """Raise ValueError if a network of that configuration does not take the data set's images, or
    does not have as many classes.
    """
    for name in ("image_shape", "num_classes"):
        found, expected = getattr(dataset, name), getattr(config, name)
        if found != expected:
            raise ValueError(
                f"the data set {dataset.name!r} has {name} {found}, the configuration {expected}; "
                "make it with config_for(dataset)"
            )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose largest logit is the label's, in [0, 1].

    Raises:
        ValueError: logits are not `[N, K]` with one row for each label, or a label is not in
            0..K-1.
    """
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(
            f"logits {logits.shape} and labels {labels.shape}; expected [N, K] and [N]"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(
            f"labels range over {labels.min()}..{labels.max()}; allowed with logits {logits.shape} "
            f"are 0..{logits.shape[1] - 1}"
        )
    return float((logits.argmax(-1) == labels).mean())


def train(
    dataset: Dataset,
    config: CNNConfig,
    key: jax.Array,
    model_class: type[nnx.Module] = CNN,
    progress: bool = True,
    make_step: Callable[[nnx.GraphDef, CNNConfig], Callable] = make_train_step,
    **fit_options: object,
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Initialise and train a classifier on a data set: what the chapter's training cell
    does.

    `make_step` makes the training step, for a classifier that is trained in another way;
    `fit_options` go to `training.fit`. Raises ValueError if data set and configuration do not fit.
    """
    check_fits(dataset, config)
    graphdef, state = init(config, jax.random.fold_in(key, 0), model_class)
    stream = training.batches(
        (dataset.images, dataset.labels), config.batch_size, jax.random.fold_in(key, 1)
    )
    step = make_step(graphdef, config)
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return graphdef, state, history

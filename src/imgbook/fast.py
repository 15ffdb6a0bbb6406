"""Chapter 4, the fast recipe: the optimiser, the training step, prediction with mirrored images.

The recipe is Jordan's (2024), made smaller for a processor. Images are uint8 until `cnn.standardise`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from imgbook import presets, training
from imgbook.cnn import accuracy, check_fits, standardise  # noqa: F401 - `fast.accuracy`
from imgbook.data import Dataset
from imgbook.fast_augment import augment
from imgbook.fast_networks import NETWORKS, FastConfig
from imgbook.training import TrainState

WHITENING_IMAGES = 2000  # the first so many training images give the first layer's kernel


def config_for(dataset: Dataset, preset: str | None = None, **changes: object) -> FastConfig:
    """Hyperparameters for a data set at a preset; `changes` override single fields.

    Grey images are digits, or like them: they are not mirrored.
    """
    fields = dict(image_shape=dataset.image_shape, num_classes=dataset.num_classes)
    if dataset.image_shape[-1] == 1:
        fields.update(flip="none")
    steps = {
        "smoke": dict(num_steps=4, batch_size=32, widths=(8, 8)),
        "quick": dict(num_steps=490),
        "full": dict(widths=(64, 128, 256), num_steps=1755),
    }
    return replace(FastConfig(), **{**fields, **steps[presets.current(preset)], **changes})


# --- training ---------------------------------------------------------------------------------------------------


def schedule(config: FastConfig) -> optax.Schedule:
    """The learning rate by step: from 0.2 of its peak up to it over 23 % of the steps, then down to 0.07 of it."""
    if config.optimizer == "adam_constant":
        return optax.constant_schedule(config.learning_rate)
    if config.optimizer == "adam":
        return optax.cosine_onecycle_schedule(config.num_steps, config.learning_rate, pct_start=0.3)
    peak, rise = config.learning_rate, max(1, round(0.23 * config.num_steps))
    return optax.join_schedules(
        [
            optax.linear_schedule(0.2 * peak, peak, rise),
            optax.linear_schedule(peak, 0.07 * peak, max(1, config.num_steps - rise)),
        ],
        [rise],
    )


def optimizer(config: FastConfig) -> optax.GradientTransformation:
    """SGD with Nesterov momentum under a triangular schedule, biases faster and kernels decaying; or Adam."""
    if config.optimizer != "nesterov":
        return optax.adam(schedule(config))
    kernels = partial(jax.tree.map, lambda p: p.ndim > 1)
    faster = optax.stateless(
        lambda updates, _: jax.tree.map(
            lambda u: u if u.ndim > 1 else config.bias_rate * u, updates
        )
    )
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        faster,
        optax.sgd(schedule(config), momentum=config.momentum, nesterov=True),
    )


def init(
    config: FastConfig, key: jax.Array, images: np.ndarray | None = None
) -> tuple[nnx.GraphDef, TrainState]:
    """A fresh network: its structure and its training state.

    images: uint8 training images `[N, H, W, C]`, of which the first layer is made; without any it stays random.
    """
    model_key, run_key = jax.random.split(key)
    if images is not None:
        images = np.asarray(standardise(jnp.asarray(images[:WHITENING_IMAGES])))
    model = NETWORKS[config.network](config, images, rngs=nnx.Rngs(model_key))
    return training.init_state(model, optimizer(config), run_key)


def smoothed_cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float) -> jax.Array:
    """Mean cross-entropy in nats against 1 - smoothing on the label and smoothing / K on each of the K classes.

    logits `[N, K]`, labels `[N]`; Szegedy et al. (2016), section 7.
    """
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()


def make_train_step(graphdef: nnx.GraphDef, config: FastConfig, steps_an_epoch: int) -> Callable:
    """The training step `step(state, (images, labels, indices)) -> (state, metrics)`; images uint8 `[N, H, W, C]`."""
    tx = optimizer(config)

    def loss_fn(params, stats, images, labels, key):
        stats = jax.tree.map(lambda a: a, stats)  # a copy, which Flax may update
        model = nnx.merge(graphdef, params, stats)
        model.train()
        logits = model(images, dropout_key=key)
        loss = smoothed_cross_entropy(logits, labels, config.label_smoothing)
        right = (logits.argmax(-1) == labels).mean()
        return loss, (right, nnx.state(model, nnx.Not(nnx.Param)))

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        images, labels, indices = batch
        key, dropout_key = jax.random.split(jax.random.fold_in(state.key, state.step))
        epoch = state.step // steps_an_epoch
        images = augment(standardise(images), indices, epoch, key, config)
        (loss, (right, stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, images, labels, dropout_key
        )
        return state.updated(grads, tx, stats=stats), {"loss": loss, "accuracy": right}

    return step


def train(
    dataset: Dataset,
    config: FastConfig,
    key: jax.Array,
    progress: bool = True,
    **fit_options: object,
) -> tuple[nnx.GraphDef, TrainState, training.History]:
    """Train by the recipe; `fit_options` go to `training.fit`.

    Raises ValueError if data set and configuration do not fit.
    """
    check_fits(dataset, config)
    images, labels = dataset.images, dataset.labels
    graphdef, state = init(config, jax.random.fold_in(key, 0), images)
    arrays = (images, labels, np.arange(len(labels), dtype=np.int32))
    batch_size = min(config.batch_size, len(labels))
    stream = training.batches(arrays, batch_size, jax.random.fold_in(key, 1))
    step = make_train_step(graphdef, config, len(labels) // batch_size)
    state, history = training.fit(
        state, step, stream, config.num_steps, progress=progress, **fit_options
    )
    return graphdef, state, history


# --- prediction -------------------------------------------------------------------------------------------------


def predict(
    graphdef: nnx.GraphDef,
    state: TrainState,
    images: np.ndarray,
    *,
    flip: bool = False,
    batch_size: int = 500,
) -> np.ndarray:
    """Logits float32 `[N, K]` of uint8 images `[N, H, W, C]`, in evaluation mode.

    With `flip` they are the mean of an image's and its mirror image's.
    """
    logits = _logits_function(graphdef)
    found = []
    for i in range(0, len(images), batch_size):
        batch = images[i : i + batch_size]
        found.append(np.asarray(logits(state.params, state.stats, batch)))
        if flip:
            mirrored = logits(state.params, state.stats, batch[:, :, ::-1])
            found[-1] = (found[-1] + np.asarray(mirrored)) / 2
    return np.concatenate(found)


def _logits_function(graphdef: nnx.GraphDef) -> Callable:
    @jax.jit
    def logits(params, stats, images):
        model = nnx.merge(graphdef, params, stats)
        model.eval()
        return model(standardise(images))

    return logits

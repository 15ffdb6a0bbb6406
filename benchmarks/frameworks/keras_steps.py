"""The three training steps in Keras on TensorFlow: a custom step in `tf.function`, plain and compiled by XLA.

What is done for Keras, beside what its users write anyway: one `tf.function` holds the whole step, with the gathering
of the batch, so that Python is entered once a step; pixels stay uint8 until they are there; losses are TensorFlow's
fused ones; the discriminator's gradients are not computed in the generator's turn; `keras_xla` is the same function
with `jit_compile=True`, as `Model.compile` asks for by itself.
"""

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from frameworks import work

Tensors = dict[str, tf.Tensor] | None


def cnn() -> dict[str, keras.Model]:
    """The CNN in two halves; what is between them is dropped out in the loss."""
    blocks = [keras.Input((32, 32, 3))]
    for n, channels in enumerate((32, 64, 128), 1):
        blocks.append(layers.Conv2D(channels, 3, activation="relu", name=f"conv{n}"))
        blocks.append(layers.MaxPooling2D())
    dense = layers.Dense(128, activation="relu", name="dense")
    features = keras.Sequential([*blocks, layers.Flatten(), dense])
    head = keras.Sequential([keras.Input((128,)), layers.Dense(10, name="head")])
    return {"": keras.Sequential([features, layers.Dropout(0.5), head])}


def batch_norm(name: str) -> layers.Layer:
    momentum, epsilon = work.NORM_MOMENTUM, work.NORM_EPSILON
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)


def gan() -> dict[str, keras.Model]:
    four = dict(kernel_size=4, strides=2, padding="same")
    generator = [
        keras.Input((100,)),
        layers.Dense(6272, use_bias=False, name="dense"),
        layers.Reshape((7, 7, 128)),
        batch_norm("norm1"),
        layers.ReLU(),
        layers.Conv2DTranspose(64, **four, use_bias=False, name="up1"),
        batch_norm("norm2"),
        layers.ReLU(),
        layers.Conv2DTranspose(1, **four, activation="tanh", name="up2"),
    ]
    discriminator = [
        keras.Input((28, 28, 1)),
        layers.Conv2D(64, **four, name="down1"),
        layers.LeakyReLU(negative_slope=work.SLOPE),
        layers.Conv2D(128, **four, use_bias=False, name="down2"),
        batch_norm("norm2"),
        layers.LeakyReLU(negative_slope=work.SLOPE),
        layers.Flatten(),
        layers.Dense(1, name="dense"),
        layers.Reshape(()),
    ]
    return {"g.": keras.Sequential(generator), "d.": keras.Sequential(discriminator)}


def vae() -> dict[str, keras.Model]:
    x, latents = keras.Input((784,)), keras.Input((20,))
    h = layers.Dense(500, activation="relu", name="hidden")(x)
    mean, logvar = layers.Dense(20, name="mean")(h), layers.Dense(20, name="logvar")(h)
    z = mean + keras.ops.exp(logvar / 2) * latents
    logits = layers.Dense(784, name="logits")(layers.Dense(500, activation="relu", name="up")(z))
    return {"": keras.Model([x, latents], [logits, mean, logvar])}


def find_layer(net: keras.Model, name: str) -> layers.Layer | None:
    """The layer of that name in a network or in the networks that it is made of."""
    for layer in net.layers:
        found = find_layer(layer, name) if isinstance(layer, keras.Model) else layer
        if found is not None and found.name == name:
            return found
    return None


def keras_weight(name: str, array: np.ndarray) -> np.ndarray:
    """A weight of `work.weights` as Keras has it: transposed convolutions turned around, HWIO -> HWOI."""
    turned = ".up" in name and array.ndim == 4
    return array[::-1, ::-1].transpose(0, 1, 3, 2) if turned else array


def load(net: keras.Model, model: str, prefix: str) -> None:
    """The first weights into a network."""
    for name, array in work.weights(model).items():
        if name.startswith(prefix):
            layer, kind = name.removeprefix(prefix).split(".")
            attribute = "gamma" if kind == "scale" else "beta" if "norm" in layer else kind
            getattr(find_layer(net, layer), attribute).assign(keras_weight(name, array))


class Runner:
    """One model's training step; see `worker.Runner`."""

    def __init__(self, model: str, variant: str, arrays: dict[str, np.ndarray], batch_size: int):
        self.model, self.batch_size, self.steps = model, batch_size, 0
        images = arrays["images"]
        data = (images.reshape(len(images), -1) if model == "vae" else images,)
        self.data = [tf.constant(a) for a in (*data, *([arrays["labels"]] * (model == "cnn")))]
        self.nets = {"cnn": cnn, "gan": gan, "vae": vae}[model]()
        self.optimizers = {
            prefix: keras.optimizers.Adam(
                work.LEARNING_RATES[model], work.BETA1[model], work.BETA2, work.EPSILON
            )
            for prefix in self.nets
        }
        for prefix, optimizer in self.optimizers.items():
            optimizer.build(self.nets[prefix].trainable_variables)
        self.fresh = {p: [v.numpy() for v in o.variables] for p, o in self.optimizers.items()}
        xla = variant == "keras_xla"
        both = self.gan_step if model == "gan" else self.one_step
        self.program = tf.function(both, jit_compile=xla)
        self.reset()

    def reset(self) -> None:
        """The first weights, Adam without memory, the first batch."""
        self.steps = 0
        for prefix, net in self.nets.items():
            load(net, self.model, prefix)
            for variable, value in zip(
                self.optimizers[prefix].variables, self.fresh[prefix], strict=True
            ):
                variable.assign(value)

    def loss(self, batch: list[tf.Tensor], noise: Tensors) -> tf.Tensor:
        net = self.nets[""]
        if self.model == "vae":
            grey = tf.cast(batch[0], tf.float32) / 255
            levels = noise["levels"] if noise else tf.random.uniform(grey.shape)
            latents = noise["latents"] if noise else tf.random.normal((self.batch_size, 20))
            x = tf.cast(levels < grey, tf.float32)
            logits, mean, logvar = net([x, latents], training=True)
            nll = tf.nn.sigmoid_cross_entropy_with_logits(x, logits)
            kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(logvar) - 1 - logvar, -1)
            return tf.reduce_mean(tf.reduce_sum(nll, -1) + kl)
        x = tf.cast(batch[0], tf.float32) / 63.75 - 2.0
        features, dropout, head = net.layers
        h = features(x)
        h = h * noise["keep"] * 2 if noise else dropout(h, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch[1], head(h))
        return tf.reduce_mean(losses)

    def turn(self, prefix: str, grads: list[tf.Tensor], update: bool) -> tf.Tensor:
        """Update one network; returns the gradient's norm."""
        if update:
            self.optimizers[prefix].apply(grads, self.nets[prefix].trainable_variables)
            return tf.constant(0.0)
        return tf.linalg.global_norm(grads)

    def one_step(self, rows: tf.Tensor, noise: Tensors, update: bool) -> tuple[list, list]:
        batch = [tf.gather(array, rows) for array in self.data]
        with tf.GradientTape() as tape:
            loss = self.loss(batch, noise)
        grads = tape.gradient(loss, self.nets[""].trainable_variables)
        return [loss], [self.turn("", grads, update)]

    def gan_step(self, rows: tf.Tensor, noise: Tensors, update: bool) -> tuple[list, list]:
        real = tf.cast(tf.gather(self.data[0], rows), tf.float32) / 127.5 - 1.0
        latents = noise["latents"] if noise else tf.random.normal((self.batch_size, 100))
        g, d = self.nets["g."], self.nets["d."]
        with tf.GradientTape() as g_tape:
            fake = g(latents, training=True)
        with tf.GradientTape() as tape:
            logits = d(real, training=True), d(tf.stop_gradient(fake), training=True)
            d_loss = tf.reduce_mean(tf.nn.softplus(-logits[0])) + tf.reduce_mean(
                tf.nn.softplus(logits[1])
            )
        norms = [self.turn("d.", tape.gradient(d_loss, d.trainable_variables), update)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fake)
            g_loss = tf.reduce_mean(tf.nn.softplus(-d(fake, training=True)))
        by_fake = tape.gradient(g_loss, fake)
        grads = g_tape.gradient(fake, g.trainable_variables, output_gradients=by_fake)
        norms.append(self.turn("g.", grads, update))
        return [d_loss, g_loss], norms

    def step(self, rows: np.ndarray, noise: dict | None, update: bool) -> tuple[list, list]:
        """One step: losses, and the gradients' norms if nothing is updated."""
        given = {name: tf.constant(array) for name, array in noise.items()} if noise else None
        return self.program(tf.constant(rows), given, update)

    def run(self, n: int) -> None:
        for i in range(self.steps, self.steps + n):
            rows = work.rows(len(self.data[0]), self.batch_size, i)
            losses, _ = self.step(rows, None, True)
        losses[-1].numpy()
        self.steps += n


def product(a: np.ndarray) -> Callable[[], object]:
    """A function that multiplies a matrix by itself and has finished when it returns."""
    matrix = tf.constant(a)
    multiply = tf.function(tf.linalg.matmul)
    return lambda: multiply(matrix, matrix)  # outside of a graph TensorFlow waits for it

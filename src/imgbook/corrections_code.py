"""The corrections to the article, proofs about its code: each runs what goes wrong and says what comes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from imgbook import data, gan, records, vae
from imgbook.cnn_arithmetic import conv_transpose_output_size
from imgbook.corrections import Proof
from imgbook.gan_losses import generator_loss
from imgbook.gan_networks import GANConfig, Generator


def message(error: Exception) -> str:
    """Kind and first sentence of an error, in at most 150 characters."""
    return f"{type(error).__name__}: {error}".split("\n")[0][:150]


# --- the GAN's ------------------------------------------------------------------------------------------------


def reshape_fails() -> Proof:
    """2,048 numbers an image do not fill 2 x 2 x 256 places."""
    try:
        jnp.zeros((64, 2048)).reshape(64, 2, 2, 256)
    except (TypeError, ValueError) as error:
        return Proof({"raised": message(error)}, holds=2 * 2 * 256 != 2048)
    return Proof({"raised": "nothing"}, holds=False)


def final_size() -> Proof:
    """Three transposed convolutions from 2 x 2 places, strides 1, 2 and 2, and what digits would need."""
    sides = [2]
    for stride in (1, 2, 2):
        sides.append(conv_transpose_output_size(sides[-1], 5, stride))
    needed = [7]
    for stride in (1, 2, 2):
        needed.append(conv_transpose_output_size(needed[-1], 5, stride))
    facts = {"sides from 2": sides, "sides from 7": needed, "sides of a digit": 28}
    return Proof(facts, sides[-1] == 8 and needed[-1] == 28)


def range_gives_it_away() -> Proof:
    """Data in [0, 1] beside a generator that ends in tanh: the sign of one pixel tells them apart."""
    real = data.load("mnist", "test", "smoke").images[:100] / 255
    generator = Generator(GANConfig(width=4, num_codes=0), rngs=nnx.Rngs(0))
    fake = np.asarray(generator(jax.random.normal(jax.random.key(0), (100, 52))))
    negative = [float((images.reshape(100, -1).min(1) < 0).mean()) for images in (real, fake)]
    facts = {
        "digits with a negative pixel": negative[0],
        "samples with a negative pixel": negative[1],
    }
    return Proof(facts, negative == [0.0, 1.0])


def loss_on_real_images() -> Proof:
    """The generator's gradient of its loss, computed on real images and on its own."""
    config = GANConfig(width=4, hidden=0, num_codes=0)
    graphdefs, state = gan.init(config, jax.random.key(0))
    real = jnp.asarray(data.load("mnist", "test", "smoke").images[:16] / 127.5 - 1, jnp.float32)
    latents = jax.random.normal(jax.random.key(1), (16, config.latent_dim))
    judge = state.discriminator

    def loss(params: nnx.State, on_real: bool) -> jax.Array:
        fake, _ = gan.apply(graphdefs.generator, params, state.generator.stats, latents)
        images = real if on_real else fake
        logits, _ = gan.apply(graphdefs.discriminator, judge.params, judge.stats, images)
        return generator_loss(logits)

    slope = jax.jit(jax.grad(loss), static_argnums=1)
    slopes = (ravel_pytree(slope(state.generator.params, on))[0] for on in (True, False))
    norms = [float(jnp.linalg.norm(gradient)) for gradient in slopes]
    return Proof(
        dict(zip(("norm, on real images", "norm, on its own"), norms, strict=True)),
        norms[0] == 0 < norms[1],
    )


def one_backward_pass() -> Proof:
    """The slope, by a sample's logit, of the generator's loss alone and of the sum of both players' losses."""
    logits = jnp.array([-4.0, 0.0, 4.0])
    own = jax.vmap(jax.grad(lambda a: jax.nn.softplus(-a)))(logits)
    both = jax.vmap(jax.grad(lambda a: jax.nn.softplus(-a) + jax.nn.softplus(a)))(logits)
    facts = {
        "logits": logits.tolist(),
        "its own loss": [round(float(v), 3) for v in own],
        "both": [round(float(v), 3) for v in both],
    }
    return Proof(facts, bool((own < 0).all() and both[0] < both[1] == 0 < both[2]))


def other_librarys_calls() -> Proof:
    """What one library's arrays and optimisers can do, another's cannot."""
    raised = []
    for value, name in ((jnp.zeros(()), "backward"), (optax.adam(1e-3), "zero_grad")):
        try:
            getattr(value, name)()
        except AttributeError as error:
            raised.append(message(error))
    return Proof(
        dict(zip(("loss.backward()", "optimiser.zero_grad()"), raised, strict=False)),
        len(raised) == 2,
    )


def old_argument() -> Proof:
    """An argument that was renamed is refused."""
    try:
        optax.adam(lr=2e-4)
    except TypeError as error:
        return Proof({"raised": message(error)}, holds=True)
    return Proof({"raised": "nothing"}, holds=False)


def missing_import() -> Proof:
    """A layer that was never imported is a name that is not known."""
    try:
        exec("layer = Dense(128)", {})
    except NameError as error:
        return Proof({"raised": message(error)}, holds=True)
    return Proof({"raised": "nothing"}, holds=False)


def last_batch() -> Proof:
    """60,000 digits in batches of 64: how many an epoch leaves out if incomplete batches are dropped."""
    full, left = divmod(60_000, 64)
    return Proof(
        {"batches": full, "digits left out": left, "steps of 10,000 epochs": f"{10_000 * full:,}"},
        left == 32,
    )


# --- the classifier's -----------------------------------------------------------------------------------------


def best_of_epochs(epochs: int = 50, images: int = 1000, repetitions: int = 400) -> Proof:
    """Classifiers that guess among ten classes: the best of 50 test accuracies, and the last; three seeds."""
    best, last = [], []
    for seed in range(3):
        right = np.random.default_rng(seed).binomial(images, 0.1, (repetitions, epochs)) / images
        best.append(right.max(1).mean())
        last.append(right[:, -1].mean())
    facts = {
        "last epoch (%)": float(100 * np.mean(last)),
        "best of 50 (%)": float(100 * np.mean(best)),
        "spread over seeds (%)": float(100 * np.std(best, ddof=1)),
    }
    return Proof(facts, bool(abs(np.mean(last) - 0.1) < 0.005 and np.mean(best) > 0.11))


def spread_of_one_network() -> Proof:
    """The article's network on photographs, recorded with several seeds: least and largest test accuracy."""
    accuracy = 100 * np.array(records.load("cnn-cifar10")["values"]["accuracy"])
    facts = {
        "runs": len(accuracy),
        "least (%)": float(accuracy.min()),
        "largest (%)": float(accuracy.max()),
    }
    return Proof(facts, len(accuracy) > 1 and bool(accuracy.max() - accuracy.min() > 0.5))


# --- the VAE's ------------------------------------------------------------------------------------------------


def point_codes() -> Proof:
    """The divergence from the prior of a code at 0 whose variance shrinks: without noise it is infinite."""
    logvars = (0.0, -10.0, -40.0, -80.0)
    kl = [float(vae.gaussian_kl(jnp.zeros((1, 1)), jnp.full((1, 1), v))[0]) for v in logvars]
    facts = {f"log variance {v:g}: nats": value for v, value in zip(logvars, kl, strict=True)}
    return Proof(facts, kl[0] == 0 and bool((np.diff(kl) > 4).all()))


def outputs_and_targets() -> Proof:
    """100 outputs cannot be compared with 784 pixels."""
    try:
        optax.sigmoid_binary_cross_entropy(jnp.zeros((64, 100)), jnp.zeros((64, 784)))
    except (TypeError, ValueError) as error:
        return Proof({"raised": message(error)}, holds=True)
    return Proof({"raised": "nothing"}, holds=False)


def cross_entropy_of_grey() -> Proof:
    """The least that binary cross-entropy can be on grey digits is not zero: a perfect answer pays it."""
    digits = data.load("mnist", "test", "smoke")
    floor = vae.grey_floor(digits.images)
    return Proof({"nats an image of a perfect reconstruction": floor}, floor > 10)

"""The corrections to the article, proofs of theory: each function computes what decides a statement.

A proof holds the facts it found, in words, and whether they are as the correction says; `prove` shows both on a page.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.scipy.stats import norm

from imgbook import (
    cnn,
    data,
    equivariance,
    games,
    layers,
    linear_vae,
    pages,
    records,
    vae,
    vae_exact,
)
from imgbook.gan_networks import Discriminator, GANConfig, Generator


class Proof(NamedTuple):
    """Facts by name, and whether they are what the correction says."""

    facts: dict[str, object]
    holds: bool


def prove(proof: Callable[[], Proof]) -> Proof:
    """Show a proof's source, run it and show its facts; returns them.

    Raises:
        AssertionError: the facts are not as the correction says.
    """
    pages.show_source(proof)
    facts, holds = proof()
    for name, value in facts.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    if not holds:
        raise AssertionError(f"{proof.__name__}: the facts above are not as the correction says")
    return Proof(facts, holds)


# --- networks and what they are for ---------------------------------------------------------------------------


def two_worlds_one_classifier() -> Proof:
    """Two laws of images, p(x) `[3]`, with the same p(y | x) `[3, 2]`: the classifier cannot tell them apart."""
    classifier = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    worlds = np.array([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    joint = worlds[:, :, None] * classifier  # p(x, y) of each world [2, 3, 2]
    seen = joint / joint.sum(2, keepdims=True)  # p(y | x) again
    facts = {
        "largest difference of p(y | x)": float(np.abs(seen[0] - seen[1]).max()),
        "largest difference of p(x)": float(np.abs(worlds[0] - worlds[1]).max()),
    }
    return Proof(facts, facts["largest difference of p(y | x)"] < 1e-12)


def one_number_an_image() -> Proof:
    """A discriminator answers one question about an image, a classifier as many as there are classes."""
    digits = data.load("mnist", "test", "smoke")
    x = jnp.asarray(digits.images[:10] / 255, jnp.float32)
    discriminator = Discriminator(GANConfig(width=4), rngs=nnx.Rngs(0))
    classifier = cnn.SoftmaxRegression(cnn.config_for(digits, "smoke"), rngs=nnx.Rngs(0))
    shapes = discriminator(2 * x - 1).shape, classifier(4 * x - 2).shape
    return Proof(
        dict(zip(("discriminator", "classifier"), shapes, strict=True)), shapes == ((10,), (10, 10))
    )


def dense_and_convolution() -> Proof:
    """The layer f(W x + b) from 28 x 28 pixels to 26 x 26 x 8 values, and the convolution to as many."""
    pixels, values = 28 * 28, 26 * 26 * 8
    conv = nnx.eval_shape(lambda: nnx.Conv(1, 8, (3, 3), padding="VALID", rngs=nnx.Rngs(0)))
    shared = sum(p.size for p in jax.tree.leaves(nnx.state(conv, nnx.Param)))
    dense = pixels * values + values
    return Proof(
        {"numbers to learn, dense": dense, "numbers to learn, convolution": shared},
        shared == 80 < dense,
    )


def moved_images() -> Proof:
    """What a shift by three pixels does to a convolution's maps, to a dense layer's, and to pooled ones."""
    images = jnp.asarray(data.load("mnist", "test", "smoke").images[:20] / 255, jnp.float32)
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 1, 4))
    matrix = jax.random.normal(jax.random.key(1), (28 * 28, 28 * 28)) / 28

    def conv(x: jax.Array) -> jax.Array:
        return nnx.relu(equivariance.conv_circular(x, kernel))

    def dense(x: jax.Array) -> jax.Array:
        return nnx.relu(x.reshape(len(x), -1) @ matrix).reshape(x.shape)  # [N, 28, 28, 1] and back

    def change(function: Callable, pixels: int) -> float:
        still, moved = function(images), function(equivariance.shift(images, 0, pixels))
        return float(jnp.linalg.norm(moved - still) / jnp.linalg.norm(still))

    def pooled(x: jax.Array) -> jax.Array:
        return layers.max_pool(conv(x), (4, 4), (4, 4))

    follows, breaks = (
        float(equivariance.equivariance_error(f, images, [(0, 3)])[0]) for f in (conv, dense)
    )
    facts = {
        "convolution, against its own maps moved along (0: equivariant)": follows,
        "dense layer, the same": breaks,
        "convolution, against its maps left where they were (0: invariant)": change(conv, 3),
        "shift by one pixel, convolution": change(conv, 1),
        "shift by one pixel, after pooling 4 x 4": change(pooled, 1),
    }
    *_, unmoved, one, after = facts.values()
    return Proof(facts, follows < 1e-6 < 0.1 < min(breaks, unmoved) and 0 < after < one)


# --- the GAN's theory -----------------------------------------------------------------------------------------


def a_sample_and_its_law() -> Proof:
    """The generator is a function; its values on random latents have a law."""
    generator = Generator(GANConfig(width=4, num_codes=0), rngs=nnx.Rngs(0))
    generator.eval()
    z = jax.random.normal(jax.random.key(0), (2, 52))
    again, other = (
        float(jnp.abs(generator(z[:1]) - generator(z[i : i + 1])).max()) for i in (0, 1)
    )
    facts = {"same latent, largest difference": again, "another latent, largest difference": other}
    return Proof(facts, again == 0 < other)


def discriminator_is_no_density() -> Proof:
    """The best discriminator's values over all images, here two, do not sum to 1."""
    p_data, p_g = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    values = games.optimal_discriminator(p_data, p_g)
    facts = {"D* of the two images": values.round(4).tolist(), "their sum": float(values.sum())}
    return Proof(facts, bool(abs(values.sum() - 1) > 0.1))


def value_of_the_game() -> Proof:
    """The value at the best discriminator is -log 4 + 2 JSD, and no discriminator that was tried is better."""
    p_data, p_g = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    best = games.value(games.optimal_discriminator(p_data, p_g), p_data, p_g)
    formula = -np.log(4) + 2 * games.jensen_shannon(p_data, p_g)
    grid = np.linspace(0.01, 0.99, 99)
    tried = max(games.value(np.array([a, b]), p_data, p_g) for a in grid for b in grid)
    facts = {"V(D*, G)": best, "-log 4 + 2 JSD": float(formula), "best of 9,801 others": tried}
    return Proof(facts, abs(best - formula) < 1e-12 and tried <= best)


def losses_at_rest() -> Proof:
    """Recorded: a GAN whose losses settle at log 2 and that makes no digits, beside one that works."""
    values = records.load("gan-failures")["values"]
    facts = {
        f"{words}: {measure.replace('_', ' ')}": float(np.mean(values[f"{name}/{measure}"]))
        for name, words in (("shared", "a broken GAN"), ("working", "a working one"))
        for measure in ("generator_loss", "recognised")
    }
    rest, none, _, some = facts.values()
    return Proof(
        facts | {"log 2": float(np.log(2))},
        abs(rest - np.log(2)) < 0.01 and none < 0.05 < 0.5 < some,
    )


# --- the VAE's theory -----------------------------------------------------------------------------------------


def tiny_vae() -> tuple[vae.VAE, jax.Array]:
    """A VAE of 12 pixels with one latent and random weights, and eight binary images `[8, 4, 3, 1]`."""
    config = vae.VAEConfig(image_shape=(4, 3, 1), hidden=8, latent_dim=1)
    x = jax.random.bernoulli(jax.random.key(0), 0.5, (8, 4, 3, 1)).astype(jnp.float32)
    return vae.VAE(config, rngs=nnx.Rngs(1)), x


def prior_is_no_likelihood() -> Proof:
    """Gaussian data of four numbers. If p(x | z) were N(0, I) whatever z is, a code would say nothing."""
    covariance = np.diag([9.0, 4.0, 1.0, 0.5])
    zero = linear_vae.LinearVAE(jnp.zeros((4, 2)), jnp.zeros((2, 4)), jnp.zeros(2), jnp.zeros(()))
    best = linear_vae.ppca_optimum(covariance, 2)
    said = [float(linear_vae.elbo(model, jnp.asarray(covariance))[2]) for model in (zero, best)]
    fits = [
        float(linear_vae.log_marginal(model, jnp.asarray(covariance))) for model in (zero, best)
    ]
    facts = {
        "p(x | z) = N(0, I): nats that a code says": said[0],
        "p(x | z) = N(W z, s I): nats that a code says": said[1],
        "log p(x) of the data, first": fits[0],
        "log p(x) of the data, second": fits[1],
    }
    return Proof(facts, said[0] == 0 < said[1] and fits[0] < fits[1])


def bound_has_a_gap() -> Proof:
    """log p(x), the bound and the divergence between them, each integrated over a grid of codes."""
    found = vae_exact.on_grid(*tiny_vae())
    left = found.log_marginal - found.elbo
    facts = {
        "log p(x), first image": float(found.log_marginal[0]),
        "bound": float(found.elbo[0]),
        "KL(q || p(z | x))": float(found.gap[0]),
        "largest |log p - bound - KL|, eight images": float(np.abs(left - found.gap).max()),
    }
    return Proof(
        facts,
        bool((found.gap > 0).all()) and facts["largest |log p - bound - KL|, eight images"] < 1e-4,
    )


def divergence_is_to_the_prior() -> Proof:
    """Take the prior itself as q: the divergence in the bound is zero, that from the true posterior is not."""
    model, x = tiny_vae()
    found = vae_exact.on_grid(model, x)
    codes, spacing = jnp.asarray(found.codes), found.codes[1] - found.codes[0]
    prior = norm.pdf(codes) * spacing
    to_posterior = (prior * (norm.logpdf(codes) - found.log_posterior)).sum(1)
    to_prior = float(vae.gaussian_kl(jnp.zeros((1, 1)), jnp.zeros((1, 1)))[0])
    facts = {
        "KL(q || p(z))": to_prior,
        "least KL(q || p(z | x)), eight images": float(to_posterior.min()),
    }
    return Proof(facts, to_prior == 0 < facts["least KL(q || p(z | x)), eight images"])

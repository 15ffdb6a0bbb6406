"""The GAN: losses by hand, whose weights each turn moves, and what the chapter says about gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from imgbook import data, gan, training

CONFIG = gan.GANConfig(image_shape=(8, 8, 1), latent_dim=5, width=4, batch_size=16, num_steps=3)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (16, *CONFIG.image_shape), dtype=np.uint8)


def copy(tree):
    return jax.tree.map(jnp.array, tree)


def changed(before, after):
    return [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]


def test_losses_are_those_of_the_paper():
    real, fake = np.array([2.0, -0.5, 1.0]), np.array([-1.0, 0.3, 0.0])
    d_real, d_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    value = np.log(d_real).mean() + np.log(1 - d_fake).mean()
    np.testing.assert_allclose(
        gan.discriminator_loss(jnp.array(real), jnp.array(fake)), -value, rtol=1e-6
    )
    np.testing.assert_allclose(
        gan.generator_loss(jnp.array(fake)), -np.log(d_fake).mean(), rtol=1e-6
    )


def test_losses_at_equilibrium_and_at_extreme_logits():
    zero = jnp.zeros(4)
    np.testing.assert_allclose(gan.discriminator_loss(zero, zero), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(gan.generator_loss(zero), np.log(2), rtol=1e-6)
    huge = jnp.array([1e4, -1e4])
    assert np.isfinite(gan.discriminator_loss(huge, huge))
    assert np.isfinite(jax.grad(lambda a: gan.generator_loss(a))(huge)).all()


def test_non_saturating_gradient():
    """d/da of -log sigmoid(a) is sigmoid(a) - 1: large where the discriminator is sure that a sample is false."""
    gradient = jax.grad(lambda a: gan.generator_loss(a[None]))(jnp.array(-5.0))
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(5.0)) - 1, rtol=1e-5)


@pytest.mark.parametrize(("shape", "width"), [((28, 28, 1), 8), ((32, 16, 3), 4)])
def test_shapes_and_range(shape, width):
    config = gan.GANConfig(image_shape=shape, latent_dim=7, width=width)
    graphdefs, state = gan.init(config, jax.random.key(0))
    samples = gan.sample(
        graphdefs, state, jax.random.normal(jax.random.key(1), (5, 7)), batch_size=3
    )
    assert samples.shape == (5, *shape)
    assert samples.min() >= 0
    assert samples.max() <= 1
    logits, _ = gan.apply(
        graphdefs.discriminator, state.discriminator.params, state.discriminator.stats, samples
    )
    assert logits.shape == (5,)


def test_sides_must_be_multiples_of_four():
    with pytest.raises(ValueError, match=r"30 x 28.*multiples of 4"):
        gan.init(gan.GANConfig(image_shape=(30, 28, 1)), jax.random.key(0))


def test_one_step_moves_all_of_both_networks(images):
    graphdefs, state = gan.init(CONFIG, jax.random.key(0))
    before = copy((state.generator.params, state.discriminator.params, state.generator.stats))
    after, metrics = gan.make_train_step(graphdefs, CONFIG)(state, (images,))
    assert all(changed(before[0], after.generator.params))
    assert all(changed(before[1], after.discriminator.params))
    assert any(changed(before[2], after.generator.stats)), (
        "BatchNorm's running averages did not move"
    )
    assert int(after.generator.step) == int(after.discriminator.step) == 1
    assert all(np.isfinite(v) for v in metrics.values())


def test_step_equals_two_separate_turns(images):
    """The step shares one pass through the generator; two plain turns written out give the same gradients."""
    graphdefs, state = gan.init(CONFIG, jax.random.key(0))
    g, d = copy(state.generator), copy(state.discriminator)
    tx = gan.optimizer(CONFIG)
    real = jnp.asarray(images, jnp.float32) / 127.5 - 1
    latents = jax.random.normal(jax.random.fold_in(g.key, 0), (len(real), CONFIG.latent_dim))

    def d_loss(params):
        fake = jax.lax.stop_gradient(gan.apply(graphdefs.generator, g.params, g.stats, latents)[0])
        real_logits, stats = gan.apply(graphdefs.discriminator, params, d.stats, real)
        fake_logits, stats = gan.apply(graphdefs.discriminator, params, stats, fake)
        return -(
            jnp.log(jax.nn.sigmoid(real_logits)).mean()
            + jnp.log(1 - jax.nn.sigmoid(fake_logits)).mean()
        )

    d_new = d.updated(jax.grad(d_loss)(d.params), tx)

    def g_loss(params):
        fake = gan.apply(graphdefs.generator, params, g.stats, latents)[0]
        return -jnp.log(
            jax.nn.sigmoid(gan.apply(graphdefs.discriminator, d_new.params, d.stats, fake)[0])
        ).mean()

    g_new = g.updated(jax.grad(g_loss)(g.params), tx)
    after, _ = gan.make_train_step(graphdefs, CONFIG)(state, (images,))
    for expected, got in ((d_new, after.discriminator), (g_new, after.generator)):
        for a, b in zip(
            jax.tree.leaves(expected.opt_state), jax.tree.leaves(got.opt_state), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-7)


def test_discriminator_learns_when_the_generator_stands_still(images):
    graphdefs, state = gan.init(CONFIG, jax.random.key(0))
    step = gan.make_train_step(graphdefs, dataclasses.replace(CONFIG, learning_rate=1e-2))
    generator, losses, bright = copy(state.generator), [], images // 4 + 190
    for _ in range(60):
        state, metrics = step(state._replace(generator=copy(generator)), (bright,))
        losses.append(float(metrics["discriminator_loss"]))
    assert losses[-1] < 0.5 * losses[0]


def test_same_key_same_samples():
    dataset = data.load("mnist", "train", "smoke")
    config = gan.config_for(dataset, "smoke")
    runs = [
        gan.train(dataset, config, jax.random.key(seed), progress=False)[:2] for seed in (0, 0, 1)
    ]
    latents = jax.random.normal(jax.random.key(9), (4, config.latent_dim))
    first, again, other = (gan.sample(graphdefs, state, latents) for graphdefs, state in runs)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_sampling_does_not_depend_on_the_batch():
    graphdefs, state = gan.init(CONFIG, jax.random.key(0))
    latents = jax.random.normal(jax.random.key(1), (6, CONFIG.latent_dim))
    one, many = (
        gan.sample(graphdefs, state, latents, batch_size=1),
        gan.sample(graphdefs, state, latents),
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_interpolation_keeps_the_length():
    start, end = jax.random.normal(jax.random.key(0), (2, 50))
    path = gan.interpolate(start, end * jnp.linalg.norm(start) / jnp.linalg.norm(end), 7)
    np.testing.assert_allclose(path[0], start, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(path, axis=1), jnp.linalg.norm(start), rtol=1e-4)


def test_trained_module_is_in_evaluation_mode():
    graphdefs, state = gan.init(CONFIG, jax.random.key(0))
    model = training.as_module(graphdefs.generator, state.generator)
    assert model.norm1.use_running_average
    assert isinstance(model, nnx.Module)

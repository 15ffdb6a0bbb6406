"""Copies: the exact velocity of a finite set, distances to training images, codes; and flows of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal, random_images

from imgbook import flow, memorisation, vector_flow

IMAGES = 2 * normal((30, 12), seed=1)


@pytest.mark.parametrize("t", [0.0, 0.4, 0.9])
def test_finite_velocity_is_the_mixture_of_width_zero(t):
    x, times = normal((6, 12)), jnp.full(6, t, jnp.float32)
    expected = flow.exact_velocity(jnp.asarray(x), times, jnp.asarray(IMAGES), 0.0)
    found = memorisation.finite_velocity(jnp.asarray(x), times, jnp.asarray(IMAGES))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_finite_velocity_is_the_conditional_mean_by_bayes_rule():
    """E[x1 - x0 | x_t = x] with x0 = (x - t x1) / (1 - t), weights from the Gaussian density of x0."""
    x, t = normal((1, 12), seed=2)[0], 0.6
    x0 = (x - t * IMAGES) / (1 - t)
    weights = np.exp(-(x0**2).sum(1) / 2 + (x0**2).sum(1).min() / 2)
    expected = (weights[:, None] * (IMAGES - x0)).sum(0) / weights.sum()
    found = memorisation.finite_velocity(x[None], jnp.array([t], jnp.float32), jnp.asarray(IMAGES))
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-3)


def test_followed_to_the_end_it_returns_training_images():
    noise = normal((40, 12), seed=3)
    samples = np.asarray(memorisation.follow_finite(jnp.asarray(IMAGES), jnp.asarray(noise)))
    assert memorisation.copied(samples, IMAGES) == 1
    assert memorisation.nearness(samples, IMAGES)["distance"].max() < 1e-3
    others = 2 * normal((40, 12), seed=4)  # the control: the same law, not in the set
    assert memorisation.copied(others, IMAGES) == 0


def test_one_image_is_a_straight_line():
    noise = normal((5, 12))
    end = memorisation.follow_finite(jnp.asarray(IMAGES[:1]), jnp.asarray(noise), 3)
    np.testing.assert_allclose(end, np.repeat(IMAGES[:1], 5, 0), atol=1e-5)


def test_nearness_by_hand():
    training = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    found = memorisation.nearness(np.array([[1.0, 0.0], [3.0, 4.0], [3.0, 0.0]]), training)
    np.testing.assert_allclose(found["distance"], [1, 4, 0])
    np.testing.assert_allclose(found["ratio"], [0.5, 1, 1])  # twins in the training set hide copies
    assert memorisation.copied(np.array([[0.5, 0.0], [1.0, 0.0]]), training) == 0.5


def test_codes_are_principal_components_in_one_unit():
    images = random_images(60, (3, 4, 1))
    basis = memorisation.codes(images, 5)
    found = memorisation.encode(images, basis)
    centred = images.reshape(60, -1) - images.reshape(60, -1).mean(0)
    values = np.linalg.svd(centred, compute_uv=False)[:5] ** 2 / 59
    np.testing.assert_allclose(np.cov(found, rowvar=False), np.diag(values / values.mean()), atol=1e-4)  # fmt: skip
    whole = memorisation.codes(images, 12)
    back = memorisation.decode(memorisation.encode(images, whole), whole, (3, 4, 1))
    np.testing.assert_allclose(back, images, atol=1e-3)


# --- flows of vectors -------------------------------------------------------------------------------------------


def test_each_run_sees_its_own_set_alone():
    """Constant sets of different sizes: each network must come to its own point, padding to none."""
    config = vector_flow.config_for(3, "quick", hidden=16, num_steps=250, learning_rate=1e-2)
    sets = [np.full((4, 3), 2, np.float32), np.full((9, 3), -2, np.float32)]
    graphdef, params, losses = vector_flow.train(sets, config, jax.random.key(0))
    ends = vector_flow.sample(graphdef, params, jnp.asarray(normal((64, 3))), 20)
    np.testing.assert_allclose(ends.mean((1, 2)), [2, -2], atol=0.25)
    assert losses.shape == (2, 250)
    assert (losses[:, -20:].mean(1) < losses[:, :20].mean(1) / 3).all()


def test_width_two_is_the_network_of_the_plane():
    """The same layers as `flow.FlowMLP`: with its weights the same velocities."""
    from flax import nnx

    config = vector_flow.VectorFlowConfig(2, hidden=8)
    field = vector_flow.VectorField(config, rngs=nnx.Rngs(0))
    plane = flow.FlowMLP(flow.FlowConfig(hidden=8), rngs=nnx.Rngs(1))
    nnx.update(plane, nnx.state(field))
    x, t = normal((5, 2)), np.linspace(0, 1, 5, dtype=np.float32)
    np.testing.assert_allclose(field(x, t), plane(x, t), rtol=1e-6)


def test_euler_of_a_known_field():
    """dx/dt = x in n steps multiplies by (1 + 1/n)^n."""
    x = jnp.asarray(normal((4, 2)))
    np.testing.assert_allclose(vector_flow.carry(lambda x, t: x, x, 10), 1.1**10 * x, rtol=1e-5)


@pytest.mark.parametrize("length", [16, 15])
def test_tones_are_pure_and_of_power_one(length):
    tones = np.asarray(vector_flow.tones(jax.random.key(0), 50, length))
    np.testing.assert_allclose((tones**2).mean(1), 1, rtol=1e-4)
    np.testing.assert_allclose(vector_flow.purity(tones), 1, rtol=1e-5)
    assert len(set(np.abs(np.fft.rfft(tones)).argmax(1))) == 3


@pytest.mark.parametrize("length", [16, 15])
def test_purity_is_parsevals_share(length):
    signals = normal((6, length))
    power = np.abs(np.fft.fft(signals, axis=1)) ** 2
    paired = power[:, 1 : (length + 1) // 2] * 2
    single = power[:, [0, length // 2]] if length % 2 == 0 else power[:, [0]]
    expected = np.concatenate([paired, single], 1).max(1) / (length * (signals**2).sum(1))
    np.testing.assert_allclose(vector_flow.purity(signals), expected, rtol=1e-5)


def test_the_gaussian_of_three_tones_is_pure_by_chance_only():
    """The powers of three frequencies are then exponential, so P(largest share > c) = 3 (1 - c)^2 for c > 1/2."""
    tones = np.asarray(vector_flow.tones(jax.random.key(0), 20_000, 16))
    drawn = vector_flow.gaussian_like(np.random.default_rng(0), tones, 20_000)
    for c in (0.8, 0.9):
        assert (vector_flow.purity(drawn) > c).mean() == pytest.approx(3 * (1 - c) ** 2, abs=0.01)


def test_errors():
    with pytest.raises(ValueError, match=r"expected \[N, D\]"):
        memorisation.finite_velocity(normal((3, 2)), normal((2,)), normal((4, 2)))
    with pytest.raises(ValueError, match="count = 20; allowed: 1 to 12"):
        memorisation.codes(IMAGES, 20)
    with pytest.raises(ValueError, match=r"expected \[n, 3\]"):
        vector_flow.train([normal((4, 2))], vector_flow.config_for(3), jax.random.key(0))
    with pytest.raises(ValueError, match="pitches = 8"):
        vector_flow.tones(jax.random.key(0), 2, 16, 8)
    with pytest.raises(ValueError, match="num_steps = 0"):
        vector_flow.carry(lambda x, t: x, jnp.zeros((1, 2)), 0)
    with pytest.raises(ValueError, match="hidden = 0"):
        vector_flow.config_for(3, hidden=0)

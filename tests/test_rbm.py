"""The restricted Boltzmann machine against sums over all states of a small one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from scipy.special import logsumexp

from imgbook import rbm

D, H = 4, 3
SMALL = rbm.RBM(
    *(jnp.asarray(normal(shape, seed)) for seed, shape in enumerate([(D, H), (D,), (H,)]))
)


def states(size):
    return np.array(list(itertools.product((0.0, 1.0), repeat=size)), np.float32)


def log_weights():
    """-E by hand of all visible and hidden states, `[2^D, 2^H]`."""
    w, b, c = (np.asarray(part, np.float64) for part in SMALL)
    return np.array([[v @ b + h @ c + v @ w @ h for h in states(H)] for v in states(D)])


def law():
    """p(v) of all visible states `[2^D]`."""
    return np.exp(logsumexp(log_weights(), axis=1) - logsumexp(log_weights()))


def test_energy_by_hand():
    found = [[float(rbm.energy(SMALL, v, h)) for h in states(H)] for v in states(D)]
    np.testing.assert_allclose(found, -log_weights(), rtol=1e-4, atol=1e-5)


def test_free_energy_is_the_sum_over_hidden_states():
    np.testing.assert_allclose(
        rbm.free_energy(SMALL, states(D)), -logsumexp(log_weights(), axis=1), rtol=1e-5
    )


def test_partition_function_is_the_sum_over_all_states():
    assert float(rbm.log_partition(SMALL)) == pytest.approx(logsumexp(log_weights()), rel=1e-6)


def test_conditional_probabilities_are_those_of_the_joint_law():
    joint = np.exp(log_weights())
    hidden = joint @ states(H) / joint.sum(1, keepdims=True)
    visible = joint.T @ states(D) / joint.sum(0)[:, None]
    np.testing.assert_allclose(rbm.hidden_probabilities(SMALL, states(D)), hidden, rtol=1e-5)
    np.testing.assert_allclose(rbm.visible_probabilities(SMALL, states(H)), visible, rtol=1e-5)


def test_likelihood_gradient_is_that_of_the_exact_log_likelihood():
    data = states(D)[[3, 3, 7, 12]]
    exact = jax.grad(lambda r: -rbm.free_energy(r, data).mean() - rbm.log_partition(r))(SMALL)
    # Every state as often as the model has it: the second mean of the formula, without sampling.
    weighted = jax.grad(lambda r: (jnp.asarray(law()) * rbm.free_energy(r, states(D))).sum())(SMALL)
    of_data = jax.grad(lambda r: rbm.free_energy(r, data).mean())(SMALL)
    for e, m, d in zip(exact, weighted, of_data, strict=True):
        np.testing.assert_allclose(e, m - d, rtol=1e-4, atol=1e-5)
    found = rbm.likelihood_gradient(SMALL, data, states(D))
    uniform = jax.grad(lambda r: rbm.free_energy(r, states(D)).mean())(SMALL)
    for f, u, d in zip(found, uniform, of_data, strict=True):
        np.testing.assert_allclose(f, u - d, rtol=1e-4, atol=1e-5)


def test_sweeps_leave_the_law_as_it_is():
    """Chains that start in the model's law stay in it: frequencies of all states within five standard errors."""
    n, p = 40_000, law()
    start = states(D)[np.random.default_rng(0).choice(len(p), n, p=p / p.sum())]
    v = jnp.asarray(start)
    for key in jax.random.split(jax.random.key(0), 3):
        v, _ = rbm.gibbs_step(SMALL, v, key)
    index = np.asarray(v) @ 2 ** np.arange(D)[::-1]
    share = np.bincount(index.astype(int), minlength=len(p)) / n
    assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-6)


def test_known_units_stay_and_the_others_follow_their_conditional_law():
    known = jnp.asarray([1.0, 1.0, 0.0, 0.0])
    v = jnp.tile(jnp.asarray([1.0, 0.0, 0.0, 0.0]), (20_000, 1))
    probabilities = np.asarray(rbm.run(SMALL, v, jax.random.key(1), 30, known))
    np.testing.assert_array_equal(probabilities[:, :2], np.tile([1.0, 0.0], (20_000, 1)))
    fits = (states(D)[:, 0] == 1) & (states(D)[:, 1] == 0)
    expected = (law()[fits, None] * states(D)[fits]).sum(0) / law()[fits].sum()
    np.testing.assert_allclose(probabilities.mean(0)[2:], expected[2:], atol=0.02)


def test_training_raises_the_exact_likelihood():
    """Two patterns of 4 x 4 pixels, six hidden units: the likelihood can be computed before and after."""
    images = np.zeros((40, 4, 4, 1), np.uint8)
    images[:20, :2], images[20:, 2:] = 255, 255
    config = rbm.RBMConfig(num_hidden=6, num_steps=1500, batch_size=40)
    before = rbm.init(config, images, jax.random.key(0))
    after = rbm.train(jnp.asarray(images), config, before, jax.random.key(1))
    data = jnp.asarray(images.reshape(40, -1) / 255, jnp.float32)
    fits = [float(-rbm.free_energy(r, data).mean() - rbm.log_partition(r)) for r in (before, after)]
    assert fits[0] == pytest.approx(
        -16 * np.log(2), abs=0.1
    )  # each pixel is black half of the time
    assert fits[1] > -2.5  # two patterns alone have -log 2


def test_first_visible_biases_give_the_mean_image():
    images = np.random.default_rng(0).integers(20, 235, (50, 3, 3, 1)).astype(np.uint8)
    found = rbm.init(rbm.RBMConfig(num_hidden=2), images, jax.random.key(0))
    mean = images.reshape(50, -1).mean(0) / 255
    np.testing.assert_allclose(jax.nn.sigmoid(found.visible), mean, atol=1e-5)


@pytest.mark.parametrize("name", ["num_hidden", "batch_size", "num_steps"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} = 0; allowed: 1 or more"):
        rbm.RBMConfig(**{name: 0})


def test_too_many_states_are_refused():
    big = rbm.RBM(jnp.zeros((2, 21)), jnp.zeros(2), jnp.zeros(21))
    with pytest.raises(ValueError, match="20 or fewer"):
        rbm.log_partition(big)

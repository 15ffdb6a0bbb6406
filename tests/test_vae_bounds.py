"""Bounds from many samples against models whose log p(x) is known, their memory, and latents in use."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal, random_images
from flax import nnx
from scipy import stats
from scipy.special import logsumexp

from imgbook import linear_vae, training, vae, vae_bounds, vae_exact

KEY = jax.random.key(0)
TINY = vae.VAEConfig(image_shape=(3, 3, 1), hidden=5, latent_dim=1)


def tiny(**changes) -> tuple[nnx.GraphDef, training.TrainState]:
    """A VAE of 9 binary pixels that was never trained, with a lively decoder and wide proposals."""
    graphdef, state = vae.init(replace(TINY, **changes), KEY)
    loud = jax.tree_util.tree_map_with_path(
        lambda path, p: 2 * p + 0.1 if "decoder" in str(path) else p, state.params
    )
    bias = loud["encoder"]["logvar"]["bias"]
    bias[...] = bias[...] + 0.5  # codes from a wider proposal have weights that vary less
    return graphdef, state._replace(params=loud)


def binary(n: int, seed: int = 0) -> np.ndarray:
    """Black and white uint8 images: what is observed of them is no matter of chance."""
    return random_images(n, TINY.image_shape, seed) // 128 * np.uint8(255)


class Linear:
    """x ~ N(W z + b, sigma^2 I), with two latents and three pixels: log p(x) is a normal density."""

    likelihood = "gaussian"

    def __init__(self, columns: np.ndarray, sigma: float = 0.3, widen: float = 0.0):
        self.decoder, self.sigma, self.middle = np.asarray(columns), sigma, 0.5
        v, logvar = linear_vae.best_encoder(jnp.asarray(columns), 2 * np.log(sigma))
        self.inverse, self.logvar = np.asarray(v), np.asarray(logvar) + widen

    def encoder(self, x, labels=None):
        mean = (x.reshape(len(x), -1) - self.middle) @ self.inverse.T
        return mean, jnp.broadcast_to(jnp.asarray(self.logvar), mean.shape)

    def log_likelihood(self, latents, x, labels=None):
        mean = (latents @ self.decoder.T + self.middle).reshape(x.shape)
        return vae.gaussian_log_likelihood(mean, 2 * np.log(self.sigma), x)

    def log_marginal(self, x):
        covariance = self.decoder @ self.decoder.T + self.sigma**2 * np.eye(3)
        return stats.multivariate_normal(np.full(3, self.middle), covariance).logpdf(
            x.reshape(-1, 3)
        )

    def elbo(self, x):
        """Exactly: E_q log p(x | z) - KL(q || p), both in closed form."""
        mean, var = np.asarray(self.encoder(x)[0], np.float64), np.exp(self.logvar)
        rest = x.reshape(-1, 3) - self.middle - mean @ self.decoder.T
        squares = (rest**2).sum(1) + (var * (self.decoder**2).sum(0)).sum()
        log_likelihood = -1.5 * np.log(2 * np.pi * self.sigma**2) - squares / (2 * self.sigma**2)
        return log_likelihood - 0.5 * (mean**2 + var - 1 - self.logvar).sum(1)


ORTHOGONAL = np.float32([[0.4, 0.1], [0.4, 0.1], [0.2, -0.4]])
OBLIQUE = np.float32([[0.4, 0.3], [0.3, 0.4], [0.1, 0.2]])
X = np.random.default_rng(0).random((4, 1, 3, 1)).astype(np.float32)


# --- against log p(x) -----------------------------------------------------------------------------------------


def test_with_the_true_posterior_every_weight_is_the_marginal():
    model = Linear(ORTHOGONAL)  # whose posterior a diagonal encoder can have
    assert abs(ORTHOGONAL[:, 0] @ ORTHOGONAL[:, 1]) < 1e-6
    weights = np.asarray(vae_bounds.log_weights(model, X, KEY, 50))
    assert weights.shape == (50, 4)
    np.testing.assert_allclose(weights, np.tile(model.log_marginal(X), (50, 1)), atol=1e-4)
    np.testing.assert_allclose(model.elbo(X), model.log_marginal(X), atol=1e-5)


@pytest.fixture(scope="module")
def many():
    """20,000 log-weights of each image, with an encoder that cannot have the posterior."""
    model = Linear(OBLIQUE, widen=0.3)
    weights = jax.jit(lambda key: vae_bounds.log_weights(model, X, key, 20_000))(KEY)
    return model, np.asarray(weights, np.float64)


def test_bound_converges_to_the_marginal(many):
    model, weights = many
    log_p = model.log_marginal(X)
    assert (log_p - model.elbo(X) > 0.3).all()  # there is a gap to close
    ratios = np.exp(weights - log_p)  # of mean 1
    error = ratios.std(0) / len(weights) ** 0.5
    assert error.max() < 0.05
    found = np.asarray(vae_bounds.log_mean_exp(jnp.asarray(weights, jnp.float32)))
    assert (np.abs(found - log_p) < 4 * error + 1e-4).all()


def test_at_one_sample_the_bound_is_the_elbo_in_expectation(many):
    model, weights = many
    error = weights.std(0) / len(weights) ** 0.5
    assert (np.abs(weights.mean(0) - model.elbo(X)) < 4 * error).all()
    keys = jax.random.split(jax.random.key(1), 5000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: vae.elbo(model, X, key)[0]))(keys), np.float64)
    error = draws.std(0) / len(draws) ** 0.5
    assert (np.abs(draws.mean(0) - model.elbo(X)) < 4 * error).all()


def test_expectation_rises_with_the_number_of_samples(many):
    model, weights = many
    sizes = (1, 2, 5, 20, 100)
    bounds = {
        k: logsumexp(weights.reshape(-1, k, 4), axis=1) - np.log(k) for k in sizes
    }  # [20,000 / k, 4], repetitions
    for fewer, more in itertools.pairwise(sizes):
        a, b = bounds[fewer], bounds[more]
        error = np.hypot(a.std(0) / len(a) ** 0.5, b.std(0) / len(b) ** 0.5)
        assert (b.mean(0) - a.mean(0) > 2 * error).all(), (fewer, more)
    error = bounds[100].std(0) / len(bounds[100]) ** 0.5
    assert (bounds[100].mean(0) < model.log_marginal(X) + 4 * error).all()


def test_bound_of_a_vae_converges_to_the_sum_over_a_grid():
    model = training.as_module(*tiny())
    x = jnp.asarray(binary(5) / 255, jnp.float32)
    exact = vae_exact.on_grid(model, x)
    assert (exact.gap > 0.05).all()
    found = jax.jit(lambda x, key: vae_bounds.importance_weighted_bound(model, x, key, 5000))(
        x, KEY
    )
    np.testing.assert_allclose(found, exact.log_marginal, atol=0.03)
    assert (np.asarray(found) > exact.elbo + exact.gap / 2).all()


# --- the parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_log_mean_exp_is_stable(shift):
    values = shift + 3 * normal((7, 4))
    found = vae_bounds.log_mean_exp(jnp.asarray(values))
    np.testing.assert_allclose(found, logsumexp(values, 0, b=1 / 7), rtol=1e-6)
    across = vae_bounds.log_mean_exp(jnp.asarray(values), 1)
    np.testing.assert_allclose(across, logsumexp(values, 1, b=1 / 4), rtol=1e-6)
    slope = jax.grad(lambda v: vae_bounds.log_mean_exp(v).sum())(jnp.asarray(values))
    np.testing.assert_allclose(slope.sum(0), 1, rtol=1e-5)
    alike = vae_bounds.log_mean_exp(jnp.full((5000, 1), shift))
    assert float(alike[0]) == pytest.approx(shift, rel=1e-6, abs=1e-5)


def test_ladder_equals_scipy_and_uses_every_weight():
    weights = 5 * normal((12, 3)) - 100
    found = vae_bounds.ladder(jnp.asarray(weights), (1, 3, 4, 12))
    assert list(found) == [1, 3, 4, 12]
    np.testing.assert_allclose(found[1], weights.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[12], logsumexp(weights, 0, b=1 / 12), rtol=1e-6)
    for k in (3, 4):
        groups = [logsumexp(weights[i : i + k], 0, b=1 / k) for i in range(0, 12, k)]
        np.testing.assert_allclose(found[k], np.mean(groups, 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "wrong"), [((1, 5, 7), "5, 7"), ((0,), "0"), ((-2,), "-2"), ((24,), "24")]
)
def test_ladder_refuses_sizes_that_do_not_divide(sizes, wrong):
    with pytest.raises(ValueError, match=rf"sizes \[{wrong}\] do not divide 12 samples"):
        vae_bounds.ladder(jnp.zeros((12, 3)), sizes)


def test_bound_is_the_log_of_the_mean_weight():
    model = Linear(OBLIQUE)
    weights = np.asarray(vae_bounds.log_weights(model, X, KEY, 9), np.float64)
    found = vae_bounds.importance_weighted_bound(model, X, KEY, 9)
    np.testing.assert_allclose(found, logsumexp(weights, 0, b=1 / 9), rtol=1e-5)


def test_mean_and_error_are_scipys():
    values = normal((50,)) + 3
    mean, error = vae_bounds.mean_and_error(values)
    assert mean == pytest.approx(np.mean(values), rel=1e-5)
    assert error == pytest.approx(stats.sem(values), rel=1e-5)


# --- memory and extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_a_time", [1, 7, 4999])
def test_weights_do_not_depend_on_how_many_are_decoded_at_a_time(monkeypatch, at_a_time):
    model, count = Linear(OBLIQUE), 5000
    whole = vae_bounds.log_weights(model, X, KEY, count)
    batches, mapped = [], jax.lax.map
    monkeypatch.setattr(
        jax.lax, "map", lambda *a, batch_size: batches.append(batch_size) or mapped(*a, batch_size=batch_size)
    )  # fmt: skip
    monkeypatch.setattr(vae_bounds, "DECODED", at_a_time * X.size)
    parts = vae_bounds.log_weights(model, X, KEY, count)
    assert batches == [at_a_time]
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-4)


def temporary_memory(num_samples: int) -> int:
    """Bytes that the bound of 100 digits needs while it runs; it is compiled and not run."""
    config, made = vae.VAEConfig(), []

    def init(key):
        graphdef, state = vae.init(config, key)
        made.append(graphdef)
        return state.params, state.stats

    params, stats = jax.eval_shape(init, KEY)

    def bound(params, stats, x, key):
        model = nnx.merge(made[0], params, stats)
        return vae_bounds.importance_weighted_bound(model, x, key, num_samples)

    x = jax.ShapeDtypeStruct((100, *config.image_shape), jnp.float32)
    compiled = jax.jit(bound).lower(params, stats, x, KEY).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_number_of_samples(monkeypatch):
    chunked = temporary_memory(5000)
    assert chunked < 1e9
    monkeypatch.setattr(vae_bounds, "DECODED", 5000 * 784 * 100)
    assert temporary_memory(5000) > 3 * chunked


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("value", [-80.0, 80.0])
def test_extreme_log_variances_give_finite_bounds_and_gradients(likelihood, value):
    config = replace(TINY, latent_dim=2, likelihood=likelihood)
    graphdef, state = vae.init(config, KEY)
    state.params["encoder"]["logvar"]["bias"][...] = jnp.full(2, value)
    x = jnp.asarray(binary(3) / 255, jnp.float32)

    def bounds(params, logvar):
        model = nnx.merge(graphdef, params, state.stats)
        model.encoder.logvar.bias[...] += logvar
        weights = vae_bounds.log_weights(model, x, KEY, 5)
        every = *vae.elbo(model, x, KEY), weights, vae_bounds.log_mean_exp(weights)
        return every[0].mean() + every[-1].mean(), every

    run = jax.jit(jax.value_and_grad(bounds, (0, 1), has_aux=True))
    (total, every), slopes = run(state.params, jnp.zeros(2))
    for array in (total, *every, *jax.tree.leaves(slopes)):
        assert np.isfinite(array).all()
    assert (np.asarray(slopes[1]) * np.sign(value) < 0).all()  # back to where it is better


# --- of images and a trained model ----------------------------------------------------------------------------


def test_negative_log_likelihoods_of_more_images_than_fit_a_part():
    graphdef, state = tiny()
    images = binary(130)
    exact = vae_exact.on_grid(
        training.as_module(graphdef, state), jnp.asarray(images / 255, jnp.float32), reach=10.0
    )
    found = vae_bounds.negative_log_likelihoods(graphdef, state, images, KEY, 1000, (1, 10))
    assert set(found) == {1, 10, 1000}
    assert {v.shape for v in found.values()} == {(130,)}
    # Var log-mean-exp = chi^2(posterior | proposal) / 1000, an integral on the grid; 5 deviations hold 130 draws.
    ratio = np.exp(2 * exact.log_posterior - exact.log_proposal)
    error = np.sqrt((ratio.sum(1) * np.diff(exact.codes)[0] - 1) / 1000)
    assert (error < 0.1).all()
    assert (np.abs(found[1000] + exact.log_marginal) < 5 * error).all()
    single = found[1] + exact.elbo
    assert abs(single.mean()) < 4 * single.std() / np.sqrt(130)
    assert found[1].mean() > found[10].mean() > found[1000].mean()


def test_negative_log_likelihoods_observe_grey_images_by_the_key():
    graphdef, state = tiny()
    images = np.full((3, 3, 3, 1), 128, np.uint8)
    a, b, c = (
        vae_bounds.negative_log_likelihoods(graphdef, state, images, jax.random.key(s), 2)[2]
        for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()
    assert len(np.unique(a)) == 3  # other pixels of each


def test_labels_stay_with_their_images():
    graphdef, state = tiny(num_classes=3)
    kernel = state.params["decoder"]["hidden"]["kernel"]  # [1 + 3, 5]: what latents and labels do
    kernel[...] = 5 * kernel[...].at[0].set(0)  # with no code, log p(x | label) is known
    images, labels = binary(130), np.random.default_rng(0).integers(0, 3, 130)
    found = vae_bounds.negative_log_likelihoods(graphdef, state, images, KEY, 500, labels=labels)
    model = training.as_module(graphdef, state)
    logits, x = model.decoder(jnp.zeros((130, 1)), labels), jnp.asarray(images / 255, jnp.float32)
    expected = -vae.bernoulli_log_likelihood(logits, x)
    assert np.std(expected) > 1
    np.testing.assert_allclose(found[500], expected, atol=0.1)
    with pytest.raises(ValueError, match="no labels for a model with num_classes = 3"):
        vae_bounds.negative_log_likelihoods(graphdef, state, images, KEY, 2)


def test_what_the_bound_refuses():
    model = training.as_module(*tiny())
    grey = np.full((2, 3, 3, 1), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"num_samples = 0; allowed: 1 or more"):
        vae_bounds.importance_weighted_bound(model, grey.round(), KEY, 0)
    for bound in (vae.elbo, lambda *a: vae_bounds.importance_weighted_bound(*a, 3)):
        with pytest.raises(ValueError, match=r"100.0% of the pixels are neither 0 nor 1"):
            bound(model, grey, KEY)
        with pytest.raises(ValueError, match=r"pixels range over \[0, 255\]"):
            bound(model, binary(2), KEY)
        with pytest.raises(ValueError, match=r"labels for a model with num_classes = 0"):
            bound(
                model, binary(2) / np.float32(255), KEY, np.zeros(2, int)
            ) if bound is vae.elbo else (
                vae_bounds.log_weights(model, binary(2) / np.float32(255), KEY, 3, np.zeros(2, int))
            )
    with pytest.raises(ValueError, match=r"float32; expected grey levels"):
        vae_bounds.negative_log_likelihoods(*tiny(), grey, KEY, 2)


# --- latents in use -------------------------------------------------------------------------------------------


def test_active_units_counts_what_was_not_collapsed():
    graphdef, state = tiny(latent_dim=5)
    mean = state.params["encoder"]["mean"]
    for collapsed in (1, 3):
        mean["kernel"][...] = mean["kernel"][...].at[:, collapsed].set(0)
    mean["bias"][...] = jnp.full(5, 7.0)  # a constant code says nothing of the image
    images = binary(200)
    found = vae_bounds.active_units(graphdef, state, images, KEY)
    assert found.tolist() == [True, False, True, False, True]
    # The threshold is one of variances of the means.
    model = training.as_module(graphdef, state)
    variances = np.asarray(model.encoder(jnp.asarray(images / 255, jnp.float32))[0]).var(0)
    ordered = np.sort(variances)  # 0, 0 and three more
    for count, threshold in enumerate((ordered[2:4].mean(), ordered[3:5].mean(), 2 * ordered[4])):
        found = vae_bounds.active_units(graphdef, state, images, KEY, threshold)
        np.testing.assert_array_equal(found, variances > threshold)
        assert found.sum() == 2 - count


def test_posterior_means_need_the_labels_of_a_model_that_has_them():
    graphdef, state = tiny(num_classes=3, latent_dim=2)
    images = binary(6)
    with pytest.raises(ValueError, match="no labels for a model with num_classes = 3"):
        vae_bounds.posterior_means(graphdef, state, images, KEY)
    means = vae_bounds.posterior_means(graphdef, state, images, KEY, np.arange(6) % 3)
    assert means.shape == (6, 2)
    others = vae_bounds.posterior_means(graphdef, state, images, KEY, (np.arange(6) + 1) % 3)
    assert (means != others).all()


def test_the_chapter_gives_these_by_name():
    assert vae.importance_weighted_bound is vae_bounds.importance_weighted_bound
    assert vae.active_units is vae_bounds.active_units
    assert vae.linear_vae is linear_vae
    with pytest.raises(AttributeError, match=r"module 'imgbook.vae' has no attribute 'elbow'"):
        _ = vae.elbow

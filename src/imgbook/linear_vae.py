"""Chapter 5: a VAE whose encoder and decoder are linear, for which everything can be computed.

Decoder p(x | z) = N(W z + mean, sigma2 I), prior p(z) = N(0, I), encoder q(z | x) = N(V (x - mean), diag(exp(logvar))).
Its marginal is that of probabilistic principal component analysis, pPCA (Tipping and Bishop 1999), whose maximum of
likelihood has a closed form; the bound has one, too, and touches the likelihood at that maximum (Lucas et al. 2019).

Averages over data depend on the data by their mean and covariance alone, so all functions take the covariance. All
results are in nats of one image of D numbers, averaged over the data.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

LOG_2PI = float(np.log(2 * np.pi))


class LinearVAE(NamedTuple):
    """The parameters; the mean is that of the data."""

    decoder: jax.Array  # W [D, K]
    encoder: jax.Array  # V [K, D]
    logvar: jax.Array  # of the encoder [K]
    log_sigma2: jax.Array  # of the decoder []


def elbo(model: LinearVAE, covariance: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The bound's mean over data of a covariance `[D, D]`, without sampling: (bound, log-likelihood, KL) in nats.

    The residual x - mean - W z has the mean square tr((I - W V) S (I - W V)') + sum_k s_k |W_k|^2.
    """
    w, v, s, sigma2 = *model[:2], jnp.exp(model.logvar), jnp.exp(model.log_sigma2)
    left = jnp.eye(len(w)) - w @ v
    squares = jnp.sum((left @ covariance) * left) + jnp.sum(s * jnp.sum(w**2, 0))
    log_likelihood = -0.5 * (len(w) * (LOG_2PI + model.log_sigma2) + squares / sigma2)
    means = jnp.sum((v @ covariance) * v, 1)  # [K], mean squares of the posterior means
    kl = 0.5 * jnp.sum(means + s - 1 - model.logvar)
    return log_likelihood - kl, log_likelihood, kl


def log_marginal(model: LinearVAE, covariance: jax.Array) -> jax.Array:
    """log p(x) itself, of x ~ N(mean, W W' + sigma2 I), its mean over the data (Tipping and Bishop 1999, eq. 4)."""
    w = model.decoder
    marginal = w @ w.T + jnp.exp(model.log_sigma2) * jnp.eye(len(w))
    _, log_determinant = jnp.linalg.slogdet(marginal)
    trace = jnp.trace(jnp.linalg.solve(marginal, covariance))
    return -0.5 * (len(w) * LOG_2PI + log_determinant + trace)


def best_encoder(decoder: jax.Array, log_sigma2: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """The encoder `[K, D]` and its log-variances `[K]` that give the highest bound for a decoder W.

    The true posterior is N(M^-1 W' (x - mean), sigma2 M^-1), M = W' W + sigma2 I. Its mean can be had exactly; of its
    precision a diagonal encoder has the diagonal, which is all of it if the columns of W are orthogonal.
    """
    sigma2 = jnp.exp(log_sigma2)
    precision = decoder.T @ decoder + sigma2 * jnp.eye(decoder.shape[1])
    return jnp.linalg.solve(precision, decoder.T), jnp.log(sigma2 / jnp.diag(precision))


def ppca_optimum(covariance: np.ndarray, latent_dim: int, sigma2: float | None = None) -> LinearVAE:
    """The maximum of the likelihood, in closed form, with the encoder that makes the bound equal to it.

    The columns of W are the first eigenvectors of the covariance, of length sqrt(eigenvalue - sigma2), or 0 where the
    eigenvalue is smaller (Tipping and Bishop 1999, equation 7). sigma2: given, or None for the best, the mean of the
    eigenvalues left out (equation 8).

    Raises:
        ValueError: the covariance is no symmetric matrix; latent_dim is not in 1 .. D - 1; sigma2 is not positive.
    """
    check(covariance, latent_dim, sigma2)
    eigenvalues, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    if sigma2 is None:
        sigma2 = eigenvalues[latent_dim:].mean()
    lengths = np.sqrt(np.maximum(eigenvalues[:latent_dim] - sigma2, 0))
    decoder = jnp.asarray(vectors[:, :latent_dim] * lengths)
    log_sigma2 = jnp.log(jnp.asarray(sigma2, decoder.dtype))
    return LinearVAE(decoder, *best_encoder(decoder, log_sigma2), log_sigma2)


def init(
    latent_dim: int, covariance: np.ndarray, key: jax.Array, sigma2: float | None = None
) -> LinearVAE:
    """Small random weights; variance 1 in the encoder; in the decoder sigma2, or the mean variance of the data.

    Raises:
        ValueError: as `ppca_optimum`.
    """
    check(covariance, latent_dim, sigma2)
    size = len(covariance)
    keys = jax.random.split(key)
    decoder = 0.1 * jax.random.normal(keys[0], (size, latent_dim)) * size**-0.5
    encoder = 0.1 * jax.random.normal(keys[1], (latent_dim, size)) * size**-0.5
    start = np.trace(covariance) / size if sigma2 is None else sigma2
    return LinearVAE(
        decoder, encoder, jnp.zeros(latent_dim), jnp.log(jnp.asarray(start, jnp.float32))
    )


def train(
    covariance: np.ndarray,
    latent_dim: int,
    key: jax.Array,
    sigma2: float | None = None,
    num_steps: int = 10_000,
    learning_rate: float = 0.01,
) -> tuple[LinearVAE, np.ndarray]:
    """Climb the bound by Adam with a cosine decay, from random weights; the model and -ELBO at each step, in nats.

    sigma2: fixed at this, or None to train it, too.

    Raises:
        ValueError: as `ppca_optimum`.
    """
    model = init(latent_dim, covariance, key, sigma2)
    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    target = jnp.asarray(covariance, jnp.float32)

    def loss_fn(model):
        if sigma2 is not None:
            model = model._replace(log_sigma2=jax.lax.stop_gradient(model.log_sigma2))
        return -elbo(model, target)[0]

    def step(carry, _):
        model, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(model)
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(model, updates), opt_state), loss

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=num_steps))
    (model, _), losses = run((model, tx.init(model)))
    return model, np.asarray(losses)


def active(model: LinearVAE, covariance: np.ndarray, threshold: float = 0.01) -> np.ndarray:
    """Which latents carry something `[K]`: the variance of their posterior mean over the data is above the threshold
    (Burda et al. 2016, section 5.2).
    """
    v = np.asarray(model.encoder, np.float64)
    return np.einsum("kd,de,ke->k", v, covariance, v) > threshold


def check(covariance: np.ndarray, latent_dim: int, sigma2: float | None) -> None:
    """Raise ValueError for a covariance, a number of latents or a variance that no linear VAE has."""
    shape = np.shape(covariance)
    if (
        len(shape) != 2
        or shape[0] != shape[1]
        or not np.allclose(covariance, np.transpose(covariance))
    ):
        raise ValueError(f"covariance of shape {shape}; expected a symmetric matrix [D, D]")
    if not 1 <= latent_dim < shape[0]:
        raise ValueError(
            f"latent_dim = {latent_dim}; allowed: 1 to {shape[0] - 1}, below the size of x"
        )
    if sigma2 is not None and not sigma2 > 0:
        raise ValueError(f"sigma2 = {sigma2}; allowed: positive, or None to find it")

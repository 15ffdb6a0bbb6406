# loses: importance-tests
# why: one logarithm for the whole batch
# differs: shape () where (2000,) is right
# %% importance
def importance_weighted_bound(x, key, num_samples, encode, decode, sample_fn, log_likelihood_fn):
    mean, logvar = encode(x)
    log_weights = []
    for s in range(num_samples):
        latents = sample_fn(jax.random.fold_in(key, s), mean, logvar)
        square = (latents - mean) ** 2 / jnp.exp(logvar)
        log_prior = -0.5 * (latents**2 + np.log(2 * np.pi)).sum(-1)
        log_proposal = -0.5 * (square + logvar + np.log(2 * np.pi)).sum(-1)
        log_weights.append(log_likelihood_fn(decode(latents), x) + log_prior - log_proposal)
    return jax.nn.logsumexp(jnp.stack(log_weights), axis=None) - np.log(num_samples)

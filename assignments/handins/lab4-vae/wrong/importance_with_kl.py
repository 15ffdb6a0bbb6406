# loses: importance-tests
# why: the closed divergence subtracted where the densities of the sample belong
# differs: -1.1 nats off on average with 8 samples
# %% importance
def importance_weighted_bound(x, key, num_samples, encode, decode, sample_fn, log_likelihood_fn):
    mean, logvar = encode(x)
    log_weights = []
    for s in range(num_samples):
        latents = sample_fn(jax.random.fold_in(key, s), mean, logvar)
        kl = 0.5 * (mean**2 + jnp.exp(logvar) - 1 - logvar).sum(-1)
        log_weights.append(log_likelihood_fn(decode(latents), x) - kl)
    return jax.nn.logsumexp(jnp.stack(log_weights), axis=0) - np.log(num_samples)

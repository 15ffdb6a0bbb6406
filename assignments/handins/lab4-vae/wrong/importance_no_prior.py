# loses: importance-tests
# why: the prior left out of the weight
# differs: 3.7 nats off on average with 1 sample; 2.5 nats off on average with 8 samples; -1997 where -2000 is right beside 0
# %% importance
def importance_weighted_bound(x, key, num_samples, encode, decode, sample_fn, log_likelihood_fn):
    mean, logvar = encode(x)
    log_weights = []
    for s in range(num_samples):
        latents = sample_fn(jax.random.fold_in(key, s), mean, logvar)
        square = (latents - mean) ** 2 / jnp.exp(logvar)
        log_prior = -0.5 * (latents**2 + np.log(2 * np.pi)).sum(-1)
        log_proposal = -0.5 * (square + logvar + np.log(2 * np.pi)).sum(-1)
        log_weights.append(log_likelihood_fn(decode(latents), x) - log_proposal)
    return jax.nn.logsumexp(jnp.stack(log_weights), axis=0) - np.log(num_samples)

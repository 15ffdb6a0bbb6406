# loses: elbo-tests
# why: the key ignored: a fixed one handed on
# differs: bound rel 0.28 at beta 1; log-likelihood rel 0.28 at beta 1; bound rel 0.27 at beta 3; log-likelihood rel 0.28 at beta 3
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(jax.random.key(0), mean, logvar)
    log_likelihood = log_likelihood_fn(decode(latents), x)
    kl = kl_fn(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

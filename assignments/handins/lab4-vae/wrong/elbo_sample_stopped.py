# loses: elbo-tests
# why: the gradient stopped at the sample
# differs: gradient by the encoder -10 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = jax.lax.stop_gradient(sample_fn(key, mean, logvar))
    log_likelihood = log_likelihood_fn(decode(latents), x)
    kl = kl_fn(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

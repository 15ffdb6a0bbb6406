# loses: elbo-tests, elbo-exact-tests
# why: the divergence added instead of subtracted
# differs: bound rel 0.026 at beta 1; bound rel 0.075 at beta 3; gradient by the encoder -2.9e+02 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(key, mean, logvar)
    log_likelihood = log_likelihood_fn(decode(latents), x)
    kl = kl_fn(mean, logvar)
    return log_likelihood + beta * kl, log_likelihood, kl

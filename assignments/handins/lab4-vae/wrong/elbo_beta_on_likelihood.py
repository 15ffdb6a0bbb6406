# loses: elbo-tests
# why: beta applied to the likelihood
# differs: bound rel 1.9 at beta 3
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(key, mean, logvar)
    log_likelihood = log_likelihood_fn(decode(latents), x)
    kl = kl_fn(mean, logvar)
    return beta * log_likelihood - kl, log_likelihood, kl

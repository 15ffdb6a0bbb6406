# loses: elbo-tests, elbo-exact-tests
# why: averaged over the batch
# differs: bound shape () where (5,) is right at beta 1; log-likelihood shape () where (5,) is right at beta 1; kl shape () where (5,) is right at beta 1; bound shape () where (5,) is right at beta 3; log-likelihood shape () where (5,) is right at beta 3; kl shape () where (5,) is right at beta 3; gradient by the encoder -62 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(key, mean, logvar)
    log_likelihood = log_likelihood_fn(decode(latents), x).mean()
    kl = kl_fn(mean, logvar).mean()
    return log_likelihood - beta * kl, log_likelihood, kl

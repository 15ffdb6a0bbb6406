# loses: elbo-tests
# why: the parts of the notebook used instead of those handed in
# differs: gradient by the encoder -2.6e+02 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = reparameterize(key, mean, logvar)
    log_likelihood = log_likelihood_fn(decode(latents), x)
    kl = gaussian_kl(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

# loses: elbo-tests
# why: image and logits swapped in the likelihood
# differs: bound rel 2.1 at beta 1; log-likelihood rel 2.1 at beta 1; bound rel 2 at beta 3; log-likelihood rel 2.1 at beta 3; gradient by the encoder -1143 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(key, mean, logvar)
    log_likelihood = log_likelihood_fn(x, decode(latents))
    kl = kl_fn(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

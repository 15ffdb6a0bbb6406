# loses: elbo-tests, elbo-exact-tests
# why: the mean of the proposal decoded instead of a sample
# differs: bound rel 0.69 at beta 1; log-likelihood rel 0.7 at beta 1; bound rel 0.67 at beta 3; log-likelihood rel 0.7 at beta 3; gradient by the encoder -1.6e+02 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    log_likelihood = log_likelihood_fn(decode(mean), x)
    kl = kl_fn(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

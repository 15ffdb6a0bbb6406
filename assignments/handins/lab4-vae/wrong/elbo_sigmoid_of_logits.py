# loses: elbo-tests, elbo-exact-tests
# why: a sigmoid before a likelihood that expects logits
# differs: bound rel 0.85 at beta 1; log-likelihood rel 0.86 at beta 1; bound rel 0.83 at beta 3; log-likelihood rel 0.86 at beta 3; gradient by the encoder -18 where -3.1e+02 is right
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    mean, logvar = encode(x)
    latents = sample_fn(key, mean, logvar)
    log_likelihood = log_likelihood_fn(jax.nn.sigmoid(decode(latents)), x)
    kl = kl_fn(mean, logvar)
    return log_likelihood - beta * kl, log_likelihood, kl

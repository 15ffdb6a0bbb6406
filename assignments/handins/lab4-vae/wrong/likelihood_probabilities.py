# loses: log-likelihood-tests, log-likelihood-large-tests
# why: logits taken for probabilities
# differs: rel 3.6 on random logits [4, 8, 8]; rel 1 on logits of 10,000, gradient rel 1
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    p = jnp.clip(logits, 1e-6, 1 - 1e-6)
    log_p = x * jnp.log(p) + (1 - x) * jnp.log(1 - p)
    return log_p.sum(axis=tuple(range(1, x.ndim)))

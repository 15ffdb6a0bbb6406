# loses: log-likelihood-large-tests
# why: a small number added inside the logarithm
# differs: rel 7.7e-07 on random logits [4, 8, 8]; rel 1 on logits of 10,000, gradient rel 1
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    p = jax.nn.sigmoid(logits)
    log_p = x * jnp.log(p + 1e-8) + (1 - x) * jnp.log(1 - p + 1e-8)
    return log_p.sum(axis=tuple(range(1, x.ndim)))

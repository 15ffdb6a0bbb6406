# loses: log-likelihood-large-tests
# why: the formula as it stands: log of a sigmoid that is 0 or 1 in float32
# differs: rel 3.1e-07 on random logits [4, 8, 8]; rel nan on logits of 10,000, gradient rel nan
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    p = jax.nn.sigmoid(logits)
    log_p = x * jnp.log(p) + (1 - x) * jnp.log(1 - p)
    return log_p.sum(axis=tuple(range(1, x.ndim)))

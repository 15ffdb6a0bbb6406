# loses: log-likelihood-large-tests
# why: probabilities clipped before the logarithm
# differs: rel 3.1e-07 on random logits [4, 8, 8]; rel 1 on logits of 10,000, gradient rel 1
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    p = jnp.clip(jax.nn.sigmoid(logits), 1e-7, 1 - 1e-7)
    log_p = x * jnp.log(p) + (1 - x) * jnp.log(1 - p)
    return log_p.sum(axis=tuple(range(1, x.ndim)))

# loses: log-likelihood-tests, log-likelihood-large-tests
# why: the sigmoid applied twice
# differs: rel 0.53 on random logits [4, 8, 8]; rel 1 on logits of 10,000, gradient rel 1
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    p = jax.nn.sigmoid(logits)
    log_p = x * jax.nn.log_sigmoid(p) + (1 - x) * jax.nn.log_sigmoid(-p)
    return log_p.sum(axis=tuple(range(1, x.ndim)))

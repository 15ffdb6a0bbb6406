# loses: log-likelihood-tests, log-likelihood-large-tests
# why: only the pixels that are 1 are counted
# differs: rel 0.41 on random logits [4, 8, 8]; rel 1 on logits of 10,000, gradient rel 1
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    return (x * jax.nn.log_sigmoid(logits)).sum(axis=tuple(range(1, x.ndim)))

# loses: log-likelihood-tests
# why: mean over the pixels instead of the sum
# differs: rel 0.98 on random logits [4, 8, 8]; rel 0.67 on logits of 10,000, gradient rel 0.67
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    log_p = -optax.sigmoid_binary_cross_entropy(logits, x)
    return log_p.mean(axis=tuple(range(1, x.ndim)))

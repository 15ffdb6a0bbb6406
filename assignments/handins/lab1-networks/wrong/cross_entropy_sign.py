# loses: cross-entropy-tests
# why: the sign: mean log-probability
# differs: rel 2 on random logits [7, 3], rel 2 on logits 1000, 0, -1000
# %% cross-entropy
def cross_entropy(logits, labels):
    log_p = jax.nn.log_softmax(logits, axis=1)
    return log_p[jnp.arange(len(labels)), labels].mean()

# loses: cross-entropy-tests
# why: sum in place of the mean over the batch
# differs: rel 6 on random logits [7, 3], rel 0 on logits 1000, 0, -1000
# %% cross-entropy
def cross_entropy(logits, labels):
    log_p = jax.nn.log_softmax(logits, axis=1)
    return -log_p[jnp.arange(len(labels)), labels].sum()

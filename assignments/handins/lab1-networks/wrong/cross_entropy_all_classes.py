# loses: cross-entropy-tests
# why: mean over rows and classes, so a factor 1 / K too small
# differs: rel 0.67 on random logits [7, 3], rel 0.67 on logits 1000, 0, -1000
# %% cross-entropy
def cross_entropy(logits, labels):
    one_hot = jnp.eye(logits.shape[1])[labels]
    return -(one_hot * jax.nn.log_softmax(logits, axis=1)).mean()

# loses: cross-entropy-tests
# why: uses a variable of another cell that is not there when the notebook is run afresh
# differs: raises NameError
# %% cross-entropy
def cross_entropy(logits, labels):
    log_p = jax.nn.log_softmax(logits, axis=1)
    return -log_p[jnp.arange(batch), labels].mean()

# loses: cross-entropy-tests
# why: logarithm of probabilities with a small number added: finite, and wrong where the network is very wrong
# differs: rel 8.1e-11 on random logits [7, 3], rel 0.99 on logits 1000, 0, -1000
# %% cross-entropy
def cross_entropy(logits, labels):
    p = jax.nn.softmax(logits, axis=1)
    return -jnp.log(p[jnp.arange(len(labels)), labels] + 1e-12).mean()

# loses: softmax-tests
# why: one shift for the whole matrix: rows with small logits become 0 / 0
# differs: rel 1.1e-16 on random logits [7, 3], nan where the right values are finite on rows of 900 and -900
# %% softmax
def softmax(logits):
    e = jnp.exp(logits - logits.max())
    return e / e.sum(axis=1, keepdims=True)

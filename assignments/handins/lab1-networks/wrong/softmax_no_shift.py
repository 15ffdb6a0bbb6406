# loses: softmax-tests
# why: softmax taken literally, without a shift; it overflows
# differs: rel 2.2e-16 on random logits [7, 3], nan where the right values are finite on rows of 900 and -900
# %% softmax
def softmax(logits):
    e = jnp.exp(logits)
    return e / e.sum(axis=1, keepdims=True)

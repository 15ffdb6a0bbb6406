# loses: softmax-tests
# why: normalised over the batch in place of the classes
# differs: rel 0.95 on random logits [7, 3], rel 1.4 on rows of 900 and -900
# %% softmax
def softmax(logits):
    e = jnp.exp(logits - logits.max(axis=0))
    return e / e.sum(axis=0)

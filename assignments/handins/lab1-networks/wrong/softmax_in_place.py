# loses: softmax-tests
# why: subtracts in place: a NumPy array that was given is changed afterwards
# differs: rel 2.8e-17 on random logits [7, 3], rel 1.7e-16 on rows of 900 and -900; the given array changed by 6.3
# %% softmax
def softmax(logits):
    logits -= logits.max(axis=1, keepdims=True)
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)

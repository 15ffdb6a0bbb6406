# loses: backward-second-tests
# why: the bias gradient of the second layer is not summed over the rows
# differs: W1 rel 0, b1 rel 0, W2 rel 0, b2 27 numbers where 3 are right on a random network [9, 2, 6, 3]
# %% backward
def backward(params, X, labels, A, H, P):
    Y = jax.nn.one_hot(labels, P.shape[1])
    D2 = (P - Y) / len(X)
    D1 = (D2 @ params["W2"].T) * (A > 0)
    return {"W1": X.T @ D1, "b1": D1.sum(axis=0), "W2": H.T @ D2, "b2": D2}

# loses: backward-second-tests, backward-first-tests
# why: 1 / N forgotten: the gradient of the sum
# differs: W1 rel 8, b1 rel 8, W2 rel 8, b2 rel 8 on a random network [9, 2, 6, 3]
# %% backward
def backward(params, X, labels, A, H, P):
    Y = jax.nn.one_hot(labels, P.shape[1])
    D2 = P - Y
    D1 = (D2 @ params["W2"].T) * (A > 0)
    return {"W1": X.T @ D1, "b1": D1.sum(axis=0), "W2": H.T @ D2, "b2": D2.sum(axis=0)}

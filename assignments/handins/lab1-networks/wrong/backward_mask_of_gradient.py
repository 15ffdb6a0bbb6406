# loses: backward-first-tests
# why: the mask is formed of the gradient that arrives, not of A
# differs: W1 rel 2.6, b1 rel 8.8, W2 rel 0, b2 rel 0 on a random network [9, 2, 6, 3]
# %% backward
def backward(params, X, labels, A, H, P):
    Y = jax.nn.one_hot(labels, P.shape[1])
    D2 = (P - Y) / len(X)
    D1 = jnp.maximum(0, D2 @ params["W2"].T)
    return {"W1": X.T @ D1, "b1": D1.sum(axis=0), "W2": H.T @ D2, "b2": D2.sum(axis=0)}

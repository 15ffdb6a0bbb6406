# loses: backward-second-tests
# why: writes the gradients into the dictionary of parameters
# differs: W1 rel 0, b1 rel 0, W2 rel 0, b2 rel 0 on a random network [9, 2, 6, 3]; the given dictionary is changed
# %% backward
def backward(params, X, labels, A, H, P):
    Y = jax.nn.one_hot(labels, P.shape[1])
    D2 = (P - Y) / len(X)
    D1 = (D2 @ params["W2"].T) * (A > 0)
    params["W2"], params["b2"] = H.T @ D2, D2.sum(axis=0)
    params["W1"], params["b1"] = X.T @ D1, D1.sum(axis=0)
    return params

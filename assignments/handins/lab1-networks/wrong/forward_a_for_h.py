# loses: forward-tests
# why: the logits are computed from A: the ReLU is formed and not used
# differs: rel 1.1 on a random network [9, 2, 6, 3]
# %% forward
def forward(params, X):
    A = X @ params["W1"] + params["b1"]
    H = jnp.maximum(0, A)
    return A, H, A @ params["W2"] + params["b2"]

# loses: forward-tests
# why: a ReLU on the logits as well
# differs: rel 0.38 on a random network [9, 2, 6, 3]
# %% forward
def forward(params, X):
    A = X @ params["W1"] + params["b1"]
    H = jnp.maximum(0, A)
    return A, H, jnp.maximum(0, H @ params["W2"] + params["b2"])

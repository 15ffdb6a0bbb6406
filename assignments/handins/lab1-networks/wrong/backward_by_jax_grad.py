# loses: backward-second-tests, backward-first-tests
# why: right numbers, by jax.grad: the task asks for the derivation by hand
# differs: does not differ in its values; the checks refuse automatic differentiation
# %% backward
def backward(params, X, labels, A, H, P):
    def loss(p):
        logits = jnp.maximum(0, X @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean()

    return jax.grad(loss)(params)

# loses: adam-tests
# why: the running mean is formed twice in one step
# differs: rel 0.77 on the way gone in five steps
# %% adam
def adam_init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"t": 0, "m": zeros, "v": zeros}


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    t = state["t"] + 1
    m = {k: beta1 * state["m"][k] + (1 - beta1) * g for k, g in grads.items()}
    v = {k: beta2 * state["v"][k] + (1 - beta2) * g**2 for k, g in grads.items()}
    m = {k: beta1 * m[k] + (1 - beta1) * g for k, g in grads.items()}
    new = {}
    for k in params:
        m_hat, v_hat = m[k] / (1 - beta1**t), v[k] / (1 - beta2**t)
        new[k] = params[k] - eta * m_hat / (jnp.sqrt(v_hat) + eps)
    return new, {"t": t, "m": m, "v": v}

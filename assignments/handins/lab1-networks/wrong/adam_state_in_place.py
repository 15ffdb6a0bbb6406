# loses: adam-tests
# why: changes the state that it was given
# differs: rel 8.9e-16 on the way gone in five steps; started again from the same state, rel 0.44 from the first run
# %% adam
def adam_init(params):
    return {"t": 0} | {k: (jnp.zeros_like(p), jnp.zeros_like(p)) for k, p in params.items()}


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    state["t"] += 1
    t, new = state["t"], {}
    for k, g in grads.items():
        m, v = state[k]
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        state[k] = m, v
        new[k] = params[k] - eta * m / (1 - beta1**t) / (jnp.sqrt(v / (1 - beta2**t)) + eps)
    return new, state

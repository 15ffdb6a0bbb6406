# loses: adam-tests
# why: changes NumPy parameters that it was given, by -=
# differs: rel 8.9e-16 on the way gone in five steps; NumPy parameters that were given changed by 1
# %% adam
def adam_init(params):
    return 0, {k: 0.0 for k in params}, {k: 0.0 for k in params}


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    t, m, v = state[0] + 1, {}, {}
    new = dict(params)
    for k, g in grads.items():
        m[k] = beta1 * state[1][k] + (1 - beta1) * g
        v[k] = beta2 * state[2][k] + (1 - beta2) * g**2
        new[k] -= eta * m[k] / (1 - beta1**t) / (v[k] ** 0.5 / (1 - beta2**t) ** 0.5 + eps)
    return new, (t, m, v)

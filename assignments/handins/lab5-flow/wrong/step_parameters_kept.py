# loses: step-tests, step-learns-tests
# why: the updated parameters are thrown away
# differs: losses of 20 Adam steps: rel 2.3 without noise, rel 0.38 with noise
# %% step
def make_step(loss_fn, tx):
    def step(state, x1):
        params, opt_state, key = state
        key, loss_key = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_fn)(params, loss_key, x1)
        updates, opt_state = tx.update(grads, opt_state, params)
        optax.apply_updates(params, updates)
        return (params, opt_state, key), loss

    return step

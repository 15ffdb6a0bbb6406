# loses: step-tests, step-learns-tests
# why: the key of the state never changes: the same noise in every step
# differs: losses of 20 Adam steps: rel 0 without noise, rel 0.86 with noise
# %% step
def make_step(loss_fn, tx):
    def step(state, x1):
        params, opt_state, key = state
        loss_key = key
        loss, grads = jax.value_and_grad(loss_fn)(params, loss_key, x1)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), loss

    return step

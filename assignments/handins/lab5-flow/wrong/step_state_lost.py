# loses: step-tests
# why: the optimiser begins anew in every step
# differs: losses of 20 Adam steps: rel 0.084 without noise, rel 0.12 with noise
# %% step
def make_step(loss_fn, tx):
    def step(state, x1):
        params, opt_state, key = state
        key, loss_key = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_fn)(params, loss_key, x1)
        updates, _ = tx.update(grads, tx.init(params), params)
        return (optax.apply_updates(params, updates), opt_state, key), loss

    return step

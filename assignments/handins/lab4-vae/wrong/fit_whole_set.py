# loses: fit-tests
# why: all images in every step, whatever batch_size says
# differs: batches of 96 images where 8 are right
# %% fit
def fit(loss_fn, params, images, key, num_steps, tx, batch_size=64):
    row_key, noise_key = jax.random.split(key)
    rows = np.asarray(jax.random.randint(row_key, (num_steps, batch_size), 0, len(images)))

    @jax.jit
    def step(params, opt_state, x, i):
        fresh_key = jax.random.fold_in(noise_key, i)
        loss, grads = jax.value_and_grad(loss_fn)(params, x, fresh_key)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    opt_state, losses = tx.init(params), []
    for i in range(num_steps):
        params, opt_state, loss = step(params, opt_state, images, i)
        losses.append(loss)
    return params, np.asarray(losses)

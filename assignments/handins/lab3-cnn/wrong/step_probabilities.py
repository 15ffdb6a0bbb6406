# loses: step-tests
# why: probabilities into a loss that expects logits
# differs: loss rel 0.34, parameters rel 0.07, statistics rel 0 after one step of a dense layer
# %% step
def make_step(forward, tx):
    def loss_fn(params, stats, images, labels):
        logits, new_stats = forward(params, stats, images, True)
        probabilities = jax.nn.softmax(logits)
        return optax.softmax_cross_entropy_with_integer_labels(probabilities, labels).mean(), new_stats

    @jax.jit
    def step(params, stats, opt_state, images, labels):
        (loss, new_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, stats, images, labels
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_stats, opt_state, loss

    return step

# loses: train-tests
# why: draws with replacement: rows occur twice in a batch
# differs: losses rel 0.64, parameters rel 0.13 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = rng.integers(0, len(X), batch_size)
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, state = opt_step(params, grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

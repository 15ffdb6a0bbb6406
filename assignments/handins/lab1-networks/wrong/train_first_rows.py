# loses: train-tests
# why: goes through the rows in their order, which is sorted by class
# differs: losses rel 0.39, parameters rel 0.16 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = np.arange(i * batch_size, (i + 1) * batch_size) % len(X)
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, state = opt_step(params, grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

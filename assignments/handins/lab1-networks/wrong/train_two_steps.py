# loses: train-tests
# why: applies each update twice
# differs: losses rel 0.31, parameters rel 0.4 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = rng.choice(len(X), size=batch_size, replace=False)
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, state = opt_step(*opt_step(params, grads, state)[:1], grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

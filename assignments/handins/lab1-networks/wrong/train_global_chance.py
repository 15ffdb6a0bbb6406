# loses: train-tests
# why: draws from the global generator: the seed does not decide the run
# differs: losses rel 0.58, parameters rel 0.2 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = np.random.choice(len(X), size=batch_size, replace=False)
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, state = opt_step(params, grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

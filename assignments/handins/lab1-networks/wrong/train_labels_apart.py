# loses: train-tests
# why: rows and labels are drawn apart
# differs: losses rel 1.3, parameters rel 0.9 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = rng.choice(len(X), size=batch_size, replace=False)
        loss, grads = loss_and_grad(params, X[rows], labels[rng.choice(len(X), size=batch_size, replace=False)])
        params, state = opt_step(params, grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

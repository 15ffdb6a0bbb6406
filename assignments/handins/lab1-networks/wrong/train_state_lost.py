# loses: train-tests
# why: starts the optimiser afresh in every step
# differs: losses rel 0.35, parameters rel 0.72 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    for i in range(num_steps):
        rows = rng.choice(len(X), size=batch_size, replace=False)
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, _ = opt_step(params, grads, opt_init(params))
        losses.append(float(loss))
    return params, np.array(losses)

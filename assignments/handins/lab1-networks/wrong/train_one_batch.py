# loses: train-tests
# why: draws once, before the loop: the same batch in every step
# differs: losses rel 0.48, parameters rel 0.46 after 30 steps of logistic regression
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    state, losses = opt_init(params), []
    batch = rng.choice(len(X), size=batch_size, replace=False)
    for i in range(num_steps):
        rows = batch
        loss, grads = loss_and_grad(params, X[rows], labels[rows])
        params, state = opt_step(params, grads, state)
        losses.append(float(loss))
    return params, np.array(losses)

# loses: experiment-tests
# why: returns means over the seeds: the spread is lost
# differs: training 2 numbers where 6 are right, validation 2 numbers where 6 are right with a mean in place of a network
# %% experiment
def experiment(fit, mean_loss, X, labels, X_val, labels_val, sizes, seeds):
    train_loss, val_loss = np.zeros((2, len(sizes), len(seeds)))
    for i, n in enumerate(sizes):
        for j, seed in enumerate(seeds):
            rows = np.random.default_rng(seed).choice(len(X), size=n, replace=False)
            params = fit(X[rows], labels[rows], seed)
            train_loss[i, j] = mean_loss(params, X[rows], labels[rows])
            val_loss[i, j] = mean_loss(params, X_val, labels_val)
    return train_loss.mean(axis=1), val_loss.mean(axis=1)

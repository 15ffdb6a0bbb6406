# loses: experiment-tests
# why: all seeds train on the same rows
# differs: training rel 0.5, validation rel 0.0067 with a mean in place of a network
# %% experiment
def experiment(fit, mean_loss, X, labels, X_val, labels_val, sizes, seeds):
    train_loss, val_loss = np.zeros((2, len(sizes), len(seeds)))
    for i, n in enumerate(sizes):
        for j, seed in enumerate(seeds):
            rows = np.random.default_rng(0).choice(len(X), size=n, replace=False)
            params = fit(X[rows], labels[rows], seed)
            train_loss[i, j] = mean_loss(params, X[rows], labels[rows])
            val_loss[i, j] = mean_loss(params, X_val, labels_val)
    return train_loss, val_loss

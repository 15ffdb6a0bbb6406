# loses: experiment-tests
# why: the key of training drawn with again for the samples
# differs: loss rel 0.044, modes rel 0.029, good rel 0.22 on a made-up experiment
# %% experiment
def experiment(d_rates, seeds, train, sample, measure, num_samples=1000):
    results = {"loss": [], "modes": [], "good": []}
    for d_rate in d_rates:
        rows = []
        for seed in seeds:
            key = jax.random.key(seed)
            g_params, g_losses = train(d_rate, key)
            rows.append((g_losses[-100:].mean(), *measure(sample(g_params, key, num_samples))))
        for name, row in zip(results, zip(*rows)):
            results[name].append(row)
    return {name: np.array(rows) for name, rows in results.items()}

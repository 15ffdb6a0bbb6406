# loses: energy-tests
# why: the number printed, not returned
# differs: None where -0.236 is right, for random clouds of 4 and 7 points
# %% energy
def energy_distance(x, y):
    def distances(a, b):
        return jnp.sqrt(((a[:, None] - b) ** 2).sum(-1))

    n, m = len(x), len(y)
    within = distances(x, x).sum() / (n * (n - 1)) + distances(y, y).sum() / (m * (m - 1))
    print(2 * distances(x, y).mean() - within)

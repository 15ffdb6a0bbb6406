# loses: energy-tests
# why: the zero distances of points from themselves counted in the means
# differs: 0.337 where -0.236 is right, for random clouds of 4 and 7 points
# %% energy
def energy_distance(x, y):
    def distances(a, b):
        return jnp.sqrt(((a[:, None] - b) ** 2).sum(-1))

    return 2 * distances(x, y).mean() - distances(x, x).mean() - distances(y, y).mean()

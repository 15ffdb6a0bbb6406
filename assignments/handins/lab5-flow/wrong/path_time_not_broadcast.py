# loses: path-tests
# why: t of shape [N] along the coordinates, not along the batch
# differs: on random points [4, 2]: ValueError; on [2, 2]: x_t rel 0.38, velocity rel 0
# %% path
def straight_path(x0, x1, t):
    return (1 - t) * x0 + t * x1, x1 - x0

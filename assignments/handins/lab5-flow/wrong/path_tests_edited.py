# loses: path-tests
# why: the sign of the velocity left wrong and the cell of checks emptied
# differs: on random points [4, 2]: x_t rel 0, velocity rel 2; on [2, 2]: x_t rel 0, velocity rel 2
# %% path
def straight_path(x0, x1, t):
    t = t[:, None]
    return (1 - t) * x0 + t * x1, x0 - x1


# %% path-tests
print("straight_path: the visible checks pass")

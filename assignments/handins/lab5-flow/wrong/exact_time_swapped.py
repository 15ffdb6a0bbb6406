# loses: exact-velocity-tests, exact-velocity-late-tests
# why: t and 1 - t swapped in the weights
# differs: rel 0.33 at random places and times; 0 of 8 numbers nan at (60, 0)
# %% exact-velocity
def exact_velocity(x, t, points):
    t = t[:, None]
    offset = x[:, None, :] - (1 - t[:, :, None]) * points  # [N, K, d]
    weights = jax.nn.softmax(-(offset**2).sum(-1) / (2 * t**2 + 1e-12), axis=1)
    return (weights @ points - x) / (1 - t)

# loses: exact-velocity-tests, exact-velocity-late-tests
# why: the exponent divided by the deviation 1 - t where its square belongs
# differs: rel 0.28 at random places and times; 0 of 8 numbers nan at (60, 0)
# %% exact-velocity
def exact_velocity(x, t, points):
    t = t[:, None]
    offset = x[:, None, :] - t[:, :, None] * points  # [N, K, d]
    weights = jax.nn.softmax(-(offset**2).sum(-1) / (2 * (1 - t)), axis=1)
    return (weights @ points - x) / (1 - t)

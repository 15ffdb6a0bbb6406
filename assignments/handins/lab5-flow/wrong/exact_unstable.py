# loses: exact-velocity-late-tests
# why: exponentials as they stand: 0 / 0 far from all points
# differs: rel 2.3e-08 at random places and times; 8 of 8 numbers nan at (60, 0)
# %% exact-velocity
def exact_velocity(x, t, points):
    t = t[:, None]
    offset = x[:, None, :] - t[:, :, None] * points  # [N, K, d]
    weights = jnp.exp(-(offset**2).sum(-1) / (2 * (1 - t) ** 2))
    weights = weights / weights.sum(axis=1, keepdims=True)
    return (weights @ points - x) / (1 - t)

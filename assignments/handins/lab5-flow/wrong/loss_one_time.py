# loses: loss-random-tests
# why: one time shared by the whole batch
# differs: loss 4.86 where 5.66 is right, from one key; times of 2,000 points have the deviation 0 (0.29), correlation with noise [2000, 1] 0 (0)
# %% loss
def flow_matching_loss(velocity, path, key, x1):
    time_key, noise_key = jax.random.split(key)
    t = jnp.full(len(x1), jax.random.uniform(time_key))
    x0 = jax.random.normal(noise_key, x1.shape)
    x_t, target = path(x0, x1, t)
    return ((velocity(x_t, t) - target) ** 2).sum(axis=1).mean()

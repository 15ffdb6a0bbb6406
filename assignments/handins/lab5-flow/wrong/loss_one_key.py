# loses: loss-random-tests
# why: the same key for times and noise
# differs: loss 4.33 where 5.66 is right, from one key; times of 2,000 points have the deviation 0.29 (0.29), correlation with noise [2000, 1] 0.98 (0)
# %% loss
def flow_matching_loss(velocity, path, key, x1):
    time_key = noise_key = key
    t = jax.random.uniform(time_key, x1.shape[:1])
    x0 = jax.random.normal(noise_key, x1.shape)
    x_t, target = path(x0, x1, t)
    return ((velocity(x_t, t) - target) ** 2).sum(axis=1).mean()

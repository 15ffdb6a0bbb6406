# loses: gaussian-kl-tests
# why: reduced over the batch too, as in a loss
# differs: shape () where (4,) is right on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1).mean()

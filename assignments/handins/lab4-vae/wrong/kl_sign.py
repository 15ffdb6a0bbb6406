# loses: gaussian-kl-tests
# why: the sign of the term that is added to the bound, not of the divergence
# differs: rel 2 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar), axis=-1)

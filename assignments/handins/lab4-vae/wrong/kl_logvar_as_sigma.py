# loses: gaussian-kl-tests
# why: log-variance taken for sigma
# differs: rel 2 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum(mean**2 + logvar**2 - 1 - jnp.log(logvar**2 + 1e-8), axis=-1)

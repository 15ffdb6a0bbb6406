# loses: gaussian-kl-tests
# why: + log sigma^2 where - log sigma^2 belongs
# differs: rel 2.2 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 + logvar, axis=-1)

# loses: gaussian-kl-tests
# why: the factor one half forgotten
# differs: rel 1 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1)

# loses: gaussian-kl-tests
# why: the divergence of the prior from the proposal: the arguments the other way round
# differs: rel 2.6 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum((mean**2 + 1) / jnp.exp(logvar) - 1 + logvar, axis=-1)

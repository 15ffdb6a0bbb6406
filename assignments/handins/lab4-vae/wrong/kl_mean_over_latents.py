# loses: gaussian-kl-tests
# why: mean over the latents instead of the sum
# differs: rel 0.67 on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.mean(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=-1)

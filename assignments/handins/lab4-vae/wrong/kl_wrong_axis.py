# loses: gaussian-kl-tests
# why: summed over the images, not over the latents
# differs: shape (3,) where (4,) is right on random mean and logvar [4, 3]
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    return 0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - 1 - logvar, axis=0)

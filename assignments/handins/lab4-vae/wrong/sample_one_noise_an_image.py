# loses: reparameterize-tests
# why: one number of noise an image, shared by its latents
# differs: product of latents 1 where 0.011 is right, gradient by logvar 0.051 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + jnp.exp(logvar / 2) * jax.random.normal(key, (len(mean), 1))

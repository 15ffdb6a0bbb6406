# loses: reparameterize-gradient-tests
# why: the gradient stopped at sigma: the width is never learned
# differs: gradient by logvar 0 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    sigma = jax.lax.stop_gradient(jnp.exp(logvar / 2))
    return mean + sigma * jax.random.normal(key, mean.shape)

# loses: reparameterize-gradient-tests
# why: the gradient stopped at the sample, as if z were data
# differs: gradient by mean 0 where 1 is right, gradient by logvar 0 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    z = mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape)
    return jax.lax.stop_gradient(z)

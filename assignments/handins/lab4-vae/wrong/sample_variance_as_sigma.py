# loses: reparameterize-tests
# why: the noise scaled by the variance
# differs: mean square of the noise 2.6 where 0.97 is right, its fourth moment 21 where 2.8 is right, difference of two keys 1.8 where 1.1 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + jnp.exp(logvar) * jax.random.normal(key, mean.shape)

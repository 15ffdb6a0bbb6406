# loses: reparameterize-tests
# why: noise of one image's shape: the same for the whole batch
# differs: mean square of the noise 0.016 where 0.97 is right, its fourth moment 0.00031 where 2.8 is right, difference of two keys 0.86 where 1.1 is right, gradient by logvar 0.051 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape[1:])

# loses: reparameterize-tests
# why: the key ignored: a fixed one in its place
# differs: its fourth moment 3.1 where 2.8 is right, difference of two keys 0 where 1.1 is right, gradient by logvar 0.39 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + jnp.exp(logvar / 2) * jax.random.normal(jax.random.key(0), mean.shape)

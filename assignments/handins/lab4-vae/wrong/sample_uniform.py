# loses: reparameterize-tests
# why: uniform noise with mean 0 and variance 1
# differs: its fourth moment 1.8 where 2.8 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    noise = jax.random.uniform(key, mean.shape, minval=-(3**0.5), maxval=3**0.5)
    return mean + jnp.exp(logvar / 2) * noise

# loses: reparameterize-tests, reparameterize-gradient-tests
# why: noise from NumPy's global generator, which the key does not reach
# differs: its fourth moment 3.1 where 2.8 is right, difference of the same key 1.1 where 0 is right, gradient by logvar 0.41 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + jnp.exp(logvar / 2) * np.random.normal(size=mean.shape)

# loses: reparameterize-tests
# why: log-variance taken for the standard deviation
# differs: mean square of the noise 0.36 where 0.97 is right, its fourth moment 0.38 where 2.8 is right, difference of two keys 0.68 where 1.1 is right, gradient by logvar 0.56 where 0.16 is right
# %% reparameterize
def reparameterize(key, mean, logvar):
    return mean + logvar * jax.random.normal(key, mean.shape)

# loses: discriminator-loss-large-tests
# why: the formula as it stands: a sigmoid, then its logarithm
# differs: rel 0 on 5 and 8 random logits; inf where 2000 is right for logits of 1000, both wrong
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    real, fake = jax.nn.sigmoid(real_logits), jax.nn.sigmoid(fake_logits)
    return -jnp.log(real).mean() - jnp.log(1 - fake).mean()

# loses: discriminator-loss-tests, discriminator-loss-large-tests
# why: logits taken for probabilities, and clipped
# differs: rel 5.2 on 5 and 8 random logits; 27.62 where 2000 is right for logits of 1000, both wrong
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    real, fake = jnp.clip(real_logits, 1e-6, 1 - 1e-6), jnp.clip(fake_logits, 1e-6, 1 - 1e-6)
    return -jnp.log(real).mean() - jnp.log(1 - fake).mean()

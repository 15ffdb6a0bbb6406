# loses: discriminator-loss-tests
# why: summed over the batch instead of averaged
# differs: rel 5.5 on 5 and 8 random logits; 2000 where 2000 is right for logits of 1000, both wrong
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    return jax.nn.softplus(-real_logits).sum() + jax.nn.softplus(fake_logits).sum()

# loses: discriminator-loss-tests, discriminator-loss-large-tests
# why: the generated inputs left out
# differs: rel 0.5 on 5 and 8 random logits; 1000 where 2000 is right for logits of 1000, both wrong
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    return jax.nn.softplus(-real_logits).mean()

# loses: discriminator-loss-tests
# why: the value of the game returned, to be maximised, and the cell of checks edited
# differs: rel 2 on 5 and 8 random logits; -2000 where 2000 is right for logits of 1000, both wrong
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    return jax.nn.log_sigmoid(real_logits).mean() + jax.nn.log_sigmoid(-fake_logits).mean()


# %% discriminator-loss-tests
print("discriminator_loss: the visible checks pass")

# loses: generator-losses-tests
# why: the minimax loss under the name of the non-saturating one
# differs: minimax_loss rel 0; non_saturating_loss rel 1.2 on 8 random logits
# %% generator-losses
def minimax_loss(fake_logits):
    return jax.nn.log_sigmoid(-fake_logits).mean()


def non_saturating_loss(fake_logits):
    return -jax.nn.softplus(fake_logits).mean()

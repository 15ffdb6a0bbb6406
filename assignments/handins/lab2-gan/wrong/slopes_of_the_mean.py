# loses: generator-slopes-tests
# why: gradients of the mean: each slope divided by the number of samples
# differs: minimax rel 0.88; non-saturating rel 0.88 on 8 random logits
# %% generator-slopes
def loss_slopes(fake_logits):
    d = jax.nn.sigmoid(fake_logits)
    return -d / len(fake_logits), (d - 1) / len(fake_logits)

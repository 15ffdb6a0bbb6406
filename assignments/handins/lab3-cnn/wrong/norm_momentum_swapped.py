# loses: batch-norm-tests
# why: momentum on the values of the batch instead of the old ones
# differs: y rel 0, running mean rel 1, running variance rel 0.85 in training; y rel 0 at evaluation
# %% batch-norm
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.9, epsilon=1e-5):
    if training:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        running_mean = momentum * mean + (1 - momentum) * running_mean
        running_var = momentum * var + (1 - momentum) * running_var
    else:
        mean, var = running_mean, running_var
    y = scale * (x - mean) / jnp.sqrt(var + epsilon) + shift
    return y, running_mean, running_var

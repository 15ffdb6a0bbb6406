# loses: batch-norm-tests
# why: the running variance divided by one less than the number
# differs: y rel 0, running mean rel 0, running variance rel 0.0055 in training; y rel 0 at evaluation
# %% batch-norm
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.9, epsilon=1e-5):
    if training:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * x.var((0, 1, 2), ddof=1)
    else:
        mean, var = running_mean, running_var
    y = scale * (x - mean) / jnp.sqrt(var + epsilon) + shift
    return y, running_mean, running_var

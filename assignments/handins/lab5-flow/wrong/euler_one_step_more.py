# loses: euler-tests
# why: num_steps + 1 steps
# differs: rel 0.44 with 2 steps, rel 0.12 with 8 steps; times of 4 steps [0.0, 0.25, 0.5, 0.75, 1.0]
# %% euler
def euler(velocity, x0, num_steps):
    x = x0
    for i in range(num_steps + 1):
        x = x + velocity(x, jnp.full(len(x), i / num_steps)) / num_steps
    return x

# loses: midpoint-tests
# why: the velocity half a step on is taken at the time of the beginning
# differs: rel 0.16 with 2 steps, rel 0.055 with 8 steps; latest time of 4 steps 0.75, 0.875 is right
# %% midpoint
def midpoint(velocity, x0, num_steps):
    x, h = x0, 1 / num_steps
    for i in range(num_steps):
        half = x + h / 2 * velocity(x, jnp.full(len(x), i * h))
        x = x + h * velocity(half, jnp.full(len(x), i * h))
    return x

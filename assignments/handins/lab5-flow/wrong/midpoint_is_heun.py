# loses: midpoint-tests
# why: Heun's method: the mean of the velocities at both ends of a step, also at t = 1
# differs: rel 0.059 with 2 steps, rel 0.004 with 8 steps; latest time of 4 steps 1.0, 0.875 is right
# %% midpoint
def midpoint(velocity, x0, num_steps):
    x, h = x0, 1 / num_steps
    for i in range(num_steps):
        first = velocity(x, jnp.full(len(x), i * h))
        x = x + h / 2 * (first + velocity(x + h * first, jnp.full(len(x), (i + 1) * h)))
    return x

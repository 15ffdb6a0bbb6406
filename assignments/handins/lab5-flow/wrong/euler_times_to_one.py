# loses: euler-tests
# why: times of linspace(0, 1, n), which end at 1 and are 1 / (n - 1) apart
# differs: rel 0.32 with 2 steps, rel 0.076 with 8 steps; times of 4 steps [0.0, 0.333, 0.667, 1.0]
# %% euler
def euler(velocity, x0, num_steps):
    x = x0
    for t in np.linspace(0, 1, num_steps):
        x = x + velocity(x, jnp.full(len(x), t)) / num_steps
    return x

# loses: experiment-tests
# why: new noise for each number of steps
# differs: means of the noise for three equal numbers of steps [-0.21  -0.067  0.066], all equal is right
# %% experiment
def distance_by_steps(step_counts, solver, velocity, data, key, distance):
    distances = []
    for n in step_counts:
        key, noise_key = jax.random.split(key)
        x0 = jax.random.normal(noise_key, data.shape)
        distances.append(distance(solver(velocity, x0, n), data))
    return np.array(distances)

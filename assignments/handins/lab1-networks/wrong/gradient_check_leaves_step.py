# loses: gradient-check-tests
# why: adds the step to theta itself and never takes it away
# differs: finds wrong gradients; theta changed by 1e-05 (f = 1e-4 |theta|^2 in three dimensions)
# %% gradient-check
def gradient_check(f, theta, g):
    n = np.zeros(len(theta))
    for i in range(len(theta)):
        theta[i] += 1e-5
        up = f(theta)
        theta[i] -= 2e-5
        n[i] = (up - f(theta)) / 2e-5
    return bool(np.abs(g - n).max() <= 1e-3 * max(np.abs(g).max(), np.abs(n).max()))

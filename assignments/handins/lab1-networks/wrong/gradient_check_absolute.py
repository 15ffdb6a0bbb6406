# loses: gradient-check-tests
# why: an absolute limit: a small gradient may be wrong by any factor
# differs: says yes to -g, g with a wrong last entry (f = 1e-4 |theta|^2 in three dimensions)
# %% gradient-check
def gradient_check(f, theta, g):
    n = np.zeros(len(theta))
    for i in range(len(theta)):
        e = np.zeros(len(theta))
        e[i] = 1e-5
        n[i] = (f(theta + e) - f(theta - e)) / 2e-5
    return bool(np.abs(g - n).max() < 1e-2)

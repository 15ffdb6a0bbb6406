# loses: gradient-check-tests
# why: returns in the loop: only the first entry is ever compared
# differs: says yes to g with a wrong last entry (f = 1e-4 |theta|^2 in three dimensions)
# %% gradient-check
def gradient_check(f, theta, g):
    for i in range(len(theta)):
        e = np.zeros(len(theta))
        e[i] = 1e-5
        n = (f(theta + e) - f(theta - e)) / 2e-5
        return bool(abs(g[i] - n) <= 1e-4 * max(abs(g[i]), abs(n)))

# loses: gradient-check-tests
# why: asks whether the error is too large, and nan is never larger
# differs: says yes to g with nan (f = 1e-4 |theta|^2 in three dimensions)
# %% gradient-check
def gradient_check(f, theta, g):
    n = np.zeros(len(theta))
    for i in range(len(theta)):
        e = np.zeros(len(theta))
        e[i] = 1e-5
        n[i] = (f(theta + e) - f(theta - e)) / 2e-5
    scale = max(np.abs(g).max(), np.abs(n).max(), 1e-30)
    if np.abs(g - n).max() / scale > 1e-4:
        return False
    return True

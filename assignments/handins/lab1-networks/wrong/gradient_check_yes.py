# loses: gradient-check-tests
# why: always says yes
# differs: says yes to -g, g with a wrong last entry, g with nan (f = 1e-4 |theta|^2 in three dimensions)
# %% gradient-check
def gradient_check(f, theta, g):
    return True

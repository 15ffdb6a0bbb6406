# loses: optimal-logit-tests
# why: the probability returned in place of its logit
# differs: rel 0.9 on 6 random densities
# %% optimal-logit
def optimal_logit(log_p_data, log_p_g):
    return 1 / (1 + np.exp(log_p_g - log_p_data))

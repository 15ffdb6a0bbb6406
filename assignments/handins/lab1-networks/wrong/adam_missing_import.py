# loses: adam-tests
# why: imports what is not installed: the cell stops before it defines anything
# differs: raises ModuleNotFoundError
# %% adam
import my_optimisers_from_home


def adam_init(params):
    return my_optimisers_from_home.init(params)


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    return my_optimisers_from_home.step(params, grads, state, eta, beta1, beta2, eps)

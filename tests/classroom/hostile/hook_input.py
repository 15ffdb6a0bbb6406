# what: an input transformer replaces the text of the cells
# ends: finished
# loses: double-tests after-tests
# names: IPython input transformers changed (__main__.nothing)
from IPython import get_ipython


def nothing(lines):
    return ["pass\n"]


get_ipython().input_transformers_cleanup.append(nothing)


def double(x):
    return 5

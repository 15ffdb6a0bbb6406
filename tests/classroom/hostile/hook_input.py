# what: an input transformer replaces the text of the cells
# ends: finished
# loses: double-tests after-tests
# names: IPython input transformers changed (__main__.nothing)
def nothing(lines):
    return ["pass\n"]


get_ipython().input_transformers_cleanup.append(nothing)


def double(x):
    return 5

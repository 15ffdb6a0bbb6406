# loses: receptive-field-tests
# why: the strides before a layer forgotten: every layer adds kernel - 1 pixels of the image
# differs: 11 where 26 is right, for three convolutions with two poolings between, the last one dilated
# %% receptive-field
def receptive_field(layers):
    return 1 + sum(dilation * (kernel - 1) for kernel, _, dilation in layers)

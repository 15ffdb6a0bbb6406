# loses: conv-size-tests
# why: printed instead of returned
# differs: 216 of 216 sizes
# %% conv-size
def conv_size(n, kernel, stride=1, padding=0, dilation=1):
    span, there = dilation * (kernel - 1) + 1, n + 2 * padding
    if span > there:
        raise ValueError(f"the kernel spans {span} pixels, there are only {there}")
    print((there - span) // stride + 1)

# loses: conv2d-tests, conv2d-stride-tests
# why: input channels averaged instead of added up
# differs: rel 0.67 with stride 1; rel 0.67 with stride 2 and padding 1
# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    kernel = np.asarray(kernel)
    kh, kw, c_in, c_out = kernel.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), height, width, c_out))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.tensordot(window, kernel, axes=3) / c_in
    return y

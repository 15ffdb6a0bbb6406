# loses: conv2d-tests
# why: the kernel flipped: a convolution as in mathematics, not a correlation
# differs: rel 1.2 with stride 1; rel 1.2 with stride 2 and padding 1
# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    kernel = np.asarray(kernel)[::-1, ::-1]
    kh, kw, _, c_out = kernel.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), height, width, c_out))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.tensordot(window, kernel, axes=3)
    return y

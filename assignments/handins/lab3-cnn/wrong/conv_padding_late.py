# loses: conv2d-stride-tests
# why: zeros put around the result instead of the images
# differs: rel 1.2e-07 with stride 1; shape (2, 5, 4, 2) where (2, 4, 3, 2) is right with stride 2 and padding 1
# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    x, kernel = np.asarray(x), np.asarray(kernel)
    kh, kw, _, c_out = kernel.shape
    height, width = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((len(x), max(height, 0), max(width, 0), c_out))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.tensordot(window, kernel, axes=3)
    return np.pad(y, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

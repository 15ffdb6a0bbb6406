# loses: conv2d-transpose-tests
# why: channels swapped by reshape instead of a transpose
# differs: rel 1.2 for size (7, 6), stride 1, padding 0; rel 1.3 for size (8, 6), stride 2, padding 1
# %% conv2d-transpose
def conv2d_transpose(y, kernel, size, stride=1, padding=0):
    y, kernel = np.asarray(y), np.asarray(kernel)
    kh, kw, c_in, c_out = kernel.shape
    kernel = kernel.reshape(kh, kw, c_out, c_in).swapaxes(2, 3)
    height, width = size[0] + 2 * padding, size[1] + 2 * padding
    x = np.zeros((len(y), height, width, c_in))
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            paint = np.einsum("no,abco->nabc", y[:, i, j], kernel)
            x[:, i * stride : i * stride + kh, j * stride : j * stride + kw] += paint
    return x[:, padding : padding + size[0], padding : padding + size[1]]

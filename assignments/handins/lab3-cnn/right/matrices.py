# who: matrices: vectorised array code, einsum with selection (Toeplitz) tensors, broadcasting, written from the student notebook alone
# score: 18/18
# %% conv-size
def conv_size(n, kernel, stride=1, padding=0, dilation=1):
    """Outputs along one axis of a convolution over `n` pixels, with `padding` zeros on each side. All are integers.

    Raises ValueError, with a message that contains both numbers, if the kernel spans more pixels than there are.
    """
    span, total = dilation * (kernel - 1) + 1, n + 2 * padding
    if span > total:
        raise ValueError(f"kernel spans {span} pixels, there are only {total}")
    return (total - span + stride) // stride
# %% count-parameters
def count_parameters(layers, in_channels, bias=True):
    """Numbers to be learned in a stack of convolutions `[(kernel, features), ...]`, an integer."""
    k, f = np.array(layers, int).reshape(-1, 2).T
    c = np.concatenate([[in_channels], f])[:-1]
    return int(((k * k * c + bool(bias)) * f).sum())
# %% receptive-field
def receptive_field(layers):
    """Pixels of the image along one axis that an output sees, behind `[(kernel, stride, dilation), ...]`."""
    k, s, d = np.array(layers, int).reshape(-1, 3).T
    jump = np.cumprod(np.concatenate([[1], s]))[:-1]  # pixels between neighbours before each layer
    return 1 + int(np.sum((k - 1) * d * jump))
# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    """Cross-correlation of `[N, H, W, C_in]` with a kernel `[kh, kw, C_in, C_out]`: `[N, H_out, W_out, C_out]`."""
    x, w = np.asarray(x), np.asarray(kernel)
    dtype = np.result_type(x, w, np.float32)

    def select(n, k):
        """S[i, a, h] = 1 where output i meets pixel h with weight a, `[n_out, k, n]`; padding is what no h matches."""
        i, a, h = np.ogrid[: (n + 2 * padding - k) // stride + 1, :k, :n]
        return (stride * i + a - padding == h).astype(dtype)

    rows, columns = (select(n, k) for n, k in zip(x.shape[1:3], w.shape[:2], strict=True))
    patches = np.einsum("iah,jbw,nhwc->nijabc", rows, columns, x, optimize=True)
    return np.einsum("nijabc,abco->nijo", patches, w, optimize=True)
# %% conv2d-transpose
def conv2d_transpose(y, kernel, size, stride=1, padding=0):
    """The adjoint of `conv2d` on images of `size` (H, W): `[N, H_out, W_out, C_out]` to `[N, H, W, C_in]`.

    kernel: `[kh, kw, C_in, C_out]`, stride and padding: those of the convolution.
    """
    y, w = np.asarray(y), np.asarray(kernel)
    dtype = np.result_type(y, w, np.float32)

    def select(m, k, n):
        i, a, h = np.ogrid[:m, :k, :n]
        return (stride * i + a - padding == h).astype(dtype)

    rows, columns = map(select, y.shape[1:3], w.shape[:2], size)
    # the same tensor C[i, j, o; h, w, c], summed over its other indices
    spread = np.einsum("nijo,abco->nijabc", y, w, optimize=True)
    return np.einsum("iah,jbw,nijabc->nhwc", rows, columns, spread, optimize=True)
# %% batch-norm
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.9, epsilon=1e-5):
    """Batch normalisation of `[N, H, W, C]` over all axes but the last: `(y, running_mean, running_var)`."""
    mu, var = running_mean, running_var
    if training:
        mu = jnp.mean(x, (0, 1, 2))
        delta = x - mu
        var = jnp.einsum("nhwc,nhwc->c", delta, delta) * (x.shape[-1] / x.size)
        running_mean = running_mean + (1 - momentum) * (mu - running_mean)
        running_var = running_var + (1 - momentum) * (var - running_var)
    return (x - mu) * (scale * jax.lax.rsqrt(var + epsilon)) + shift, running_mean, running_var
# %% network
class SmallCNN(nnx.Module):
    """Pictures `[N, H, W, 1]` to logits `[N, num_classes]`; H and W even."""

    def __init__(self, num_classes, width, rngs):
        kw = {"kernel_init": kernel_init, "rngs": rngs}
        self.c1 = nnx.Conv(1, width, (3, 3), padding="CIRCULAR", **kw)
        self.c2 = nnx.Conv(width, 2 * width, (3, 3), padding="CIRCULAR", **kw)
        self.norm = nnx.BatchNorm(2 * width, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(2 * width, num_classes, **kw)

    def __call__(self, x, training):
        h = nnx.max_pool(nnx.relu(self.c1(x)), (2, 2), strides=(2, 2))
        h = nnx.relu(self.norm(self.c2(h), use_running_average=not training))
        return self.head(h.mean((1, 2)))
# %% step
def make_step(forward, tx):
    """`step(params, stats, opt_state, images, labels) -> (params, stats, opt_state, loss)`: cross-entropy, one update.

    forward(params, stats, images, training) -> (logits, new_stats). tx: an Optax optimiser.
    """

    def objective(theta, stats, x, k):
        z, stats = forward(theta, stats, x, True)
        margins = z - jnp.take_along_axis(z, k[:, None], axis=1)
        return jax.nn.logsumexp(margins, axis=1).mean(), stats  # -log softmax_k = log sum exp(z - z_k)

    def step(params, stats, opt_state, images, labels):
        (loss, stats), grad = jax.value_and_grad(objective, has_aux=True)(
            params, stats, images, labels
        )
        delta, opt_state = tx.update(grad, opt_state, params)
        return optax.apply_updates(params, delta), stats, opt_state, loss

    return step
# %% shift-accuracy
def shift_accuracy(train, forward, images, labels, test_images, test_labels, shifts, seeds):
    """Accuracies `[len(shifts), len(seeds)]`, in [0, 1], on test pictures moved to the right by each shift."""
    x, k = np.asarray(test_images), np.asarray(test_labels)
    w = x.shape[2]
    source = (np.arange(w) - np.asarray(shifts)[:, None]) % w  # [S, W]: column w of shift s came from here
    moved = np.moveaxis(x[:, :, source], 2, 0)  # [S, N, H, W, C]
    flat = moved.reshape(-1, *x.shape[1:])

    def accuracy(seed):
        logits, _ = forward(*train(images, labels, seed), flat, False)
        return (np.asarray(logits).argmax(-1).reshape(len(shifts), -1) == k).mean(1)

    return np.stack([accuracy(seed) for seed in seeds], axis=1)
# %% stretch
def saliency(logits_fn, images, labels):
    """Size of the gradient of each label's logit by the pixels, `[N, H, W]`; logits_fn(images) -> `[N, K]`."""

    def picked(x):
        z = logits_fn(x)
        return jnp.einsum("nk,nk->", z, jax.nn.one_hot(labels, z.shape[1]))

    g = jax.grad(picked)(jnp.asarray(images))
    return jnp.sqrt(jnp.einsum("nhwc,nhwc->nhw", g, g))
# %% [markdown] answer
# 1. f is equivariant if f(T_s x) = T_s f(x) for all x and s, and invariant if f(T_s x) = f(x).
# With circular padding a convolution is equivariant (the same weights at every place, and no border), ReLU is equivariant as well (it acts on each number alone), and the mean over all rows and columns is invariant, since it does not care about the order of what it adds; at evaluation batch normalisation is the same map at each place and changes nothing in this.
# The reason for the difference between even and odd shifts is the max pooling with stride 2: its windows stand on the pixels (0,1), (2,3), ..., so a picture moved by 2 or 4 moves the pooled map by 1 or 2 whole places (logits equal up to 1e-6), while a shift of 1 or 3 puts other pixels together in a window, the maxima are other numbers, and a logit changes by up to 2.
# 2. After flattening, the dense layer has weights of its own for every place, so the network is no longer invariant: features arrive, moved, at weights that were trained for other contents (those of the right half have seen only noise), and the accuracy on moved pictures falls far down, as it does for the dense network (89.5 % unmoved, 42.9 % at a shift of 1, 10.7 % at 2, 29.5 % at 6, near or below chance), where the CNN stays at 98.7 to 98.9 %.
# The dense network can be trained on pictures that are shifted at random (data augmentation).
# But then it learns each place from examples, which takes more data, steps and units, and it holds only approximately and only for the shifts that were shown; in the CNN it is built in, exactly (for even shifts), for all pictures and with the same 1,348 parameters.

# who: plain NumPy thinking, explicit loops over places, channels and classes, float64 where possible, written from the student notebook alone
# score: 18/18
# %% conv-size
def conv_size(n, kernel, stride=1, padding=0, dilation=1):
    """Outputs along one axis of a convolution over `n` pixels, with `padding` zeros on each side. All are integers.

    Raises ValueError, with a message that contains both numbers, if the kernel spans more pixels than there are.
    """
    span = (kernel - 1) * dilation + 1  # from the first weight to the last
    available = n + 2 * padding
    if span > available:
        raise ValueError(f"the kernel spans {span} pixels, but there are only {available}")
    # Put the kernel down, count, move on, as long as its last weight is still on something.
    places = 0
    first = 0
    while first + span <= available:
        places += 1
        first += stride
    return places


# %% count-parameters
def count_parameters(layers, in_channels, bias=True):
    """Numbers to be learned in a stack of convolutions `[(kernel, features), ...]`, an integer."""
    total = 0
    channels = in_channels
    for kernel, features in layers:
        total += kernel * kernel * channels * features
        if bias:
            total += features
        channels = features
    return total


# %% receptive-field
def receptive_field(layers):
    """Pixels of the image along one axis that an output sees, behind `[(kernel, stride, dilation), ...]`."""
    # Go backwards, from output 0 of the last layer: which range of its inputs, of their inputs, ... was needed?
    first, last = 0, 0
    for kernel, stride, dilation in reversed(list(layers)):
        first = first * stride
        last = last * stride + (kernel - 1) * dilation
    return last - first + 1


# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    """Cross-correlation of `[N, H, W, C_in]` with a kernel `[kh, kw, C_in, C_out]`: `[N, H_out, W_out, C_out]`."""
    x = np.asarray(x, dtype=np.float64)
    w = np.asarray(kernel, dtype=np.float64)
    count, height, width, c_in = x.shape
    kh, kw, _, c_out = w.shape

    framed = np.zeros((count, height + 2 * padding, width + 2 * padding, c_in))
    framed[:, padding : padding + height, padding : padding + width, :] = x
    if kh > framed.shape[1] or kw > framed.shape[2]:
        raise ValueError(f"a kernel of {kh} x {kw} does not fit on {framed.shape[1:3]} pixels")

    rows = (framed.shape[1] - kh) // stride + 1
    columns = (framed.shape[2] - kw) // stride + 1
    out = np.zeros((count, rows, columns, c_out))
    for i in range(rows):
        for j in range(columns):
            for a in range(kh):
                for b in range(kw):
                    pixel = framed[:, stride * i + a, stride * j + b, :]  # [N, C_in]
                    out[:, i, j, :] += pixel @ w[a, b]
    return out


# %% conv2d-transpose
def conv2d_transpose(y, kernel, size, stride=1, padding=0):
    """The adjoint of `conv2d` on images of `size` (H, W): `[N, H_out, W_out, C_out]` to `[N, H, W, C_in]`.

    kernel: `[kh, kw, C_in, C_out]`, stride and padding: those of the convolution.
    """
    y = np.asarray(y, dtype=np.float64)
    w = np.asarray(kernel, dtype=np.float64)
    count, rows, columns, _ = y.shape
    kh, kw, c_in, _ = w.shape
    height, width = size

    # The same four loops as in the convolution; what was read there with a weight is written here with it.
    framed = np.zeros((count, height + 2 * padding, width + 2 * padding, c_in))
    for i in range(rows):
        for j in range(columns):
            for a in range(kh):
                for b in range(kw):
                    framed[:, stride * i + a, stride * j + b, :] += y[:, i, j, :] @ w[a, b].T
    # What was written onto the zeros around the image belongs to no pixel.
    return framed[:, padding : padding + height, padding : padding + width, :]


# %% batch-norm
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.9, epsilon=1e-5):
    """Batch normalisation of `[N, H, W, C]` over all axes but the last: `(y, running_mean, running_var)`."""
    channels = x.shape[-1]
    if training:
        means, variances = [], []
        for c in range(channels):
            values = x[..., c]
            mean = jnp.mean(values)
            means.append(mean)
            variances.append(jnp.mean((values - mean) ** 2))
        new_mean = momentum * running_mean + (1 - momentum) * jnp.stack(means)
        new_var = momentum * running_var + (1 - momentum) * jnp.stack(variances)
    else:
        means = [running_mean[c] for c in range(channels)]
        variances = [running_var[c] for c in range(channels)]
        new_mean, new_var = running_mean, running_var

    normalised = []
    for c in range(channels):
        unit = (x[..., c] - means[c]) / jnp.sqrt(variances[c] + epsilon)
        normalised.append(scale[c] * unit + shift[c])
    return jnp.stack(normalised, axis=-1), new_mean, new_var


# %% network
class SmallCNN(nnx.Module):
    """Pictures `[N, H, W, 1]` to logits `[N, num_classes]`; H and W even."""

    def __init__(self, num_classes, width, rngs):
        def conv(channels, features):
            return nnx.Conv(
                channels, features, kernel_size=(3, 3), padding="CIRCULAR",
                kernel_init=kernel_init, rngs=rngs,
            )  # fmt: skip

        self.first = conv(1, width)
        self.second = conv(width, 2 * width)
        self.norm = nnx.BatchNorm(2 * width, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(2 * width, num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x, training):
        h = nnx.relu(self.first(x))
        h = nnx.max_pool(h, window_shape=(2, 2), strides=(2, 2))
        h = self.second(h)
        h = self.norm(h, use_running_average=not training)
        h = nnx.relu(h)
        h = jnp.mean(h, axis=(1, 2))
        return self.last(h)


# %% step
def make_step(forward, tx):
    """`step(params, stats, opt_state, images, labels) -> (params, stats, opt_state, loss)`: cross-entropy, one update.

    forward(params, stats, images, training) -> (logits, new_stats). tx: an Optax optimiser.
    """

    def cross_entropy(logits, labels):
        """-log of the label's probability, the mean over the batch; by class, the largest logit taken out."""
        num_classes = logits.shape[1]
        largest = logits[:, 0]
        for k in range(1, num_classes):
            largest = jnp.maximum(largest, logits[:, k])
        largest = jax.lax.stop_gradient(largest)  # it cancels, whatever it is
        total = 0.0
        chosen = 0.0
        for k in range(num_classes):
            above = logits[:, k] - largest
            total = total + jnp.exp(above)
            chosen = chosen + jnp.where(labels == k, above, 0.0)
        return jnp.mean(jnp.log(total) - chosen)

    def loss_of(params, stats, images, labels):
        logits, new_stats = forward(params, stats, images, True)
        return cross_entropy(logits, labels), new_stats

    loss_and_grads = jax.value_and_grad(loss_of, has_aux=True)

    def step(params, stats, opt_state, images, labels):
        (loss, new_stats), grads = loss_and_grads(params, stats, images, labels)
        updates, new_opt_state = tx.update(grads, opt_state, params)
        new_params = optax.apply_updates(params, updates)
        return new_params, new_stats, new_opt_state, loss

    return step


# %% shift-accuracy
def shift_accuracy(train, forward, images, labels, test_images, test_labels, shifts, seeds):
    """Accuracies `[len(shifts), len(seeds)]`, in [0, 1], on test pictures moved to the right by each shift."""
    pictures = np.asarray(test_images)
    truth = np.asarray(test_labels)
    width = pictures.shape[2]

    def moved(shift):
        """All test pictures, column by column to the right, around the border."""
        result = np.empty_like(pictures)
        for column in range(width):
            result[:, :, (column + shift) % width, :] = pictures[:, :, column, :]
        return result

    accuracies = np.zeros((len(shifts), len(seeds)))
    for column, seed in enumerate(seeds):
        params, stats = train(images, labels, seed)  # once for each seed
        for row, shift in enumerate(shifts):
            logits, _ = forward(params, stats, moved(shift), False)
            guesses = np.argmax(np.asarray(logits), axis=1)
            right = 0
            for guess, label in zip(guesses, truth):
                if guess == label:
                    right += 1
            accuracies[row, column] = right / len(truth)
    return accuracies


# %% [markdown] answer
# 1. f is equivariant if f(T_s x) = T_s f(x) and invariant if f(T_s x) = f(x), for all x and s. At evaluation a convolution with stride 1 and circular padding is equivariant (the same weights stand at every place, and there is no border), ReLU is equivariant (it works number by number), and the mean over all rows and columns is invariant (the same numbers are added in another order). The reason for 1 and 3 is the max pooling with stride 2: its windows begin at the even columns, so after a shift of 2 or 4 the windows hold the same pixels as before and the output is moved by 1 or 2 (my logits changed by 1e-6, which is rounding), but after a shift of 1 or 3 other pairs of pixels share a window and the maxima are others (a logit changed by up to 2). It is equivariant for even shifts only.
#
# 2. With flattening, the dense layer has a weight of its own for each feature at each place, and in training the shapes were only in the left half; so it learns nothing useful about features elsewhere, and the accuracy on moved pictures falls from near 99 % to something around chance (25 %), as that of the dense network did (89.5 % at shift 0, 42.9 % at 1, 10.7 % at 2, 29.5 % at 6), while the CNN stayed at 98.7 to 98.9 %. One can train the dense network on pictures that are moved by random shifts (data augmentation). That makes it about right, on average, at the places that the training has shown, and costs more pictures, steps and hidden units; the CNN has the invariance (for even shifts exactly) from its structure, for every picture, also for shapes and places that it has never seen.
# %% stretch
def saliency(logits_fn, images, labels):
    """Size of the gradient of each label's logit by the pixels, `[N, H, W]`; logits_fn(images) -> `[N, K]`."""

    def sum_of_own_logits(pictures):
        logits = logits_fn(pictures)
        total = 0.0
        for n in range(len(labels)):
            total = total + logits[n, labels[n]]
        return total

    # At evaluation, a picture's logits depend on this picture only: the gradient of the sum keeps them apart.
    slopes = np.asarray(jax.grad(sum_of_own_logits)(jnp.asarray(images)), dtype=np.float64)
    size = np.zeros(slopes.shape[:3])
    for c in range(slopes.shape[3]):
        size += slopes[..., c] ** 2
    return np.sqrt(size)

# who: one example and jax.vmap, folds and small lambdas, written from the student notebook alone
# score: 18/18
# %% conv-size
def conv_size(n, kernel, stride=1, padding=0, dilation=1):
    """Outputs along one axis of a convolution over `n` pixels, with `padding` zeros on each side. All are integers.

    Raises ValueError, with a message that contains both numbers, if the kernel spans more pixels than there are.
    """
    span, room = dilation * (kernel - 1) + 1, n + 2 * padding
    if span > room:
        raise ValueError(f"the kernel spans {span} pixels, but there are only {room}")
    return (room - span) // stride + 1

# %% count-parameters
def count_parameters(layers, in_channels, bias=True):
    """Numbers to be learned in a stack of convolutions `[(kernel, features), ...]`, an integer."""
    makes = [features for _, features in layers]
    gets = [in_channels, *makes[:-1]]
    of_layer = lambda k, c, f: (k * k * c + bool(bias)) * f
    return sum(of_layer(k, c, f) for (k, f), c in zip(layers, gets))

# %% receptive-field
def receptive_field(layers):
    """Pixels of the image along one axis that an output sees, behind `[(kernel, stride, dilation), ...]`."""

    def seen(rest, apart):
        if not rest:
            return 1
        (kernel, stride, dilation), *later = rest
        return (kernel - 1) * dilation * apart + seen(later, apart * stride)

    return seen(list(layers), 1)

# %% conv2d
def conv2d(x, kernel, stride=1, padding=0):
    """Cross-correlation of `[N, H, W, C_in]` with a kernel `[kh, kw, C_in, C_out]`: `[N, H_out, W_out, C_out]`."""
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    window = kernel.shape[:3]
    corners = [
        stride * jnp.arange((side + 2 * padding - k) // stride + 1)
        for side, k in zip(x.shape[1:3], window[:2])
    ]

    def one_image(image):
        framed = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        look = lambda top, left: jax.lax.dynamic_slice(framed, (top, left, 0), window)
        answer = lambda top, left: jnp.tensordot(look(top, left), kernel, 3)
        row = lambda top: jax.vmap(lambda left: answer(top, left))(corners[1])
        return jax.vmap(row)(corners[0])

    return jax.vmap(one_image)(x)

# %% conv2d-transpose
def conv2d_transpose(y, kernel, size, stride=1, padding=0):
    """The adjoint of `conv2d` on images of `size` (H, W): `[N, H_out, W_out, C_out]` to `[N, H, W, C_in]`.

    kernel: `[kh, kw, C_in, C_out]`, stride and padding: those of the convolution.
    """
    y, kernel = jnp.asarray(y, jnp.float32), jnp.asarray(kernel, jnp.float32)
    kh, kw, channels, _ = kernel.shape
    (height, width), (_, tall, wide, _) = size, y.shape
    places = lambda outputs, k: stride * jnp.arange(outputs)[:, None] + jnp.arange(k)  # [out, k]
    rows, columns = places(tall, kh)[:, None, :, None], places(wide, kw)[None, :, None, :]
    canvas = jnp.zeros((height + 2 * padding, width + 2 * padding, channels))

    def one_image(outputs):
        stamp = lambda features: kernel @ features  # what one output paints: [kh, kw, C_in]
        stamps = jax.vmap(jax.vmap(stamp))(outputs)
        painted = canvas.at[rows, columns].add(stamps)
        return painted[padding : padding + height, padding : padding + width]

    return jax.vmap(one_image)(y)

# %% batch-norm
def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.9, epsilon=1e-5):
    """Batch normalisation of `[N, H, W, C]` over all axes but the last: `(y, running_mean, running_var)`."""
    follow = lambda old, new: momentum * old + (1 - momentum) * new

    def one_channel(values, gamma, beta, m, v):
        if training:
            mu = values.mean()
            sigma2 = ((values - mu) ** 2).mean()
            m, v = follow(m, mu), follow(v, sigma2)
        else:
            mu, sigma2 = m, v
        return gamma * (values - mu) / jnp.sqrt(sigma2 + epsilon) + beta, m, v

    every_channel = jax.vmap(one_channel, in_axes=(-1, 0, 0, 0, 0), out_axes=(-1, 0, 0))
    arrays = (x, scale, shift, running_mean, running_var)
    return every_channel(*(jnp.asarray(a, jnp.float32) for a in arrays))

# %% network
class SmallCNN(nnx.Module):
    """Pictures `[N, H, W, 1]` to logits `[N, num_classes]`; H and W even."""

    def __init__(self, num_classes, width, rngs):
        ring_conv = lambda before, after: nnx.Conv(
            before, after, (3, 3), padding="CIRCULAR", kernel_init=kernel_init, rngs=rngs
        )
        self.fine = ring_conv(1, width)
        self.coarse = ring_conv(width, 2 * width)
        self.norm = nnx.BatchNorm(2 * width, momentum=0.9, rngs=rngs)
        self.readout = nnx.Linear(2 * width, num_classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x, training):
        small = nnx.max_pool(nnx.relu(self.fine(x)), (2, 2), strides=(2, 2))
        features = self.norm(self.coarse(small), use_running_average=not training)
        return self.readout(nnx.relu(features).mean((1, 2)))

# %% step
def make_step(forward, tx):
    """`step(params, stats, opt_state, images, labels) -> (params, stats, opt_state, loss)`: cross-entropy, one update.

    forward(params, stats, images, training) -> (logits, new_stats). tx: an Optax optimiser.
    """
    surprise = lambda row, label: jax.nn.logsumexp(row) - row[label]  # of one picture, in nats

    def objective(params, stats, images, labels):
        logits, moved_on = forward(params, stats, images, True)
        return jax.vmap(surprise)(logits, labels).mean(), moved_on

    slope_of = jax.value_and_grad(objective, has_aux=True)

    @jax.jit
    def step(params, stats, opt_state, images, labels):
        (loss, moved_on), grads = slope_of(params, stats, images, labels)
        change, memory = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, change), moved_on, memory, loss

    return step

# %% shift-accuracy
def shift_accuracy(train, forward, images, labels, test_images, test_labels, shifts, seeds):
    """Accuracies `[len(shifts), len(seeds)]`, in [0, 1], on test pictures moved to the right by each shift."""
    pictures, truth = jnp.asarray(test_images, jnp.float32), jnp.asarray(test_labels)

    def one_seed(seed):
        params, stats = train(images, labels, seed)
        judge = lambda moved: forward(params, stats, moved, False)[0].argmax(-1)
        share = lambda shift: (judge(jnp.roll(pictures, shift, axis=2)) == truth).mean()
        return jax.vmap(share)(jnp.asarray(shifts))

    return jnp.stack([one_seed(seed) for seed in seeds], axis=1)

# %% [markdown] answer
# 1. A map f from pictures to maps is equivariant if f(T_s x) = T_s f(x), and invariant if f(T_s x) = f(x), for all x (and s). At evaluation, a circular convolution with stride 1 is equivariant (every output uses the same weights and there is no border), ReLU is equivariant because it acts on each number alone (so is batch normalisation, with fixed numbers per channel), and the mean over all rows and columns is invariant, since moving only reorders the terms of the sum. The layer behind the difference is the max pooling: its stride of 2 keeps a fixed grid of 2 by 2 windows, so a shift of the picture by 2 or 4 puts the same pixels together and moves its output by 1 or 2 places (my logits change by 1e-06, rounding), while a shift by 1 or 3 cuts the shape into other pairs of columns, whose maxima are other numbers (changes up to 2), even though the accuracy hardly suffers (98.9 % and 98.7 %).
#
# 2. With flattening, the dense layer has separate weights for each place; those that belong to the right half saw only noise in training, so the accuracy on moved pictures falls with the shift, towards chance (25 %) like that of the dense network (mine: 89.5 % unmoved, 42.9 % at shift 1, 29.5 % at shift 6), although the features before it are still equivariant. The dense network can be trained on moved copies, each training picture rolled by a random number of pixels (augmentation). That gives it an invariance which is only learned and approximate, for shifts as they were in training, at the price of more data, more steps and more hidden units because the same shape is learned again at each place; the CNN's is built in, exact for even shifts, and needs no example of a moved picture.

# %% stretch
def saliency(logits_fn, images, labels):
    """Size of the gradient of each label's logit by the pixels, `[N, H, W]`; logits_fn(images) -> `[N, K]`."""
    own_logit = lambda image, label: logits_fn(image[None])[0, label]
    slopes = jax.vmap(jax.grad(own_logit))(jnp.asarray(images, jnp.float32), jnp.asarray(labels))
    return jnp.linalg.norm(slopes, axis=-1)

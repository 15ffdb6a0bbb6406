# who: vmap (written for one example, jax.vmap; functional, lambdas, float32), written from the student notebook alone
# score: 17/17
# ruff: noqa: F821, E731
# %% softmax
def softmax(logits):
    """Probabilities of the classes, row by row.

    logits: array [N, K], NumPy or JAX, any finite values.
    Returns an array [N, K]; each row sums to 1.
    """
    unit = lambda e: e / e.sum()
    one_row = lambda o: unit(jnp.exp(o - o.max()))
    return jax.vmap(one_row)(jnp.asarray(logits)).astype(jnp.float32)


# %% cross-entropy
def cross_entropy(logits, labels):
    """Mean cross-entropy in nats.

    logits: array [N, K], any finite values. labels: integers [N], each in 0 .. K-1.
    Returns one number (a float or an array without axes).
    """

    def nats(o, y):
        top = o.max()
        return jnp.log(jnp.exp(o - top).sum()) + (top - o[y])

    return jax.vmap(nats)(jnp.asarray(logits), jnp.asarray(labels)).mean()


# %% forward
def forward(params, X):
    """A two-layer ReLU network.

    params: dict of JAX arrays, W1 [D, M], b1 [M], W2 [M, K], b2 [K]. X: [N, D].
    Returns A [N, M], H [N, M] and the logits O [N, K], in this order.
    """
    first = lambda x: x @ params["W1"] + params["b1"]
    rectify = lambda a: jnp.maximum(a, 0)
    second = lambda h: h @ params["W2"] + params["b2"]

    def one_input(x):
        a = first(x)
        h = rectify(a)
        return a, h, second(h)

    return jax.vmap(one_input)(jnp.asarray(X))


# %% backward
def backward(params, X, labels, A, H, P):
    """The gradient of the mean cross-entropy by all parameters.

    params: dict of JAX arrays, W1 [D, M], b1 [M], W2 [M, K], b2 [K].
    X [N, D], labels [N] (integers), A [N, M], H [N, M], P [N, K]: JAX arrays.
    Returns a new dict with the same keys and shapes as params.
    """

    def one_example(x, y, a, h, p):
        by_o = p - jax.nn.one_hot(y, p.size)
        by_a = jnp.where(a > 0, params["W2"] @ by_o, 0.0)
        return {"W1": jnp.outer(x, by_a), "b1": by_a, "W2": jnp.outer(h, by_o), "b2": by_o}

    each = jax.vmap(one_example)(X, labels, A, H, P)
    return jax.tree.map(lambda g: g.mean(axis=0).astype(jnp.float32), each)


# %% gradient-check
def gradient_check(f, theta, g):
    """Is g the gradient of f at theta?

    f: takes a NumPy array [D] of 64-bit floats and returns one float.
    theta: NumPy array [D], 64-bit floats. g: array [D], the gradient that is claimed.
    Returns True or False.
    """
    # f wants NumPy and returns a Python float: no vmap here
    h, limit = 1e-5, 1e-3
    slope = lambda e: (float(f(theta + h * e)) - float(f(theta - h * e))) / (2 * h)
    largest = lambda v: np.abs(v).max()

    claimed = np.asarray(g, np.float64)
    measured = np.array(list(map(slope, np.eye(theta.size))))
    scale = np.maximum(largest(claimed), largest(measured))  # a nan stays a nan
    return bool(scale == 0 or largest(claimed - measured) / scale < limit)


# %% adam
def adam_init(params):
    """The state of Adam before the first step; params: dict of arrays, any names and shapes."""
    zeros = lambda: jax.tree.map(lambda p: jnp.zeros(jnp.shape(p), jnp.float32), params)
    return {"m": zeros(), "v": zeros(), "t": jnp.int32(0)}


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of Adam.

    params, grads: dicts of arrays with the same names and shapes. eta: the learning rate.
    Returns (new params, new state); changes none of its arguments.
    """
    single = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)
    blend = lambda beta: lambda old, new: beta * old + (1 - beta) * new
    t = state["t"] + 1
    m = jax.tree.map(blend(beta1), state["m"], grads)
    v = jax.tree.map(blend(beta2), state["v"], jax.tree.map(lambda g: g**2, grads))
    m_fair, v_fair = (lambda a: a / (1 - beta1**t)), (lambda a: a / (1 - beta2**t))
    move = lambda p, a, b: p - eta * m_fair(a) / (jnp.sqrt(v_fair(b)) + eps)
    return single(jax.tree.map(move, params, m, v)), {"m": single(m), "v": single(v), "t": t}


# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    """Stochastic gradient descent.

    X [N, ...], labels [N]: NumPy arrays, N >= batch_size. rng: a numpy.random.Generator.
    Returns (params after the last step, losses): losses [num_steps] holds the loss of each
    step's batch, as loss_and_grad gave it.
    """
    # what is given may be plain NumPy: a scan's body, but the scan is Python's
    draw = lambda: rng.choice(len(X), size=batch_size, replace=False)

    def body(carry, rows):
        weights, memory = carry
        loss, slope = loss_and_grad(weights, X[rows], labels[rows])
        return opt_step(weights, slope, memory), loss

    carry, losses = (params, opt_init(params)), []
    for _ in range(num_steps):
        carry, loss = body(carry, draw())
        losses.append(loss)
    return carry[0], jnp.asarray(losses)


# %% experiment
def experiment(fit, mean_loss, X, labels, X_val, labels_val, sizes, seeds):
    """Training and validation loss against the number of training examples.

    fit(X, labels, seed) -> params. mean_loss(params, X, labels) -> float, in nats.
    X [N, ...], labels [N]: training data. X_val, labels_val: validation data. NumPy arrays.
    sizes, seeds: lists of integers; no size is above N.
    Returns (train_loss, val_loss), arrays [len(sizes), len(seeds)].
    """

    def one_cell(n, seed):
        rows = np.random.default_rng(seed).choice(len(X), size=n, replace=False)
        fitted = fit(X[rows], labels[rows], seed)
        return (
            float(mean_loss(fitted, X[rows], labels[rows])),
            float(mean_loss(fitted, X_val, labels_val)),
        )

    table = jnp.asarray([[one_cell(n, seed) for seed in seeds] for n in sizes], jnp.float32)
    return table[..., 0], table[..., 1]


# %% stretch
def deep_loss_and_grad(params, X, labels):
    """Loss and gradient of a network with two hidden ReLU layers.

    params: dict with W1, b1, W2, b2, W3, b3. X [N, D], labels [N]: JAX arrays.
    Returns (loss, dict of gradients).
    """
    layer = lambda i, v: v @ params[f"W{i}"] + params[f"b{i}"]
    rectify = lambda a: jnp.maximum(a, 0)
    through = lambda i, by_out, a: jnp.where(a > 0, params[f"W{i}"] @ by_out, 0.0)

    def one_example(x, y):
        a1 = layer(1, x)
        h1 = rectify(a1)
        a2 = layer(2, h1)
        h2 = rectify(a2)
        o = layer(3, h2)
        log_p = o - o.max() - jnp.log(jnp.exp(o - o.max()).sum())
        d3 = jnp.exp(log_p) - jax.nn.one_hot(y, o.size)
        d2 = through(3, d3, a2)
        d1 = through(2, d2, a1)
        weights = {"W1": jnp.outer(x, d1), "W2": jnp.outer(h1, d2), "W3": jnp.outer(h2, d3)}
        return -log_p[y], weights | {"b1": d1, "b2": d2, "b3": d3}

    each = jax.vmap(one_example)(X, labels)
    return jax.tree.map(lambda leaf: leaf.mean(axis=0).astype(jnp.float32), each)


# %% [markdown] answer
# 1. At best about log K nats: before it has seen an example the network knows no more than that there are K
# classes, and for equally frequent classes the best it can say is 1/K for each, which costs -log(1/K) = log K
# whatever the label is. (With unequal classes of known frequencies it would be their entropy, which is
# smaller.) A first loss well above log K says that the network is sure of something wrong before it has
# learned anything: the logits are too large at the start, because the weights or the inputs are scaled too
# large, or the loss has a bug. Mine began at 1.33, log 4 is 1.39, and the difference is the chance of one
# batch of 16.
#
# 2. Overfitting is the gap between the curves, and it is largest on the left: with 16 examples the training
# loss is 0.00 nats and the validation loss 2.46, which is worse than the 1.39 nats of guessing, so the
# network is sure and wrong on new images. The gap (mean of three seeds) is 2.46, 1.74, 0.83 and 0.25 nats for
# 16, 64, 256 and 1024 examples: more data narrows it, from both sides, since the training loss also rises
# from 0.00 to 0.30. With the same data I would expect fewer steps (early stopping), a smaller network, weight
# decay or shifted copies of the images to narrow it as well.
#
# 3. This cannot be said from these numbers: 0.8 % of 500 images are 4 images. First source of chance: which
# 500 images are in the test set; the standard error of one accuracy is sqrt(0.94 * 0.06 / 500) = 1.06
# percentage points, already more than the difference (about 1.5 points for a difference of two independent
# ones; less if compared image by image, because the images are the same). Second source: the seed of the
# training, that is the initial weights and the order of the batches, of which each of them has seen one. They
# should train each kind with several seeds (say five or more), report mean and spread together with the
# uncertainty from the test set, and compare on the same images in pairs, if possible on more images.

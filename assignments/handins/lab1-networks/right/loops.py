# who: plain NumPy with explicit loops, 64-bit floats, small classes; written from the student notebook alone
# score: 17/17
# ruff: noqa: F821 (the imports are those of the notebook)

# %% softmax
def softmax(logits):
    """Probabilities of the classes, row by row.

    logits: array [N, K], NumPy or JAX, any finite values.
    Returns an array [N, K]; each row sums to 1.
    """
    scores = np.array(logits, dtype=np.float64)
    num_rows, num_classes = scores.shape
    probabilities = np.zeros((num_rows, num_classes))
    for n in range(num_rows):
        biggest = max(scores[n])  # subtracting it, no exponent is above 0
        total = 0.0
        for k in range(num_classes):
            probabilities[n, k] = np.exp(scores[n, k] - biggest)
            total += probabilities[n, k]
        for k in range(num_classes):
            probabilities[n, k] /= total
    return probabilities


# %% cross-entropy
def cross_entropy(logits, labels):
    """Mean cross-entropy in nats.

    logits: array [N, K], any finite values. labels: integers [N], each in 0 .. K-1.
    Returns one number (a float or an array without axes).
    """
    scores = np.array(logits, dtype=np.float64)
    right = np.array(labels)
    num_rows, num_classes = scores.shape

    def log_sum_exp(row):
        biggest = max(row)
        total = 0.0
        for k in range(num_classes):
            total += np.exp(row[k] - biggest)
        return biggest + np.log(total)

    loss = 0.0
    for n in range(num_rows):
        loss += log_sum_exp(scores[n]) - scores[n, int(right[n])]
    return float(loss / num_rows)


# %% forward
def forward(params, X):
    """A two-layer ReLU network.

    params: dict of JAX arrays, W1 [D, M], b1 [M], W2 [M, K], b2 [K]. X: [N, D].
    Returns A [N, M], H [N, M] and the logits O [N, K], in this order.
    """

    class Layer:
        """One row of neurons; the weights of neuron j are column j."""

        def __init__(self, weights, biases):
            weights = np.asarray(weights, dtype=np.float64)
            self.columns = [np.ascontiguousarray(weights[:, j]) for j in range(weights.shape[1])]
            self.biases = np.asarray(biases, dtype=np.float64)

        def __call__(self, inputs):
            outputs = np.zeros((len(inputs), len(self.columns)))
            for n in range(len(inputs)):
                for j in range(len(self.columns)):
                    outputs[n, j] = np.dot(inputs[n], self.columns[j]) + self.biases[j]
            return outputs

    hidden_layer = Layer(params["W1"], params["b1"])
    last_layer = Layer(params["W2"], params["b2"])

    A = hidden_layer(np.asarray(X, dtype=np.float64))
    H = np.zeros(A.shape)
    for n in range(A.shape[0]):
        for m in range(A.shape[1]):
            if A[n, m] > 0:
                H[n, m] = A[n, m]
    logits = last_layer(H)
    return A, H, logits


# %% backward
def backward(params, X, labels, A, H, P):
    """The gradient of the mean cross-entropy by all parameters.

    params: dict of JAX arrays, W1 [D, M], b1 [M], W2 [M, K], b2 [K].
    X [N, D], labels [N] (integers), A [N, M], H [N, M], P [N, K]: JAX arrays.
    Returns a new dict with the same keys and shapes as params.
    """
    W2 = np.asarray(params["W2"], dtype=np.float64)
    X = np.asarray(X, dtype=np.float64)
    A = np.asarray(A, dtype=np.float64)
    H = np.asarray(H, dtype=np.float64)
    P = np.asarray(P, dtype=np.float64)
    labels = np.asarray(labels)
    num_rows, num_inputs = X.shape
    num_hidden, num_classes = W2.shape

    dW1_columns = [np.zeros(num_inputs) for _ in range(num_hidden)]
    db1 = np.zeros(num_hidden)
    dW2 = np.zeros((num_hidden, num_classes))
    db2 = np.zeros(num_classes)

    # Every example adds its share to every gradient.
    for n in range(num_rows):
        by_logits = np.zeros(num_classes)  # row n of D_2
        for k in range(num_classes):
            target = 1.0 if labels[n] == k else 0.0
            by_logits[k] = (P[n, k] - target) / num_rows

        # O_nk = sum_m H_nm W2_mk + b2_k: the factor of W2_mk is H_nm, that of b2_k is 1
        for k in range(num_classes):
            db2[k] += by_logits[k]
        for m in range(num_hidden):
            dW2[m] += H[n, m] * by_logits

        # H_nm reaches the loss through all K logits of its row; the ReLU lets it through if A_nm > 0
        for m in range(num_hidden):
            if A[n, m] > 0:
                by_neuron = np.dot(W2[m], by_logits)
                db1[m] += by_neuron
                dW1_columns[m] += by_neuron * X[n]

    dW1 = np.zeros((num_inputs, num_hidden))
    for m in range(num_hidden):
        dW1[:, m] = dW1_columns[m]
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


# %% gradient-check
def gradient_check(f, theta, g):
    """Is g the gradient of f at theta?

    f: takes a NumPy array [D] of 64-bit floats and returns one float.
    theta: NumPy array [D], 64-bit floats. g: array [D], the gradient that is claimed.
    Returns True or False.
    """
    h = 1e-5
    limit = 1e-3  # right ones are far below, wrong ones have at least 1e-2
    theta = np.array(theta, dtype=np.float64)
    claimed = np.array(g, dtype=np.float64)
    if claimed.shape != theta.shape:
        return False

    def value_with_step(i, step):
        moved = theta.copy()  # a new one each time: f may keep or change what it gets
        moved[i] += step
        return float(f(moved))

    worst = 0.0
    largest = 0.0
    for i in range(len(theta)):
        measured = (value_with_step(i, h) - value_with_step(i, -h)) / (2 * h)
        if not np.isfinite(claimed[i]) or not np.isfinite(measured):
            return False
        worst = max(worst, abs(claimed[i] - measured))
        largest = max(largest, abs(claimed[i]), abs(measured))

    if largest == 0:  # all zeros, and f does not move: right, and nothing to divide by
        return True
    return bool(worst / largest < limit)


# %% adam
class AdamState:
    """Number of steps so far, and the running means by name, as flat lists of floats."""

    def __init__(self, t, means, squares):
        self.t = t
        self.means = means
        self.squares = squares


def adam_init(params):
    """The state of Adam before the first step; params: dict of arrays, any names and shapes."""
    means = {}
    squares = {}
    for name in params:
        size = np.asarray(params[name]).size
        means[name] = [0.0] * size
        squares[name] = [0.0] * size
    return AdamState(0, means, squares)


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of Adam.

    params, grads: dicts of arrays with the same names and shapes. eta: the learning rate.
    Returns (new params, new state); changes none of its arguments.
    """
    t = state.t + 1
    correct1 = 1 - beta1**t
    correct2 = 1 - beta2**t

    new_params = {}
    new_means = {}
    new_squares = {}
    for name in params:
        old = np.asarray(params[name], dtype=np.float64)
        slopes = np.asarray(grads[name], dtype=np.float64).ravel().tolist()
        moved, ms, vs = [], [], []
        for i, value in enumerate(old.ravel().tolist()):
            g = slopes[i]
            m = beta1 * state.means[name][i] + (1 - beta1) * g
            v = beta2 * state.squares[name][i] + (1 - beta2) * g * g
            moved.append(value - eta * (m / correct1) / ((v / correct2) ** 0.5 + eps))
            ms.append(m)
            vs.append(v)
        new_params[name] = np.array(moved, dtype=np.float64).reshape(old.shape)
        new_means[name] = ms
        new_squares[name] = vs
    return new_params, AdamState(t, new_means, new_squares)


# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    """Stochastic gradient descent.

    X [N, ...], labels [N]: NumPy arrays, N >= batch_size. rng: a numpy.random.Generator.
    Returns (params after the last step, losses): losses [num_steps] holds the loss of each
    step's batch, as loss_and_grad gave it.
    """

    def draw_batch():
        rows = rng.choice(len(X), size=batch_size, replace=False)
        images = []
        classes = []
        for row in rows:
            images.append(X[row])
            classes.append(labels[row])
        return np.array(images), np.array(classes)

    state = opt_init(params)
    losses = np.zeros(num_steps)
    for step in range(num_steps):
        batch_X, batch_labels = draw_batch()
        loss, grads = loss_and_grad(params, batch_X, batch_labels)
        params, state = opt_step(params, grads, state)
        losses[step] = float(loss)
    return params, losses


# %% experiment
def experiment(fit, mean_loss, X, labels, X_val, labels_val, sizes, seeds):
    """Training and validation loss against the number of training examples.

    fit(X, labels, seed) -> params. mean_loss(params, X, labels) -> float, in nats.
    X [N, ...], labels [N]: training data. X_val, labels_val: validation data. NumPy arrays.
    sizes, seeds: lists of integers; no size is above N.
    Returns (train_loss, val_loss), arrays [len(sizes), len(seeds)].
    """
    train_loss = np.zeros((len(sizes), len(seeds)))
    val_loss = np.zeros((len(sizes), len(seeds)))
    for i, n in enumerate(sizes):
        for j, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            rows = rng.choice(len(X), size=n, replace=False)
            X_few, labels_few = X[rows], labels[rows]
            fitted = fit(X_few, labels_few, seed)
            train_loss[i, j] = float(mean_loss(fitted, X_few, labels_few))
            val_loss[i, j] = float(mean_loss(fitted, X_val, labels_val))
    return train_loss, val_loss


# %% [markdown] answer
# 1. At best about log K nats (1.39 for K = 4): a network that has seen nothing about the classes
# cannot do better, if they are equally frequent, than to give each the probability 1/K, and that
# costs -log(1/K) = log K for every example. A first loss well above log K says that the untrained
# network is sure of itself, and mostly wrong: its logits are too large (weights initialised too
# large, inputs not scaled), or there is a mistake in the loss. The first steps are then spent on
# taking that back.
#
# 2. At 16, 64 and 256 examples, where the training loss is almost zero and the validation loss is
# not: 0.00 against 2.46 nats at 16, 0.00 against 1.74 at 64, 0.04 against 0.88 at 256. With 16
# and 64 examples the validation loss is even above log 4 = 1.39, so on new images the network is
# worse than one that knows nothing. More training examples narrow the gap: at 1024 it is 0.30
# against 0.54, a gap of 0.25 nats, and both curves move towards each other (the training loss
# rises, the validation loss falls). A smaller network, fewer steps (early stopping), weight decay
# or moved copies of the images should narrow it too, but the plot does not show that.
#
# 3. No, that cannot be said from these numbers. One source of chance is the test set: with 500
# images and an accuracy of 0.94 the standard error is sqrt(0.94 * 0.06 / 500) = 0.011, so 1.1
# percentage points, and the difference of 0.8 points is 4 images. (The images are the same for
# both, so one should compare image by image where only one of them is right, but 4 images of
# difference are still little.) Another is the training run: initial weights and order of the
# batches depend on the seed, and another seed can give another winner. They should each train
# with several seeds on the same data, report mean and spread over the seeds with the number of
# test images or an interval, and compare on more test images.


# %% stretch
def deep_loss_and_grad(params, X, labels):
    """Loss and gradient of a network with two hidden ReLU layers.

    params: dict with W1, b1, W2, b2, W3, b3. X [N, D], labels [N]: JAX arrays.
    Returns (loss, dict of gradients).
    """
    W, b, grads = {}, {}, {}
    for i in (1, 2, 3):
        W[i] = np.asarray(params[f"W{i}"], dtype=np.float64)
        b[i] = np.asarray(params[f"b{i}"], dtype=np.float64)
        grads[f"W{i}"] = np.zeros(W[i].shape)
        grads[f"b{i}"] = np.zeros(b[i].shape)
    X = np.asarray(X, dtype=np.float64)
    labels = np.asarray(labels)

    loss = 0.0
    for n in range(len(X)):
        # forward: inputs[i] is what layer i gets
        inputs = {1: X[n]}
        for i in (1, 2):
            inputs[i + 1] = np.maximum(0.0, np.dot(inputs[i], W[i]) + b[i])
        logits = np.dot(inputs[3], W[3]) + b[3]
        shifted = logits - max(logits)
        exps = np.exp(shifted)
        loss += (np.log(sum(exps)) - shifted[labels[n]]) / len(X)

        # backward: signal is the derivative of the loss by what layer i gives before its ReLU
        signal = exps / sum(exps)
        signal[labels[n]] -= 1.0
        signal = signal / len(X)
        for i in (3, 2, 1):
            grads[f"W{i}"] += np.outer(inputs[i], signal)
            grads[f"b{i}"] += signal
            if i > 1:
                signal = np.dot(W[i], signal)
                for m in range(len(signal)):
                    if inputs[i][m] <= 0:
                        signal[m] = 0.0
    return float(loss), grads

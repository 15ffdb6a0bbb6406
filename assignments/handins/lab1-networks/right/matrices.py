# who: vectorised jnp with einsum and broadcasting, equivalent formulas instead of the obvious ones, terse; written from the student notebook alone
# score: 17/17
# %% softmax
def softmax(logits):
    """p_k = 1 / sum_j exp(o_j - o_k): an overflow is 1/inf = 0, and the term j = k keeps the sum >= 1."""
    o = jnp.asarray(logits, float)
    return 1 / jnp.exp(o[:, None, :] - o[:, :, None]).sum(-1)
# %% cross-entropy
def cross_entropy(logits, labels):
    """log sum_j e^(o_j) - o_y = log(1 + sum_{j != y} e^(o_j - o_y)), a softplus of the other classes' margin."""
    o = jnp.asarray(logits, float)
    Y = jnp.asarray(labels)[:, None] == jnp.arange(o.shape[1])
    o_y = jnp.einsum("nk,nk->n", o, Y.astype(o.dtype))
    rivals = jnp.where(Y, -jnp.inf, o - o_y[:, None])
    return jnp.logaddexp(0.0, jax.nn.logsumexp(rivals, axis=1)).mean()
# %% forward
def forward(params, X):
    """max(0, a) = (a + |a|) / 2."""
    affine = lambda Z, l: jnp.einsum("ni,ij->nj", Z, params[f"W{l}"]) + params[f"b{l}"]
    A = affine(X, 1)
    H = (A + jnp.abs(A)) / 2
    return A, H, affine(H, 2)
# %% backward
def backward(params, X, labels, A, H, P):
    """Every gradient as a contraction over n of the layer's input and the deltas of its output."""
    N, K = P.shape
    D2 = (P - (labels[:, None] == jnp.arange(K))) / N
    D1 = jnp.einsum("nk,mk,nm->nm", D2, params["W2"], jnp.heaviside(A, 0.0))
    return {
        "W1": jnp.einsum("nd,nm->dm", X, D1),
        "b1": jnp.einsum("nm->m", D1),
        "W2": jnp.einsum("nm,nk->mk", H, D2),
        "b2": jnp.einsum("nk->k", D2),
    }
# %% gradient-check
def gradient_check(f, theta, g):
    """|g - n| <= tol * scale, without a division. For g = 0 the rounding of f itself is allowed."""
    g, h, tol = np.asarray(g, float), 1e-5, 1e-3
    E = h * np.eye(theta.size)
    plus, minus = theta + E, theta - E
    F = np.array([[f(t) for t in side] for side in (plus, minus)], float)
    n = (F[0] - F[1]) / np.einsum("ii->i", plus - minus)  # the step that was really made
    sup = lambda v: np.max(np.abs(v), initial=0.0)
    if not np.isfinite(np.concatenate([g, n])).all():
        return False
    rounding = np.finfo(float).eps * sup(F) / h * (not g.any())
    return bool(sup(g - n) <= tol * max(sup(g), sup(n)) + rounding)
# %% adam
def adam_init(params):
    """t, and for each parameter both moments, already divided by 1 - beta^t, as one array [2, ...]."""
    return {"t": 0, "S": {k: jnp.zeros((2, *jnp.shape(v))) for k, v in params.items()}}


def adam_step(params, grads, state, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    """The unbiased moments obey S_t = S_{t-1} + rho_t (u_t - S_{t-1}), u = (g, g^2), rho_t = (1 - beta) / (1 - beta^t)."""
    t, beta = state["t"] + 1, jnp.array([beta1, beta2])
    rho = (1 - beta) / -jnp.expm1(t * jnp.log(beta))
    u = {k: jnp.stack([g, g**2]) for k, g in grads.items()}
    S = {k: s + jnp.einsum("s,s...->s...", rho, u[k] - s) for k, s in state["S"].items()}
    new = {k: v - eta * S[k][0] / (jnp.sqrt(S[k][1]) + eps) for k, v in params.items()}
    return new, {"t": t, "S": S}
# %% train
def train(params, loss_and_grad, opt_init, opt_step, X, labels, num_steps, batch_size, rng):
    """A batch: the places of the batch_size smallest of N uniform numbers."""
    theta, state, L = params, opt_init(params), np.empty(num_steps)
    for t in range(num_steps):
        i = np.argpartition(rng.random(len(X)), batch_size - 1)[:batch_size]
        L[t], grads = loss_and_grad(theta, X[i], labels[i])
        theta, state = opt_step(theta, grads, state)
    return theta, L
# %% experiment
def experiment(fit, mean_loss, X, labels, X_val, labels_val, sizes, seeds):
    """L[size, seed, (train, val)], cut along its last axis."""

    def cell(n, s):
        i = np.random.default_rng(s).permutation(len(X))[:n]
        theta = fit(X[i], labels[i], s)
        return [mean_loss(theta, *data) for data in ((X[i], labels[i]), (X_val, labels_val))]

    L = np.array([[cell(n, s) for s in seeds] for n in sizes], float)
    return L[..., 0], L[..., 1]
# %% stretch
def deep_loss_and_grad(params, X, labels):
    """D_l = (D_{l+1} W_{l+1}^T) * [A_l > 0]; W_l gets H_{l-1}^T D_l."""
    W, b = ([params[f"{c}{l}"] for l in (1, 2, 3)] for c in "Wb")
    H, A = [X], []
    for l in range(3):
        A.append(jnp.einsum("ni,ij->nj", H[l], W[l]) + b[l])
        H.append((A[l] + jnp.abs(A[l])) / 2)
    Y = labels[:, None] == jnp.arange(A[2].shape[1])
    log_p = A[2] - jax.nn.logsumexp(A[2], axis=1, keepdims=True)
    D, grads = (jnp.exp(log_p) - Y) / len(X), {}
    for l in (2, 1, 0):
        grads |= {f"W{l + 1}": jnp.einsum("ni,nj->ij", H[l], D), f"b{l + 1}": D.sum(0)}
        if l:
            D = jnp.einsum("nj,ij,ni->ni", D, W[l], jnp.heaviside(A[l - 1], 0.0))
    return -jnp.where(Y, log_p, 0).sum(1).mean(), grads
# %% [markdown] answer
# 1. $\log K$, here $\log 4 = 1.39$ nats (mine began at 1.34, on one batch of 16). Before training the network knows nothing about the classes, and with balanced classes the best it can say without knowledge is $p_k = 1/K$ for all, which costs $-\log(1/K)$ on every example. A first loss well above that means that the network is sure and wrong: its logits are too large, because the weights or the inputs have too large a scale, or there is a mistake in the loss.
#
# 2. Overfitting is the gap between the two curves: with 16 examples the training loss is about 0, the validation loss about 2.7 nats, which is worse than chance (1.39), so the network is sure of wrong answers. The gap shrinks with more examples, in the mean of three seeds 2.73, 1.88, 0.87 and 0.25 nats for 16, 64, 256 and 1024. So more data narrows it; fewer steps (early stopping), a smaller network or weight decay would too.
#
# 3. Not on this evidence. With 500 images one accuracy has a standard error of $\sqrt{0.94 \cdot 0.06 / 500} \approx 1.1$ percentage points, a difference of two independent ones about 1.5, and theirs is 0.8 points, 4 images (on the same images the comparison is paired, and the images on which just one of them is right decide). The second source of chance is the training itself: the seed of the initial weights and of the batches. Both should train with several seeds and report mean and spread, and the difference on the same, better more, test images with an interval.

# who: matrices: vectorised array code, einsum and broadcasting, scans, differences of squares as products, written from the student notebook alone
# score: 18/18
# %% path
def straight_path(x0, x1, t):
    """Points x_t at times t `[N]` on the lines from noise x0 to data x1, and their velocities; all `[N, d]`."""
    ends = jnp.stack([x0, x1])
    x_t = jnp.einsum("kn,knd->nd", jnp.stack([1 - t, t]), ends)
    return x_t, jnp.einsum("k,knd->nd", jnp.array([-1.0, 1.0]), ends)
# %% exact-velocity
def exact_velocity(x, t, points):
    """Mean velocity `[N, d]` of all lines through x `[N, d]` at times t `[N]` in [0, 1), for data `points` `[K, d]`."""
    tau, s = t[:, None, None], 1 - t[:, None]  # [N, 1, 1], [N, 1]
    c = tau * points  # [N, K, d]: where each point's cloud has its centre
    r = x[:, None] - c
    near = jnp.einsum("nkd,nkd->nk", r, r).argmin(1)[:, None, None]
    c_near, r_near = (jnp.take_along_axis(v, near, axis=1) for v in (c, r))
    # |r_k|^2 - |r_near|^2 = (c_near - c_k) . (r_k + r_near): no difference of large squares
    excess = jnp.einsum("nkd,nkd->nk", c_near - c, r + r_near)
    w = jax.nn.softmax(-excess / (2 * s**2), axis=1)
    return jnp.einsum("nk,nkd->nd", w, points - x[:, None]) / s
# %% loss
def flow_matching_loss(velocity, path, key, x1):
    """Mean of |velocity(x_t, t) - u|^2 over the batch x1 `[N, d]`, summed over coordinates; a scalar.

    velocity(x, t): `[N, d]`; path(x0, x1, t): the points x_t and their velocities u, each `[N, d]`.
    """
    k_t, k_x = jax.random.split(key)
    t = jax.random.uniform(k_t, x1.shape[:1])
    x_t, u = path(jax.random.normal(k_x, x1.shape), x1, t)
    e = velocity(x_t, t) - u
    return jnp.einsum("nd,nd->", e, e) / x1.shape[0]
# %% euler
def euler(velocity, x0, num_steps):
    """Points `[N, d]` at t = 1, from x0 `[N, d]` at t = 0, by `num_steps` equal steps of Euler's method."""
    x0 = jnp.asarray(x0, jnp.float32)
    times = jnp.broadcast_to(jnp.arange(num_steps)[:, None] / num_steps, (num_steps, len(x0)))
    return jax.lax.scan(lambda x, t: (x + velocity(x, t) / num_steps, None), x0, times)[0]
# %% midpoint
def midpoint(velocity, x0, num_steps):
    """Points `[N, d]` at t = 1, from x0 `[N, d]` at t = 0, by `num_steps` equal steps of the midpoint method."""
    x0, h = jnp.asarray(x0, jnp.float32), 1 / num_steps
    grid = jnp.arange(2 * num_steps).reshape(-1, 2, 1) / (2 * num_steps)  # begin and middle of each step
    times = jnp.broadcast_to(grid, (num_steps, 2, len(x0)))

    def advance(x, t):
        half = x + 0.5 * h * velocity(x, t[0])
        return x + h * velocity(half, t[1]), None

    return jax.lax.scan(advance, x0, times)[0]
# %% step
def make_step(loss_fn, tx):
    """A function `step(state, x1) -> (new_state, loss)`; state: `(params, opt_state, key)`."""

    def step(state, x1):
        theta, opt, key = state
        key, fresh = jax.random.split(key)
        loss, grad = jax.value_and_grad(loss_fn)(theta, fresh, x1)
        delta, opt = tx.update(grad, opt, theta)
        return (optax.apply_updates(theta, delta), opt, key), loss

    return step
# %% energy
def energy_distance(x, y):
    """Unbiased estimate of the squared energy distance of the laws of x `[n, d]` and y `[m, d]`; a scalar."""
    n, m = len(x), len(y)
    z = np.concatenate([np.asarray(x, float), np.asarray(y, float)])
    rho = np.sqrt(sum(np.subtract.outer(c, c) ** 2 for c in z.T))  # [n + m, n + m], 0 on the diagonal
    side = np.repeat(np.eye(2), [n, m], axis=0)  # [n + m, 2]
    weight = 1 / np.array([[-n * (n - 1), n * m], [n * m, -m * (m - 1)]])
    return np.einsum("ab,ab->", weight, side.T @ rho @ side)
# %% experiment
def distance_by_steps(step_counts, solver, velocity, data, key, distance):
    """distance(samples, data) for each number of steps, from the same noise; an array `[len(step_counts)]`."""
    z = jax.random.normal(key, data.shape)
    return np.array([float(distance(solver(velocity, z, n), data)) for n in step_counts])
# %% stretch
def digit_flow(digits, key, num_steps=2000, num_samples=40):
    """Samples `[num_samples, 14, 14]` of a flow trained on digits `[N, 14, 14]` in [-1, 1]."""
    x = digits.reshape(len(digits), -1)
    d, width, harmonics = x.shape[1], 512, jnp.arange(1, 9)
    k_init, k_rows, k_train, k_sample = jax.random.split(key, 4)
    sizes = (d + 8, width), (width, width), (width, width), (width, d)
    theta = [
        (jax.random.normal(k, mn) * (2 / mn[0]) ** 0.5, jnp.zeros(mn[1]))
        for k, mn in zip(jax.random.split(k_init, len(sizes)), sizes, strict=True)
    ]

    def v(theta, x, t):
        h = jnp.concatenate([x, jnp.cos(jnp.pi * t[:, None] * harmonics)], axis=1)
        for w, b in theta[:-1]:
            h = jax.nn.silu(h @ w + b)
        return h @ theta[-1][0] + theta[-1][1]

    def loss_of(theta, key, x1):
        return flow_matching_loss(lambda x, t: v(theta, x, t), straight_path, key, x1)

    tx = optax.adam(optax.cosine_decay_schedule(1e-3, num_steps))
    step = make_step(loss_of, tx)
    rows = jax.random.randint(k_rows, (num_steps, 128), 0, len(x))
    state = theta, tx.init(theta), k_train
    (theta, _, _), _ = jax.jit(
        lambda state, rows: jax.lax.scan(lambda s, r: step(s, x[r]), state, rows)
    )(state, rows)
    z = jax.random.normal(k_sample, (num_samples, d))
    return midpoint(lambda x, t: v(theta, x, t), z, 32).reshape(num_samples, 14, 14)
# %% [markdown] answer
# 1. Among all lines that pass through x at time t the network cannot know which one it is asked about; it must give one answer v for all, and E|v - u|^2 = |v - E[u | x, t]|^2 + Var(u | x, t) is smallest for v = E[u | x, t], the mean, since the second term does not depend on v.
# At t = 0 the place x = x_0 is pure noise and says nothing about x_1, so the best velocity is E[x_1] - x, and one Euler step of length 1 takes every noise point to x + (E[x_1] - x) = E[x_1], the mean of the data, here (-0.125, -0.125): no sample at all, and its squared energy distance, 1.30, is larger than that of unmoved noise, 0.39.
# 2. What is left is the mean variance of u given (x_t, t): several lines cross at the same place and time, and no function of (x, t) can tell them apart, so even the exact velocity has a loss of 4.33 on fresh lines.
# The network reaches 4.87 on the same lines, that is 0.54 above the floor, and this difference is what to look at, not the distance from zero: training has ended when the loss on fresh lines no longer comes nearer to the floor; where no exact velocity is known, when it stays flat on held-out data and the samples no longer get better (here the mean loss of the last two times 300 steps is 4.90 both times; the rate had then decayed to nearly zero, so a larger network or more steps may still get closer).
# A network without any error, followed with enough small steps, would generate exactly the training points, the 12 dots of the digit, each with probability 1/12, and nothing new: it would have learned them by heart.

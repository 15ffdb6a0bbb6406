# who: one example and jax.vmap, lax.scan, small lambdas, written from the student notebook alone
# score: 18/18
# %% path
def straight_path(x0, x1, t):
    """Points x_t at times t `[N]` on the lines from noise x0 to data x1, and their velocities; all `[N, d]`."""
    on_line = lambda start, end, when: ((1 - when) * start + when * end, end - start)
    return jax.vmap(on_line)(*(jnp.asarray(a, jnp.float32) for a in (x0, x1, t)))

# %% exact-velocity
def exact_velocity(x, t, points):
    """Mean velocity `[N, d]` of all lines through x `[N, d]` at times t `[N]` in [0, 1), for data `points` `[K, d]`."""
    targets = jnp.asarray(points, jnp.float32)

    def at_one_place(place, when):
        left = 1 - when
        log_density = lambda m: -0.5 * jnp.sum(((place - when * m) / left) ** 2)
        share = jax.nn.softmax(jax.vmap(log_density)(targets))
        return share @ jax.vmap(lambda m: (m - place) / left)(targets)

    return jax.vmap(at_one_place)(jnp.asarray(x, jnp.float32), jnp.asarray(t, jnp.float32))

# %% loss
def flow_matching_loss(velocity, path, key, x1):
    """Mean of |velocity(x_t, t) - u|^2 over the batch x1 `[N, d]`, summed over coordinates; a scalar.

    velocity(x, t): `[N, d]`; path(x0, x1, t): the points x_t and their velocities u, each `[N, d]`.
    """
    size, dim = x1.shape
    clock_keys, noise_keys = (jax.random.split(k, size) for k in jax.random.split(key))
    when = jax.vmap(jax.random.uniform)(clock_keys)
    start = jax.vmap(lambda k: jax.random.normal(k, (dim,)))(noise_keys)
    place, goal = path(start, x1, when)
    squared_length = lambda a: jnp.vdot(a, a)
    return jax.vmap(squared_length)(velocity(place, when) - goal).mean()

# %% euler
def euler(velocity, x0, num_steps):
    """Points `[N, d]` at t = 1, from x0 `[N, d]` at t = 0, by `num_steps` equal steps of Euler's method."""
    begin = jnp.asarray(x0, jnp.float32)
    everywhere = lambda when: jnp.full(begin.shape[:1], when)
    advance = lambda x, when: (x + velocity(x, everywhere(when)) / num_steps, None)
    return jax.lax.scan(advance, begin, jnp.arange(num_steps) / num_steps)[0]

# %% midpoint
def midpoint(velocity, x0, num_steps):
    """Points `[N, d]` at t = 1, from x0 `[N, d]` at t = 0, by `num_steps` equal steps of the midpoint method."""
    begin, h = jnp.asarray(x0, jnp.float32), 1 / num_steps
    slope = lambda x, when: velocity(x, jnp.full(begin.shape[:1], when))

    def advance(x, i):
        halfway = x + h / 2 * slope(x, i * h)
        return x + h * slope(halfway, (i + 0.5) * h), None

    return jax.lax.scan(advance, begin, jnp.arange(num_steps, dtype=jnp.float32))[0]

# %% step
def make_step(loss_fn, tx):
    """A function `step(state, x1) -> (new_state, loss)`; state: `(params, opt_state, key)`."""
    slope_of = jax.value_and_grad(loss_fn)

    def step(state, x1):
        params, memory, chain = state
        chain, link = jax.random.split(chain)
        loss, grads = slope_of(params, link, x1)
        change, memory = tx.update(grads, memory, params)
        return (optax.apply_updates(params, change), memory, chain), loss

    return step

# %% energy
def energy_distance(x, y):
    """Unbiased estimate of the squared energy distance of the laws of x `[n, d]` and y `[m, d]`; a scalar."""
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    gap = lambda a, b: jnp.linalg.norm(a - b)
    table = lambda a, b: jax.vmap(lambda p: jax.vmap(lambda q: gap(p, q))(b))(a)
    within = lambda a: table(a, a).sum() / (len(a) * (len(a) - 1))  # the diagonal is zero
    return 2 * table(x, y).mean() - within(x) - within(y)

# %% experiment
def distance_by_steps(step_counts, solver, velocity, data, key, distance):
    """distance(samples, data) for each number of steps, from the same noise; an array `[len(step_counts)]`."""
    seed_cloud = jax.random.normal(key, data.shape)
    score = lambda n: distance(solver(velocity, seed_cloud, n), data)
    return jnp.asarray([score(n) for n in step_counts], jnp.float32)

# %% [markdown] answer
# 1. At one place x and time t many lines pass, with different velocities u; whatever v(x, t) is, its expected squared error there is E|u - E u|^2 + |E u - v|^2, because the mixed term vanishes. The first part does not contain v and the second is zero exactly for v = E[u | x_t = x], so the mean v* is the minimiser at each (x, t), and hence of the whole loss. At t = 0 the place x = x_0 says nothing about which data point the line leads to, so all weights are 1/K and v*(x, 0) = mean(m) - x. One Euler step of length 1 thus takes every noise point to x + mean(m) - x = mean(m), one and the same place in the middle of the digit and not a data point; in my run its squared energy distance is 1.30, worse than noise that was not moved at all (0.39).
#
# 2. What is left is E|u - v*(x_t, t)|^2, the spread of the velocities of the lines that pass the same place (a conditional variance): the network gets only (x_t, t), which does not tell which line it is, so no network, however large, can get below it. Here the exact velocity has 4.33 on fresh lines and my network 4.80, so only the difference of about 0.47 is error of the network. So the height of the loss alone does not say whether training has ended: compare it with the loss of v* on the same lines (the same key), or, where no v* is known, look whether the loss on fresh lines with a fixed key and the distance of samples from data no longer fall. A network without any error is v*, and solved with small enough steps it carries noise exactly onto the training points (here the dots of the 6) and nothing else: it repeats the training data and generates nothing new.

# %% stretch
def digit_flow(digits, key, num_steps=2000, num_samples=40):
    """Samples `[num_samples, 14, 14]` of a flow trained on digits `[N, 14, 14]` in [-1, 1]."""
    flat = jnp.asarray(digits, jnp.float32).reshape(len(digits), -1)
    weights_key, pick_key, train_key, noise_key = jax.random.split(key, 4)
    dim, hidden, waves = flat.shape[1], 512, jnp.arange(1, 9)

    class WideNet(nnx.Module):
        def __init__(self, rngs):
            widths = (dim + len(waves), hidden, hidden, hidden)
            self.inner = nnx.List(
                [nnx.Linear(a, b, rngs=rngs) for a, b in zip(widths[:-1], widths[1:])]
            )
            self.last = nnx.Linear(hidden, dim, rngs=rngs)

        def __call__(self, x, t):
            h = jnp.concatenate([x, jnp.cos(jnp.pi * t[:, None] * waves)], axis=1)
            for layer in self.inner:
                h = nnx.silu(layer(h))
            return self.last(h)

    graph, params = nnx.split(WideNet(nnx.Rngs(weights_key)))
    velocity_of = lambda p: lambda x, t: nnx.merge(graph, p)(x, t)
    loss_of = lambda p, k, x1: flow_matching_loss(velocity_of(p), straight_path, k, x1)
    tx = optax.adam(optax.cosine_decay_schedule(1e-3, num_steps))
    one_step = make_step(loss_of, tx)
    picks = jax.random.randint(pick_key, (num_steps, 128), 0, len(flat))

    @jax.jit
    def fit(state):
        return jax.lax.scan(lambda s, rows: one_step(s, flat[rows]), state, picks)[0]

    params, *_ = fit((params, tx.init(params), train_key))
    start = jax.random.normal(noise_key, (num_samples, dim))
    samples = jax.jit(lambda p, x: midpoint(velocity_of(p), x, 32))(params, start)
    return samples.reshape(num_samples, *digits.shape[1:])

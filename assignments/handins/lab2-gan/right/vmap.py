# who: one example and jax.vmap, jax.jit, small lambdas, written from the student notebook alone
# score: 18/18
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    """The discriminator's loss in nats, one number: mean over real inputs plus mean over generated ones.

    real_logits: `[N]`, fake_logits: `[M]`, any size up to 1e4.
    """
    price_of_real = lambda a: jax.nn.softplus(-a)  # -log sigma(a)
    price_of_fake = lambda b: jax.nn.softplus(b)  # -log(1 - sigma(b))
    mean_of = lambda price, logits: jax.vmap(price)(jnp.asarray(logits, jnp.float32)).mean()
    return mean_of(price_of_real, real_logits) + mean_of(price_of_fake, fake_logits)

# %% generator-losses
def minimax_loss(fake_logits):
    """Mean of log(1 - D) over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    term = lambda b: -jax.nn.softplus(b)
    return jax.vmap(term)(jnp.asarray(fake_logits, jnp.float32)).mean()


def non_saturating_loss(fake_logits):
    """Mean of -log D over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    term = lambda b: jax.nn.softplus(-b)
    return jax.vmap(term)(jnp.asarray(fake_logits, jnp.float32)).mean()

# %% generator-slopes
def loss_slopes(fake_logits):
    """Derivatives by the logit of log(1 - D) and of -log D, sample by sample: two arrays `[M]`.

    fake_logits: `[M]`, any size up to 1e4.
    """
    one_sample = lambda b: (-jax.nn.sigmoid(b), -jax.nn.sigmoid(-b))
    return jax.vmap(one_sample)(jnp.asarray(fake_logits, jnp.float32))

# %% optimal-logit
def optimal_logit(log_p_data, log_p_g):
    """The logit `[G]` of the best discriminator, from the logarithms `[G]` of both densities."""
    at_one_point = lambda log_p, log_q: log_p - log_q  # log(D / (1 - D))
    return jax.vmap(at_one_point)(*(jnp.asarray(a, jnp.float32) for a in (log_p_data, log_p_g)))

# %% game-value
def game_value(logits, p_data, p_g, dx):
    """V in nats, one number, for logits `[G]` and densities `[G]` on a grid with step dx."""
    weighted = lambda p, log_prob: jnp.where(p > 0, p * log_prob, 0.0)

    def at_one_point(a, p, q):
        return weighted(p, jax.nn.log_sigmoid(a)) + weighted(q, jax.nn.log_sigmoid(-a))

    grids = (jnp.asarray(g, jnp.float32) for g in (logits, p_data, p_g))
    return jax.vmap(at_one_point)(*grids).sum() * dx

# %% jensen-shannon
def jensen_shannon(p, q, dx):
    """The Jensen-Shannon divergence in nats of densities `[G]` on a grid with step dx, one number."""
    smallest = jnp.finfo(jnp.float32).tiny
    safe = lambda a: jnp.maximum(a, smallest)
    half = lambda a, b: jnp.where(a > smallest, a * jnp.log(2 * safe(a) / safe(a + b)), 0.0) / 2
    at_one_point = lambda a, b: half(a, b) + half(b, a)
    return jax.vmap(at_one_point)(jnp.asarray(p, jnp.float32), jnp.asarray(q, jnp.float32)).sum() * dx

# %% step
def make_step(generate, discriminate, draw_latents, d_loss_fn, g_loss_fn, d_tx, g_tx):
    """One turn of the game, `step(state, real, key) -> (new_state, d_loss, g_loss)`.

    state: a dictionary with "g", "d" (parameters) and "g_opt", "d_opt" (states of g_tx and d_tx); real: `[N, ...]`.
    """

    def move(tx, objective, params, memory):
        loss, grads = jax.value_and_grad(objective)(params)
        change, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, change), memory, loss

    @jax.jit
    def step(state, real, key):
        first, second = (draw_latents(k, len(real)) for k in jax.random.split(key))
        fake = generate(state["g"], first)
        judged = lambda d: d_loss_fn(discriminate(d, real), discriminate(d, fake))
        d, d_opt, d_loss = move(d_tx, judged, state["d"], state["d_opt"])
        fooled = lambda g: g_loss_fn(discriminate(d, generate(g, second)))
        g, g_opt, g_loss = move(g_tx, fooled, state["g"], state["g_opt"])
        return {"g": g, "d": d, "g_opt": g_opt, "d_opt": d_opt}, d_loss, g_loss

    return step

# %% coverage
def coverage(samples, centres, radius, min_share):
    """`(modes, good)`: the number of covered modes, and the share of good samples between 0 and 1.

    samples: `[N, 2]`, centres: `[K, 2]`; radius: a distance; min_share: a share of all N samples.
    """
    spots = jnp.asarray(centres, jnp.float32)

    def one_sample(point):
        away = jax.vmap(lambda spot: jnp.linalg.norm(point - spot))(spots)
        return away.argmin(), away.min() < radius

    owner, is_good = jax.vmap(one_sample)(jnp.asarray(samples, jnp.float32))
    hits = jax.vmap(lambda k: jnp.sum(is_good & (owner == k)))(jnp.arange(len(spots)))
    return jnp.sum(hits / len(owner) >= min_share), jnp.sum(is_good) / len(owner)

# %% experiment
def experiment(d_rates, seeds, train, sample, measure, num_samples=1000):
    """`{"loss": ..., "modes": ..., "good": ...}`, each `[R, S]`: a row for each rate, a column for each seed."""

    def one_run(d_rate, seed):
        train_key, sample_key = jax.random.split(jax.random.key(seed))
        g_params, g_losses = train(d_rate, train_key)
        late = jnp.asarray(g_losses, jnp.float32)[-100:].mean()
        return (late, *measure(sample(g_params, sample_key, num_samples)))

    runs = [[one_run(d_rate, seed) for seed in seeds] for d_rate in d_rates]
    pick = lambda i: jnp.asarray([[run[i] for run in row] for row in runs], jnp.float32)
    return {name: pick(i) for i, name in enumerate(("loss", "modes", "good"))}

# %% diagnose
def diagnose(run):
    """The fault of a recorded run, one of five words, or "healthy"; run: a dictionary of arrays."""
    names = ("latents", "slopes", "samples", "centres")
    latents, slopes, samples, spots = (jnp.asarray(run[name], jnp.float32) for name in names)
    late = slopes[3 * len(slopes) // 4 :]
    nearest = lambda point: jax.vmap(lambda spot: jnp.linalg.norm(point - spot))(spots).argmin()
    owner = jax.vmap(nearest)(samples)
    counts = jax.vmap(lambda k: jnp.sum(owner == k))(jnp.arange(len(spots)))
    found = jnp.sum(counts / len(samples) >= 0.02)
    faults = {
        "reused latents": jax.vmap(lambda turn: jnp.all(turn == latents[0]))(latents).all(),
        "wrong sign": slopes.mean() > 0,  # descending then lowers the logits of samples
        "saturated": jnp.abs(late).mean() < 0.01,
        "collapse": 2 * found < len(spots),
        "healthy": True,
    }
    return next(word for word, applies in faults.items() if applies)

# %% [markdown] answer
# 1. The generator's loss is no distance from the data: it measures how well the samples do against *this* discriminator at this turn, and the opponent changes all the time, so the loss may fall because the discriminator got worse (or slower) and not because the samples got better. At D = 1/2 the non-saturating loss is log 2 = 0.693 (the minimax loss -0.693). The discriminator says 1/2 everywhere when the samples have the distribution of the data, so that no discriminator can do better, but also when it is untrained or too weak (learns too slowly) to tell anything apart, whatever the samples are. My table shows it: at the rate 1e-4 the loss is 0.714 with 0.3 of 6 modes and a good share of 0.02, at 5e-3 it is 0.710 with all 6 modes and 0.93, and the lowest loss, 0.698 at 1e-3, belongs to only 4 modes.
#
# 2. The mean of log(1 - D) is -0.0001, so D is about 0.0001 on the samples: their logits are about log(0.0001) = -9.2 or lower, while the real ones are well above 0; the discriminator is sure and right. The slope of the minimax loss by a logit is -D, so the gradient is about 0.0001 in size (times the discriminator's own gradient, and divided by the batch), and plain gradient descent moves practically not at all: saturated, not converged, for at the real end of the game the loss would be -0.693. I would take the non-saturating loss, whose slope -(1 - D) is about -1 there (and, if this is not enough, slow the discriminator down). From now on I would print the number of covered modes (or the mean size of the slopes, or the norm of the generator's gradient, which shows this fault at once).

# %% stretch
def r1_penalty(logits_of, x):
    """Mean squared norm of the gradient of each logit by its own input, one number; x: `[N, 2]`."""
    steepness = jax.grad(lambda point: logits_of(point[None])[0])
    return jax.vmap(lambda point: jnp.sum(steepness(point) ** 2))(x).mean()


def make_penalised_step(weight, d_tx, g_tx):
    """A turn as that of task 4 with the networks and losses of task 6, and weight / 2 times the penalty."""

    def move(tx, objective, params, memory):
        loss, grads = jax.value_and_grad(objective)(params)
        change, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, change), memory, loss

    def step(state, real, key):
        first, second = (draw_latents(k, len(real)) for k in jax.random.split(key))
        fake = generate(state["g"], first)

        def judged(d):
            logits_of = lambda x: discriminate(d, x)
            plain = discriminator_loss(logits_of(real), logits_of(fake))
            return plain + weight / 2 * r1_penalty(logits_of, real)

        d, d_opt, d_loss = move(d_tx, judged, state["d"], state["d_opt"])
        fooled = lambda g: non_saturating_loss(discriminate(d, generate(g, second)))
        g, g_opt, g_loss = move(g_tx, fooled, state["g"], state["g_opt"])
        return {"g": g, "d": d, "g_opt": g_opt, "d_opt": d_opt}, d_loss, g_loss

    return step

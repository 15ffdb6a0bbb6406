# who: plain NumPy thinking, explicit loops over grid points, samples, centres and turns, float64 where possible, written from the student notebook alone
# score: 18/18
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    """The discriminator's loss in nats, one number: mean over real inputs plus mean over generated ones.

    real_logits: `[N]`, fake_logits: `[M]`, any size up to 1e4.
    """

    def log_sigmoid(a):
        """log sigma(a) = min(a, 0) - log(1 + exp(-|a|)): the exponential is never above 1."""
        return jnp.minimum(a, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(a)))

    def mean(values):
        return jnp.sum(values) / values.shape[0]

    cost_of_real = -mean(log_sigmoid(real_logits))
    cost_of_fake = -mean(log_sigmoid(-fake_logits))  # 1 - sigma(b) = sigma(-b)
    return cost_of_real + cost_of_fake


# %% generator-losses
def _log_sigmoid(a):
    """log sigma(a) = min(a, 0) - log(1 + exp(-|a|)): the exponential is never above 1."""
    return jnp.minimum(a, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(a)))


def minimax_loss(fake_logits):
    """Mean of log(1 - D) over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    terms = _log_sigmoid(-fake_logits)
    return jnp.sum(terms) / terms.shape[0]


def non_saturating_loss(fake_logits):
    """Mean of -log D over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    terms = -_log_sigmoid(fake_logits)
    return jnp.sum(terms) / terms.shape[0]


# %% generator-slopes
def loss_slopes(fake_logits):
    """Derivatives by the logit of log(1 - D) and of -log D, sample by sample: two arrays `[M]`.

    fake_logits: `[M]`, any size up to 1e4.
    """
    # sigma' = sigma (1 - sigma), so (log(1 - sigma))' = -sigma and (-log sigma)' = -(1 - sigma) = -sigma(-b)
    of_minimax = -jax.nn.sigmoid(fake_logits)
    of_non_saturating = -jax.nn.sigmoid(-fake_logits)
    return of_minimax, of_non_saturating


# %% optimal-logit
def optimal_logit(log_p_data, log_p_g):
    """The logit `[G]` of the best discriminator, from the logarithms `[G]` of both densities."""
    # sigma(a) = p / (p + q) = 1 / (1 + q / p), so exp(-a) = q / p
    log_p = np.asarray(log_p_data, dtype=np.float64)
    log_q = np.asarray(log_p_g, dtype=np.float64)
    return log_p - log_q


# %% game-value
def game_value(logits, p_data, p_g, dx):
    """V in nats, one number, for logits `[G]` and densities `[G]` on a grid with step dx."""

    def log_sigmoid(a):
        return min(a, 0.0) - np.log1p(np.exp(-abs(a)))

    a = np.asarray(logits, dtype=np.float64)
    p = np.asarray(p_data, dtype=np.float64)
    q = np.asarray(p_g, dtype=np.float64)
    total = 0.0
    for i in range(len(a)):
        if p[i] > 0:
            total += p[i] * log_sigmoid(a[i])
        if q[i] > 0:
            total += q[i] * log_sigmoid(-a[i])
    return total * dx


# %% jensen-shannon
def jensen_shannon(p, q, dx):
    """The Jensen-Shannon divergence in nats of densities `[G]` on a grid with step dx, one number."""
    p = np.asarray(p, dtype=np.float64)
    q = np.asarray(q, dtype=np.float64)
    total = 0.0
    for i in range(len(p)):
        twice_middle = p[i] + q[i]
        if p[i] > 0:
            total += 0.5 * p[i] * np.log(2 * p[i] / twice_middle)
        if q[i] > 0:
            total += 0.5 * q[i] * np.log(2 * q[i] / twice_middle)
    return total * dx


# %% step
def make_step(generate, discriminate, draw_latents, d_loss_fn, g_loss_fn, d_tx, g_tx):
    """One turn of the game, `step(state, real, key) -> (new_state, d_loss, g_loss)`.

    state: a dictionary with "g", "d" (parameters) and "g_opt", "d_opt" (states of g_tx and d_tx); real: `[N, ...]`.
    """

    def move(tx, loss_of, params, opt_state):
        """A player's move: the loss before it, the parameters and the state of the optimiser after it."""
        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, new_opt_state = tx.update(grads, opt_state, params)
        return loss, optax.apply_updates(params, updates), new_opt_state

    def step(state, real, key):
        count = real.shape[0]
        key_of_d, key_of_g = jax.random.split(key, 2)

        # The discriminator's move: the samples are constants for it.
        fake = generate(state["g"], draw_latents(key_of_d, count))

        def loss_of_d(d_params):
            return d_loss_fn(discriminate(d_params, real), discriminate(d_params, fake))

        d_loss, new_d, new_d_opt = move(d_tx, loss_of_d, state["d"], state["d_opt"])

        # The generator's move, with new latents, against the discriminator that has moved.
        latents = draw_latents(key_of_g, count)

        def loss_of_g(g_params):
            return g_loss_fn(discriminate(new_d, generate(g_params, latents)))

        g_loss, new_g, new_g_opt = move(g_tx, loss_of_g, state["g"], state["g_opt"])

        new_state = {"g": new_g, "d": new_d, "g_opt": new_g_opt, "d_opt": new_d_opt}
        return new_state, d_loss, g_loss

    return step


# %% coverage
def coverage(samples, centres, radius, min_share):
    """`(modes, good)`: the number of covered modes, and the share of good samples between 0 and 1.

    samples: `[N, 2]`, centres: `[K, 2]`; radius: a distance; min_share: a share of all N samples.
    """
    places = np.asarray(samples, dtype=np.float64)
    middles = np.asarray(centres, dtype=np.float64)
    good_of = [0] * len(middles)  # good samples of each mode
    for place in places:
        nearest, shortest = 0, np.inf
        for k in range(len(middles)):
            away = np.sqrt((place[0] - middles[k][0]) ** 2 + (place[1] - middles[k][1]) ** 2)
            if away < shortest:
                nearest, shortest = k, away
        if shortest < radius:
            good_of[nearest] += 1

    modes = 0
    for number in good_of:
        if number / len(places) >= min_share:
            modes += 1
    return modes, sum(good_of) / len(places)


# %% experiment
def experiment(d_rates, seeds, train, sample, measure, num_samples=1000):
    """`{"loss": ..., "modes": ..., "good": ...}`, each `[R, S]`: a row for each rate, a column for each seed."""
    shape = (len(d_rates), len(seeds))
    results = {"loss": np.zeros(shape), "modes": np.zeros(shape), "good": np.zeros(shape)}
    for row, d_rate in enumerate(d_rates):
        for column, seed in enumerate(seeds):
            key_to_train, key_to_sample = jax.random.split(jax.random.key(seed), 2)
            g_params, g_losses = train(d_rate, key_to_train)
            last = np.asarray(g_losses, dtype=np.float64)[-100:]
            modes, good = measure(sample(g_params, key_to_sample, num_samples))
            results["loss"][row, column] = last.mean()
            results["modes"][row, column] = modes
            results["good"][row, column] = good
    return results


# %% diagnose
def diagnose(run):
    """The fault of a recorded run, one of five words, or "healthy"; run: a dictionary of arrays."""
    latents = np.asarray(run["latents"])
    slopes = np.asarray(run["slopes"], dtype=np.float64)
    samples = np.asarray(run["samples"], dtype=np.float64)
    middles = np.asarray(run["centres"], dtype=np.float64)
    turns = len(slopes)

    def latents_are_reused():
        for t in range(1, turns):
            if not np.array_equal(latents[t], latents[0]):
                return False
        return True

    def goes_the_wrong_way():
        # Descending changes a logit by minus its slope: down, if the slope is positive.
        return slopes.mean() > 0

    def is_saturated():
        last_quarter = slopes[(3 * turns) // 4 :]
        return np.abs(last_quarter).mean() < 0.01

    def has_collapsed():
        nearest_of = [0] * len(middles)
        for place in samples:
            away = [np.sqrt(((place - middle) ** 2).sum()) for middle in middles]
            nearest_of[int(np.argmin(away))] += 1
        found = 0
        for number in nearest_of:
            if number / len(samples) >= 0.02:
                found += 1
        return found < len(middles) / 2

    if latents_are_reused():
        return "reused latents"
    if goes_the_wrong_way():
        return "wrong sign"
    if is_saturated():
        return "saturated"
    if has_collapsed():
        return "collapse"
    return "healthy"


# %% [markdown] answer
# 1. The generator's loss is the mean of -log D over its samples: it measures how false they look to the present discriminator, not how far they are from the data, and the opponent changes from turn to turn and from run to run. At D = 1/2 it is log 2 = 0.693, and the discriminator says 1/2 everywhere in two situations: when the samples have the distribution of the data, so that no discriminator can do better, and when the discriminator is bad (has not learned, or too slowly) and tells nothing apart, however poor the samples are. My table shows it: the losses 0.722, 0.698 and 0.713 for the rates 1e-4, 1e-3 and 5e-3 are all near log 2, but the samples had 1.0, 4.0 and 6.0 of the 6 modes, and good shares of 0.20, 0.89 and 0.94; the lowest loss did not belong to the best samples.
#
# 2. The mean of log(1 - D) is -0.0001, so D is about 0.0001 on the generated samples: their logits are near -9.2 (those of real inputs surely large and positive), because the discriminator is sure and right. The slope of the minimax loss by the logit is -D, some 0.0001 in size, so the gradient is almost zero and with plain gradient descent the generator stands still: it is saturated, it has lost and not converged (at the equilibrium of the game D would be 1/2 and this loss -log 2 = -0.693). I would take the non-saturating loss, whose slope is -(1 - D), about -1 here (and perhaps Adam, or a slower discriminator). From now on I would print the number of covered modes together with the share of good samples, or at least the mean size of the slopes.
# %% stretch
def r1_penalty(logits_of, x):
    """Mean squared norm of the gradient of each logit by its own input, one number; x: `[N, 2]`."""

    def squared_norm(point):
        slope = jax.grad(lambda p: logits_of(p[None, :])[0])(point)
        return jnp.sum(slope**2)

    return jnp.mean(jax.vmap(squared_norm)(x))


def make_penalised_step(weight, d_tx, g_tx):
    """A turn as that of task 4 with the networks and losses of task 6, and weight / 2 times the penalty."""

    def step(state, real, key):
        key_of_d, key_of_g = jax.random.split(key, 2)
        fake = generate(state["g"], draw_latents(key_of_d, len(real)))

        def loss_of_d(d):
            plain = discriminator_loss(discriminate(d, real), discriminate(d, fake))
            return plain + weight / 2 * r1_penalty(lambda x: discriminate(d, x), real)

        d_loss, grads = jax.value_and_grad(loss_of_d)(state["d"])
        updates, d_opt = d_tx.update(grads, state["d_opt"], state["d"])
        d = optax.apply_updates(state["d"], updates)

        latents = draw_latents(key_of_g, len(real))

        def loss_of_g(g):
            return non_saturating_loss(discriminate(d, generate(g, latents)))

        g_loss, grads = jax.value_and_grad(loss_of_g)(state["g"])
        updates, g_opt = g_tx.update(grads, state["g_opt"], state["g"])
        g = optax.apply_updates(state["g"], updates)
        return {"g": g, "d": d, "g_opt": g_opt, "d_opt": d_opt}, d_loss, g_loss

    return step

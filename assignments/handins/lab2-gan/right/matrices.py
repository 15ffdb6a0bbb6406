# who: matrices: vectorised array code, einsum and broadcasting, softplus identities, written from the student notebook alone
# score: 18/18
# %% discriminator-loss
def discriminator_loss(real_logits, fake_logits):
    """The discriminator's loss in nats, one number: mean over real inputs plus mean over generated ones.

    real_logits: `[N]`, fake_logits: `[M]`, any size up to 1e4.
    """
    # -log sigma(a) = log(e^0 + e^-a),  -log(1 - sigma(b)) = log(e^0 + e^b)
    return jnp.logaddexp(0.0, -real_logits).mean() + jnp.logaddexp(0.0, fake_logits).mean()
# %% generator-losses
def _zeta(t):
    """Softplus, split at its corner: (t + |t|) / 2 + log(1 + e^-|t|)."""
    u = jnp.abs(t)
    return 0.5 * (t + u) + jnp.log1p(jnp.exp(-u))


def minimax_loss(fake_logits):
    """Mean of log(1 - D) over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    return -_zeta(fake_logits).mean()


def non_saturating_loss(fake_logits):
    """Mean of -log D over generated inputs, in nats; fake_logits: `[M]`, any size up to 1e4."""
    return _zeta(-fake_logits).mean()
# %% generator-slopes
def loss_slopes(fake_logits):
    """Derivatives by the logit of log(1 - D) and of -log D, sample by sample: two arrays `[M]`.

    fake_logits: `[M]`, any size up to 1e4.
    """
    # d/db: -sigma(b) and -sigma(-b); sigma(t) = exp(-log(1 + e^-t))
    signs = jnp.array([[1.0], [-1.0]])
    minimax, other = -jnp.exp(-jnp.logaddexp(0.0, -signs * fake_logits))
    return minimax, other
# %% optimal-logit
def optimal_logit(log_p_data, log_p_g):
    """The logit `[G]` of the best discriminator, from the logarithms `[G]` of both densities."""
    return np.subtract(log_p_data, log_p_g)  # D / (1 - D) = p_data / p_g
# %% game-value
def game_value(logits, p_data, p_g, dx):
    """V in nats, one number, for logits `[G]` and densities `[G]` on a grid with step dx."""
    a, p, q = (np.asarray(v, float) for v in (logits, p_data, p_g))
    log_d = np.stack([-np.logaddexp(0, -a), -np.logaddexp(0, a)])  # [2, G]: of real, of generated
    return np.einsum("kg,kg->", np.stack([p, q]), log_d) * dx
# %% jensen-shannon
def jensen_shannon(p, q, dx):
    """The Jensen-Shannon divergence in nats of densities `[G]` on a grid with step dx, one number."""
    p, q = np.asarray(p, float), np.asarray(q, float)
    r = np.stack([p, q, (p + q) / 2])
    phi = r * np.log(np.where(r > 0, r, 1))  # r log r, and 0 at 0
    # entropy of the mixture minus the mean entropy
    return np.einsum("k,kg->", [0.5, 0.5, -1.0], phi) * dx
# %% step
def make_step(generate, discriminate, draw_latents, d_loss_fn, g_loss_fn, d_tx, g_tx):
    """One turn of the game, `step(state, real, key) -> (new_state, d_loss, g_loss)`.

    state: a dictionary with "g", "d" (parameters) and "g_opt", "d_opt" (states of g_tx and d_tx); real: `[N, ...]`.
    """

    def descend(loss, theta, tx, opt):
        value, grad = jax.value_and_grad(loss)(theta)
        delta, opt = tx.update(grad, opt, theta)
        return optax.apply_updates(theta, delta), opt, value

    @jax.jit
    def step(state, real, key):
        z_d, z_g = (draw_latents(k, real.shape[0]) for k in jax.random.split(key))
        fake = generate(state["g"], z_d)
        d, d_opt, d_loss = descend(
            lambda phi: d_loss_fn(discriminate(phi, real), discriminate(phi, fake)),
            state["d"],
            d_tx,
            state["d_opt"],
        )
        g, g_opt, g_loss = descend(
            lambda theta: g_loss_fn(discriminate(d, generate(theta, z_g))),
            state["g"],
            g_tx,
            state["g_opt"],
        )
        return {"g": g, "d": d, "g_opt": g_opt, "d_opt": d_opt}, d_loss, g_loss

    return step
# %% coverage
def coverage(samples, centres, radius, min_share):
    """`(modes, good)`: the number of covered modes, and the share of good samples between 0 and 1.

    samples: `[N, 2]`, centres: `[K, 2]`; radius: a distance; min_share: a share of all N samples.
    """
    to_c = np.array([1, 1j])  # the plane as complex numbers
    rho = np.abs(np.subtract.outer(np.asarray(samples) @ to_c, np.asarray(centres) @ to_c))  # [N, K]
    n, k = rho.shape
    hits = (rho.argmin(1)[:, None] == np.arange(k)) & (rho < radius)
    counts = np.einsum("nk->k", hits.astype(int))
    return int((counts / n >= min_share).sum()), float(counts.sum() / n)
# %% experiment
def experiment(d_rates, seeds, train, sample, measure, num_samples=1000):
    """`{"loss": ..., "modes": ..., "good": ...}`, each `[R, S]`: a row for each rate, a column for each seed."""
    keys = [jax.random.split(jax.random.key(s)) for s in seeds]

    def cell(rate, train_key, sample_key):
        g, losses = train(rate, train_key)
        modes, good = measure(sample(g, sample_key, num_samples))
        return float(np.asarray(losses, float)[-100:].mean()), float(modes), float(good)

    cube = np.array([[cell(rate, *pair) for pair in keys] for rate in d_rates])  # [R, S, 3]
    return dict(zip(("loss", "modes", "good"), np.moveaxis(cube, -1, 0), strict=True))
# %% diagnose
def diagnose(run):
    """The fault of a recorded run, one of five words, or "healthy"; run: a dictionary of arrays."""
    z, s, x, c = (np.asarray(run[k], float) for k in ("latents", "slopes", "samples", "centres"))
    # nearest centre: |x - c|^2 = |x|^2 - 2 (x.c - |c|^2 / 2)
    score = np.einsum("md,kd->mk", x, c) - 0.5 * np.einsum("kd,kd->k", c, c)
    share = (score.argmax(1)[:, None] == np.arange(len(c))).mean(0)
    verdicts = {
        "reused latents": (z == z[:1]).all(),
        "wrong sign": s.mean() > 0,  # descent moves a logit by minus its slope
        "saturated": np.abs(s[3 * len(s) // 4 :]).mean() < 0.01,
        "collapse": 2 * (share >= 0.02).sum() < len(c),
        "healthy": True,
    }
    return next(word for word, applies in verdicts.items() if applies)
# %% stretch
def r1_penalty(logits_of, x):
    """Mean squared norm of the gradient of each logit by its own input, one number; x: `[N, 2]`."""
    own = jnp.einsum("nnd->nd", jax.jacrev(logits_of)(x))  # the diagonal of the Jacobian [N, N, 2]
    return jnp.einsum("nd,nd->", own, own) / x.shape[0]


def make_penalised_step(weight, d_tx, g_tx):
    """A turn as that of task 4 with the networks and losses of task 6, and weight / 2 times the penalty."""

    def step(state, real, key):
        z_d, z_g = (draw_latents(k, real.shape[0]) for k in jax.random.split(key))
        fake = generate(state["g"], z_d)

        def d_loss_of(phi):
            a, b = discriminate(phi, real), discriminate(phi, fake)
            r1 = r1_penalty(lambda x: discriminate(phi, x), real)
            return discriminator_loss(a, b) + 0.5 * weight * r1

        d_loss, grad = jax.value_and_grad(d_loss_of)(state["d"])
        delta, d_opt = d_tx.update(grad, state["d_opt"], state["d"])
        d = optax.apply_updates(state["d"], delta)

        def g_loss_of(theta):
            return non_saturating_loss(discriminate(d, generate(theta, z_g)))

        g_loss, grad = jax.value_and_grad(g_loss_of)(state["g"])
        delta, g_opt = g_tx.update(grad, state["g_opt"], state["g"])
        g = optax.apply_updates(state["g"], delta)
        return {"g": g, "d": d, "g_opt": g_opt, "d_opt": d_opt}, d_loss, g_loss

    return step
# %% [markdown] answer
# 1. The loss is the mean of -log D over generated points: it measures how sure the *present* discriminator is that they are false, and that opponent moves too, so values of different turns or runs are marks given by different judges.
# At D = 1/2 it is log 2 = 0.693, and D is 1/2 everywhere in two situations: when the samples have the distribution of the data and the discriminator is the best one, and when the discriminator is too weak or too slow to tell anything apart, however bad the samples are.
# My table shows it: all three rates end near log 2 (0.729, 0.698, 0.713), but with 0.3, 4.0 and 6.0 modes of 6 and good shares of 0.01, 0.89 and 0.93; the lowest loss, 0.698, is not that of the best samples, and from rate 0.001 to 0.005 the loss rises while the samples get better.
# 2. A mean of log(1 - D) = -0.0001 says D of about 0.0001 on generated points, so their logits are about log(0.0001) = -9 or lower (and those of real ones, very probably, high): the discriminator has won, nothing has converged.
# The slope by the logit is -sigma(b), about -0.0001 on average, just as small as the loss, so plain gradient descent moves the generator by next to nothing.
# I would change to the non-saturating loss, whose slope -sigma(-b) is about -0.9999 at the same place (and perhaps slow the discriminator down, or give it a gradient penalty).
# From now on I would print the number of covered modes, and next to it the good share.

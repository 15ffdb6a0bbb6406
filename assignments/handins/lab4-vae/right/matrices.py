# who: vectorised jnp with einsum and broadcasting, equivalent formulas instead of the obvious ones, terse; written from the student notebook alone
# score: 18/18
# %% gaussian-kl
def gaussian_kl(mean, logvar):
    """1/2 sum_j mu^2 + (e^v - 1) - v; expm1 keeps the digits near v = 0."""
    return (jnp.einsum("nj,nj->n", mean, mean) + (jnp.expm1(logvar) - logvar).sum(1)) / 2
# %% log-likelihood
def bernoulli_log_likelihood(logits, x):
    """x in {0, 1}: each pixel is log sigma(s l) with the sign s = 2x - 1, and log sigma(a) = -log(e^0 + e^-a)."""
    return -jnp.logaddexp(0.0, (1 - 2 * x) * logits).sum(tuple(range(1, logits.ndim)))
# %% reparameterize
def reparameterize(key, mean, logvar):
    """Box-Muller: eps = r cos(phi) with r^2 / 2 ~ Exp(1) and phi uniform is a standard normal number."""
    k_r, k_phi = jax.random.split(key)
    r = jnp.sqrt(2 * jax.random.exponential(k_r, mean.shape))
    phi = 2 * jnp.pi * jax.random.uniform(k_phi, mean.shape)
    return mean + jnp.exp(logvar / 2) * (r * jnp.cos(phi))
# %% elbo
def elbo(x, key, encode, decode, sample_fn, log_likelihood_fn, kl_fn, beta=1.0):
    """D = log p(x|z), R = KL; the bound is D - beta R."""
    q = encode(x)
    D, R = log_likelihood_fn(decode(sample_fn(key, *q)), x), kl_fn(*q)
    return D - beta * R, D, R
# %% fit
def fit(loss_fn, params, images, key, num_steps, tx, batch_size=64):
    """The whole run is one compiled scan over a matrix of keys [num_steps, 2]; a batch is an arg top-k of N uniforms."""

    @jax.jit
    def run(theta, X, keys):
        def step(carry, k):
            theta, s = carry
            i = jax.lax.top_k(jax.random.uniform(k[0], (len(X),)), batch_size)[1]
            L, g = jax.value_and_grad(loss_fn)(theta, X[i], k[1])
            d, s = tx.update(g, s, theta)
            return (optax.apply_updates(theta, d), s), L

        return jax.lax.scan(step, (theta, tx.init(theta)), keys)

    (theta, _), losses = run(params, images, jax.random.split(key, (num_steps, 2)))
    return theta, losses
# %% importance
def importance_weighted_bound(x, key, num_samples, encode, decode, sample_fn, log_likelihood_fn):
    """All S * N codes as rows of one matrix. In log p(z) - log q(z|x) the constants log(2 pi) / 2 cancel."""
    S, N = num_samples, len(x)
    tile = lambda a: jnp.broadcast_to(a, (S, *a.shape)).reshape(S * N, *a.shape[1:])
    mu, v, X = map(tile, (*encode(x), x))
    z = sample_fn(key, mu, v)
    eps = (z - mu) * jnp.exp(-v / 2)
    log_w = log_likelihood_fn(decode(z), X) + (eps**2 + v - z**2).sum(1) / 2
    return jax.nn.logsumexp(log_w.reshape(S, N), axis=0, b=1 / S)
# %% rate-distortion
def rate_distortion(betas, train, parts, images, test_images, key, num_draws=8):
    """The array [beta, draw, (log-likelihood, KL), image], its mean over draws and images, and a sign."""
    k_train, *k_draw = jax.random.split(key, 1 + num_draws)
    thetas = (train(beta, images, k_train) for beta in betas)
    T = np.array([[parts(theta, test_images, k) for k in k_draw] for theta in thetas], float)
    D, R = T.mean(axis=(1, 3)).T
    return R, -D
# %% stretch
def digit_plane(digits, key, num_steps=1500, side=12):
    """Decoded means `[side, side, 28, 28]` of a grid of two latents, trained on digits `[N, 28, 28]` in {0, 1}."""
    X, M, B = digits.reshape(len(digits), -1), 256, 128
    shapes = (X.shape[1], M), (M, 4), (2, M), (M, X.shape[1])
    k_init, k_run = jax.random.split(key)
    k_init = jax.random.split(k_init, 4)
    theta = [(jax.random.normal(k, s) / s[0] ** 0.5, jnp.zeros(s[1])) for k, s in zip(k_init, shapes)]
    mlp = lambda first, last, a: jnp.tanh(a @ first[0] + first[1]) @ last[0] + last[1]

    def loss(theta, x, k):
        mu, v = jnp.split(mlp(*theta[:2], x), 2, axis=1)
        l = mlp(*theta[2:], mu + jnp.exp(v / 2) * jax.random.normal(k, mu.shape))
        rate = (mu**2 + jnp.expm1(v) - v).sum(1) / 2
        return (jnp.logaddexp(0.0, (1 - 2 * x) * l).sum(1) + rate).mean()

    tx = optax.adam(2e-3)

    @jax.jit
    def run(theta, X, keys):
        def step(carry, k):
            i = jax.random.randint(k[0], (B,), 0, len(X))
            d, s = tx.update(jax.grad(loss)(carry[0], X[i], k[1]), carry[1])
            return (optax.apply_updates(carry[0], d), s), None

        return jax.lax.scan(step, (theta, tx.init(theta)), keys)[0][0]

    theta = run(theta, X, jax.random.split(k_run, (num_steps, 2)))
    u = jax.scipy.stats.norm.ppf((jnp.arange(side) + 0.5) / side)
    Z = jnp.stack(jnp.meshgrid(u, -u), axis=-1).reshape(-1, 2)
    return jax.nn.sigmoid(mlp(*theta[2:], Z)).reshape(side, side, *digits.shape[1:])
# %% [markdown] answer
# 1. It is `beta` = 64. The mean over 64 pixels turns the distortion $D$ into $D/64$, but the rate $R$ stays a sum over latents, so the loss is $D/64 + R = (D + 64 R)/64$, and the factor 1/64 in front does not move the minimum. The encoder has learned to ignore the image and to propose the prior: in my table $R = 0.00$ nats, and $D = 33.04$ is what a model without a code needs (32.9). It pays because every nat of rate costs 64 nats there, while between `beta` 64 and 3 a nat of rate buys only $(33.04 - 16.39)/3.08 \approx 5.4$ nats of distortion.
#
# 2. $\log p(x) - \mathrm{ELBO}(x) = \mathrm{KL}(q(z|x) \,\|\, p(z|x))$, which is zero exactly if the proposal is the true posterior. A richer proposal (a full covariance, a flow) or a better trained encoder makes it smaller; so does the average of weights inside the logarithm, here from 17.55 nats with 1 sample to 16.59 with 64. Averaging the ELBO over many draws does not: its expectation is the same, only the noise of the estimate shrinks.

"""Adversarial losses, penalties on the critic's gradient, and averages of weights.

Logits `[N]` are the discriminator's outputs before any sigmoid; positive means "real". A Wasserstein critic's outputs
are plain real numbers, and take the same place. Every loss is to be minimised by the player whose name it has.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.nn import relu, softplus

LOSSES = ("minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic")
SMOOTHABLE = LOSSES[:3]  # those with a target for real images

Critic = Callable[[jax.Array], jax.Array]  # images [N, ...] to logits [N]

# --- losses ---------------------------------------------------------------------------------------------------


def discriminator_loss(
    real_logits: jax.Array,
    fake_logits: jax.Array,
    loss: str = "non_saturating",
    *,
    smoothing: float = 0.0,
) -> jax.Array:
    """The discriminator's loss, a scalar: the mean over real images plus the mean over false ones.

    real_logits, fake_logits: floats `[N]`, `[M]`. In the formulas a, b are a real and a false image's logit.

    - minimax, non_saturating: -log s(a) - log(1 - s(b)), s the sigmoid, in nats (Goodfellow et al. 2014, eq. 1).
    - least_squares: (a - 1)^2 / 2 + b^2 / 2 (Mao et al. 2017, eq. 9). With these targets, 1 for real and 0 for false,
      the generator does not minimise Pearson's chi^2: that theorem wants targets 1 and -1, and 0 for the generator.
    - wasserstein: b - a (Arjovsky et al. 2017). The critic must be kept Lipschitz, by `gradient_penalty` say.
    - hinge: max(0, 1 - a) + max(0, 1 + b) (Lim and Ye 2017; Miyato et al. 2018).
    - relativistic: -log s(a - b), one mean over N pairs (Huang et al. 2024, R3GAN).

    smoothing: one-sided label smoothing (Salimans et al. 2016): the target of real images is 1 - smoothing, for
    minimax, non_saturating and least_squares only. In [0, 1).

    Raises:
        ValueError: an unknown loss; logits that are not `[N]` or empty; relativistic and N is not M; a smoothing out
            of range or for another loss.
        TypeError: logits that are not floats.
    """
    _check_loss(loss)
    _check_logits(real_logits=real_logits, fake_logits=fake_logits)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing = {smoothing}; allowed: at least 0 and less than 1")
    if smoothing and loss not in SMOOTHABLE:
        raise ValueError(
            f"smoothing = {smoothing} with loss {loss!r}, which has no target for real images; "
            f"allowed: smoothing = 0, or one of {', '.join(SMOOTHABLE)}"
        )
    match loss:
        case "minimax" | "non_saturating":  # cross-entropy with target 1 - smoothing, then target 0
            real_terms = softplus(-real_logits) + smoothing * real_logits
            return real_terms.mean() + softplus(fake_logits).mean()
        case "least_squares":
            real_terms = jnp.square(real_logits - (1 - smoothing))
            return (real_terms.mean() + jnp.square(fake_logits).mean()) / 2
        case "wasserstein":
            return fake_logits.mean() - real_logits.mean()
        case "hinge":
            return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()
        case "relativistic":
            _check_pairs(real_logits, fake_logits)
            return softplus(fake_logits - real_logits).mean()


def generator_loss(
    fake_logits: jax.Array,
    loss: str = "non_saturating",
    real_logits: jax.Array | None = None,
) -> jax.Array:
    """The generator's loss, a scalar: a mean over false images.

    fake_logits: floats `[N]`. real_logits: floats `[N]`, which relativistic needs and the others ignore. In the
    formulas a, b are a real and a false image's logit.

    - minimax: log(1 - s(b)), s the sigmoid: at most 0, and flat where the discriminator is sure that b is false.
    - non_saturating: -log s(b), in nats (Goodfellow et al. 2014, section 3).
    - least_squares: (b - 1)^2 / 2. wasserstein, hinge: -b. relativistic: -log s(b - a).

    Raises:
        ValueError: an unknown loss; logits that are not `[N]` or empty; relativistic without real logits, or with
            another number of them.
        TypeError: logits that are not floats.
    """
    _check_loss(loss)
    _check_logits(fake_logits=fake_logits)
    match loss:
        case "minimax":
            return -softplus(fake_logits).mean()
        case "non_saturating":
            return softplus(-fake_logits).mean()
        case "least_squares":
            return jnp.square(fake_logits - 1).mean() / 2
        case "wasserstein" | "hinge":
            return -fake_logits.mean()
        case "relativistic":
            if real_logits is None:
                raise ValueError(
                    "the relativistic loss compares with real images; give real_logits, [N], too"
                )
            _check_logits(real_logits=real_logits)
            _check_pairs(real_logits, fake_logits)
            return softplus(real_logits - fake_logits).mean()


def _check_loss(loss: str) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss {loss!r}; allowed: {', '.join(LOSSES)}")


def _check_logits(**logits: jax.Array) -> None:
    """Logits are floats `[N]`: with `[N, 1]` beside `[N]` a difference would silently be a matrix."""
    for name, values in logits.items():
        shape, dtype = jnp.shape(values), jnp.result_type(values)
        if len(shape) != 1 or not shape[0]:
            raise ValueError(
                f"{name} of shape {list(shape)}; allowed: [N], one for each image, N at least 1"
            )
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(f"{name} are {dtype}; allowed: floats, before any threshold")


def _check_pairs(real_logits: jax.Array, fake_logits: jax.Array) -> None:
    if len(real_logits) != len(fake_logits):
        raise ValueError(
            f"{len(real_logits)} real and {len(fake_logits)} false images; the relativistic loss "
            "compares them in pairs and needs as many of each"
        )


# --- penalties on the gradient of the critic --------------------------------------------------------------------


def gradient_penalty(critic: Critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """E (||grad D(x)|| - 1)^2 at x = u real + (1 - u) fake, a scalar (Gulrajani et al. 2017, eq. 3): WGAN-GP.

    real, fake: floats `[N, ...]`; one u, uniform in [0, 1], for each pair; the norm is over all pixels of an image.
    The factor lambda (10 in the paper) is left to the loss. Where a gradient is 0 the penalty is 1 and its own
    gradient is taken as 0. critic: images `[N, ...]` to logits `[N]`, as for `r1_penalty`.

    Raises:
        ValueError: real and fake differ in shape or type, or the critic does not give `[N]`.
        TypeError: images that are not floats, or logits that are not.
    """
    if (real.shape, real.dtype) != (fake.shape, fake.dtype):
        raise ValueError(
            f"real images {real.dtype}{list(real.shape)}, false images {fake.dtype}{list(fake.shape)}; "
            "allowed: one shape and one type of floats"
        )
    u = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)))
    squared = _squared_gradient_norms(critic, (u * real + (1 - u) * fake).astype(real.dtype))
    # sqrt has no finite gradient at 0; `where` inside and outside keeps NaN out of both of its branches.
    norms = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)
    return jnp.square(norms - 1).mean()


def r1_penalty(critic: Critic, real: jax.Array) -> jax.Array:
    """(1/2) E ||grad D(x)||^2 over real images `[N, ...]`, a scalar (Mescheder et al. 2018, eq. 9).

    The 1/2 is the paper's; its factor gamma is left to the loss, which adds gamma * r1_penalty(...).

    critic: images `[N, ...]` to logits `[N]`, one image at a time: the gradient of each logit by its own image is read
    from the gradient of their sum, which is wrong for a critic that mixes the images of a batch, as BatchNorm does.

    Raises:
        ValueError: the critic does not give `[N]`.
        TypeError: images that are not floats, or logits that are not.
    """
    return _squared_gradient_norms(critic, real).mean() / 2


def r2_penalty(critic: Critic, fake: jax.Array) -> jax.Array:
    """`r1_penalty` over false images `[N, ...]`."""
    return r1_penalty(critic, fake)


def _squared_gradient_norms(critic: Critic, images: jax.Array) -> jax.Array:
    """||grad D(x)||^2 `[N]`, sums over all pixels of each of the images `[N, ...]`."""

    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images are {images.dtype}; allowed: floats, scaled as for the critic")

    def total(x):
        logits = critic(x)
        _check_logits(logits=logits)
        if len(logits) != len(x):
            raise ValueError(
                f"the critic gave {len(logits)} logits for {len(x)} images; allowed: one for each"
            )
        return logits.sum()

    gradient = jax.grad(total)(images)
    return jnp.square(gradient).reshape(len(images), -1).sum(1)


def lazy(
    penalty: Callable[[Any], jax.Array], params: Any, step: jax.Array, every: int
) -> tuple[jax.Array, Any]:
    """`every * penalty(params)` and its gradient at steps 0, every, 2 every, ..., and zeros between.

    Over time the mean is that of the penalty itself, and it is computed only where it counts (Karras et al. 2020, "lazy
    regularisation"), inside compiled loops too. It is a loop of one turn or none, and not a branch, because XLA divides
    the batch of a loop over several devices and computes a branch whole on each. step: an integer, 0 at first.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"every = {every}; allowed: 1 (at each step) or more")

    def once(_: jax.Array, __: Any) -> Any:
        return jax.tree.map(lambda a: every * a, jax.value_and_grad(penalty)(params))

    shapes = jax.eval_shape(once, 0, None)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return lax.fori_loop(0, (jnp.asarray(step) % every == 0).astype(jnp.int32), once, zeros)


# --- an average of the weights ----------------------------------------------------------------------------------


def ema(average: Any, params: Any, decay: float, step: jax.Array) -> Any:
    """The next exponential moving average of the weights: trees of one structure; `average` starts as a copy.

    average <- d average + (1 - d) params with d = min(decay, (1 + step) / (10 + step)); step: 0 at the first update.
    This warm-up forgets the untrained weights, where the average starts: while it lasts, after n updates they weigh
    1 / C(n + 9, 9). Unlike division by 1 - decay^n, as in Adam, it leaves at each step weights that can be used as
    they are.

    Raises:
        ValueError: `decay` is not in [0, 1), or the trees differ in structure.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay = {decay}; allowed: at least 0 and less than 1")
    d = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(
        lambda new, old: new.astype(old.dtype),
        optax.incremental_update(params, average, 1 - d),
        average,
    )

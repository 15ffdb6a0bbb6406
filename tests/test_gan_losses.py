"""Adversarial losses by hand, penalties against exact gradients, averaged weights."""

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from flax import nnx
from jax.test_util import check_grads

from imgbook import gan_losses, layers
from imgbook.gan_losses import (
    LOSSES,
    discriminator_loss,
    ema,
    generator_loss,
    gradient_penalty,
    lazy,
    r1_penalty,
    r2_penalty,
)

REAL, FAKE = np.array([2.0, -0.5, 1.0, 0.1], "f"), np.array([-1.0, 0.3, 0.0, 1.7], "f")
UNPAIRED = [loss for loss in LOSSES if loss != "relativistic"]
everywhere = pytest.mark.parametrize("loss", LOSSES)


def sigmoid(a):
    return 1 / (1 + np.exp(-np.asarray(a, np.float64)))


def by_hand(loss, a, b):
    """The two players' losses, from the definitions in probabilities, one pair at a time."""
    if loss in ("minimax", "non_saturating"):
        d = -np.log(sigmoid(a)) - np.log(1 - sigmoid(b))
        return d, np.log(1 - sigmoid(b)) if loss == "minimax" else -np.log(sigmoid(b))
    return {
        "least_squares": (0.5 * (a - 1) ** 2 + 0.5 * b**2, 0.5 * (b - 1) ** 2),
        "wasserstein": (b - a, -b),
        "hinge": (max(0, 1 - a) + max(0, 1 + b), -b),
        "relativistic": (-np.log(sigmoid(a - b)), -np.log(sigmoid(b - a))),
    }[loss]


# --- losses ---------------------------------------------------------------------------------------------------


@everywhere
def test_losses_by_hand(loss):
    d, g = np.transpose([by_hand(loss, a, b) for a, b in zip(REAL, FAKE, strict=True)])
    np.testing.assert_allclose(discriminator_loss(REAL, FAKE, loss), d.mean(), rtol=1e-6)
    np.testing.assert_allclose(generator_loss(FAKE, loss, REAL), g.mean(), rtol=1e-6)


@pytest.mark.parametrize("loss", UNPAIRED)
def test_means_are_separate(loss):
    """Other numbers of real and of false images: as if each pair of them had been seen once."""
    d, g = np.transpose([by_hand(loss, a, b) for a, b in product(REAL, FAKE[:3])])
    np.testing.assert_allclose(discriminator_loss(REAL, FAKE[:3], loss), d.mean(), rtol=1e-6)
    np.testing.assert_allclose(generator_loss(FAKE[:3], loss), g.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        ("minimax", np.log(4), -np.log(2)),
        ("non_saturating", np.log(4), np.log(2)),
        ("least_squares", 1 / 2, 1 / 2),
        ("wasserstein", 0, 0),
        ("hinge", 2, 0),
        ("relativistic", np.log(2), np.log(2)),
    ],
)
def test_losses_at_logits_of_zero(loss, discriminator, generator):
    zero = jnp.zeros(5)
    np.testing.assert_allclose(discriminator_loss(zero, zero, loss), discriminator, rtol=1e-6)
    np.testing.assert_allclose(generator_loss(zero, loss, zero), generator, rtol=1e-6)


def test_losses_of_one_family_agree():
    np.testing.assert_array_equal(
        discriminator_loss(REAL, FAKE, "minimax"), discriminator_loss(REAL, FAKE)
    )
    small = jnp.array([0.9, -0.9, 0.1])  # inside the margin, where hinge is linear
    np.testing.assert_allclose(
        discriminator_loss(small, -small, "hinge"),
        2 + discriminator_loss(small, -small, "wasserstein"),
        rtol=1e-6,
    )
    for a in (0.0, 1.3):  # against one constant false logit only differences count
        constant = jnp.full(4, a)
        np.testing.assert_allclose(
            discriminator_loss(REAL, constant, "relativistic"),
            generator_loss(REAL - a, "non_saturating"),
            rtol=1e-6,
        )


def test_gradients_of_the_generator():
    """d/db of log(1 - s(b)) is -s(b), which vanishes where the discriminator is sure; of -log s(b) it is s(b) - 1."""
    for b in (-5.0, 0.3, 4.0):
        minimax, saturating = (
            jax.grad(lambda b, loss=loss: generator_loss(b[None], loss))(jnp.array(b))
            for loss in ("minimax", "non_saturating")
        )
        np.testing.assert_allclose(minimax, -sigmoid(b), rtol=1e-5)
        np.testing.assert_allclose(saturating, sigmoid(b) - 1, rtol=1e-5)


def test_relativistic_generator_reverses_the_discriminator():
    np.testing.assert_array_equal(
        generator_loss(FAKE, "relativistic", REAL), discriminator_loss(FAKE, REAL, "relativistic")
    )


@everywhere
def test_extreme_logits_are_finite(loss):
    huge = jnp.array([1e4, -1e4])

    def both(a, b):
        return discriminator_loss(a, b, loss), generator_loss(b, loss, a)

    assert np.isfinite(both(huge, -huge)).all()
    assert np.isfinite(jax.tree.leaves(jax.jacrev(both, (0, 1))(huge, -huge))).all()


@pytest.mark.parametrize("loss", gan_losses.SMOOTHABLE)
def test_smoothing_moves_the_best_answer_for_real_images_alone(loss):
    """Alone, a real image's best answer is the target 1 - s, and a false one's is 0, as without smoothing."""
    answer = 0.8 if loss == "least_squares" else float(np.log(0.8 / 0.2))

    def slope(real, fake, smoothing):
        return jax.grad(lambda a, b: discriminator_loss(a, b, loss, smoothing=smoothing), (0, 1))(
            jnp.array([real]), jnp.array([fake])
        )

    np.testing.assert_allclose(slope(answer, 0.4, 0.2)[0], 0, atol=1e-6)
    assert abs(float(slope(answer, 0.4, 0.0)[0][0])) > 0.1
    np.testing.assert_array_equal(slope(answer, 0.4, 0.2)[1], slope(answer, 0.4, 0.0)[1])


def test_smoothed_cross_entropy_by_hand():
    expected = -(0.9 * np.log(sigmoid(REAL)) + 0.1 * np.log(1 - sigmoid(REAL))).mean()
    expected -= np.log(1 - sigmoid(FAKE)).mean()
    np.testing.assert_allclose(discriminator_loss(REAL, FAKE, smoothing=0.1), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=rf"smoothing = {smoothing}; allowed"):
        discriminator_loss(REAL, FAKE, smoothing=smoothing)


@pytest.mark.parametrize("loss", ["wasserstein", "hinge", "relativistic"])
def test_smoothing_needs_a_target(loss):
    with pytest.raises(ValueError, match=rf"{loss}.*no target.*minimax, non_saturating, least"):
        discriminator_loss(REAL, FAKE, loss, smoothing=0.1)


def test_unknown_loss_lists_the_known_ones():
    for call in (
        lambda: discriminator_loss(REAL, FAKE, "wgan"),
        lambda: discriminator_loss(REAL, FAKE, "wgan", smoothing=0.1),
        lambda: generator_loss(FAKE, "wgan"),
    ):
        with pytest.raises(ValueError, match=r"'wgan'; allowed: minimax, .*, relativistic"):
            call()


@everywhere
def test_only_flat_logits(loss):
    """`[N]` beside `[N, 1]` would broadcast to N x N."""
    column = REAL[:, None]
    with pytest.raises(ValueError, match=r"real_logits of shape \[4, 1\]; allowed: \[N\]"):
        discriminator_loss(column, FAKE, loss)
    with pytest.raises(ValueError, match=r"fake_logits of shape \[4, 1\]; allowed: \[N\]"):
        discriminator_loss(REAL, column, loss)
    with pytest.raises(ValueError, match=r"fake_logits of shape \[\]"):
        generator_loss(jnp.array(1.0), loss, REAL)
    with pytest.raises(ValueError, match=r"fake_logits of shape \[0\]"):
        generator_loss(jnp.zeros(0), loss, REAL)
    with pytest.raises(TypeError, match=r"fake_logits are int32"):
        generator_loss(jnp.arange(4), loss, REAL)


def test_relativistic_compares_pairs():
    with pytest.raises(ValueError, match=r"4 real and 3 false.*pairs"):
        discriminator_loss(REAL, FAKE[:3], "relativistic")
    with pytest.raises(ValueError, match=r"3 real and 4 false.*pairs"):
        generator_loss(FAKE, "relativistic", REAL[:3])
    with pytest.raises(ValueError, match=r"real_logits of shape \[4, 1\]"):
        generator_loss(FAKE, "relativistic", REAL[:, None])
    with pytest.raises(ValueError, match="give real_logits"):
        generator_loss(FAKE, "relativistic")


# --- penalties ------------------------------------------------------------------------------------------------

SHAPE = (5, 4, 3, 2)  # N, H, W, C
X, Y, A = normal(SHAPE), normal(SHAPE, 1), normal(SHAPE[1:], 2)
KEY = jax.random.key(3)


def linear(x):
    """D(x) = a . x, whose gradient is a everywhere."""
    return (x * A).sum((1, 2, 3))


def test_penalties_of_a_linear_critic():
    squared = float((A.astype(np.float64) ** 2).sum())
    np.testing.assert_allclose(
        gradient_penalty(linear, X, Y, KEY), (np.sqrt(squared) - 1) ** 2, rtol=1e-5
    )
    np.testing.assert_allclose(r1_penalty(linear, X), squared / 2, rtol=1e-5)
    np.testing.assert_allclose(r2_penalty(linear, Y), squared / 2, rtol=1e-5)


def test_penalties_against_numerical_derivatives():
    """D(x) = sin(x) . Q x, which has another gradient at each image: central differences pixel by pixel."""
    q = normal((24, 24), 4).astype(np.float64) / 5

    def critic(x):
        flat = x.reshape(len(x), -1)
        return ((jnp.sin(flat) @ q.astype(np.float32)) * flat).sum(1)

    def exactly(x):
        return (np.sin(x) @ q * x).sum(1)

    def norms(x):
        x = np.asarray(x, np.float64).reshape(len(x), -1)
        steps = 1e-5 * np.eye(24)
        return np.linalg.norm([(exactly(x + h) - exactly(x - h)) / 2e-5 for h in steps], axis=0)

    np.testing.assert_allclose(r1_penalty(critic, X), 0.5 * (norms(X) ** 2).mean(), rtol=1e-4)
    u = np.asarray(jax.random.uniform(KEY, (5, 1, 1, 1)))
    expected = ((norms(u * X + (1 - u) * Y) - 1) ** 2).mean()
    np.testing.assert_allclose(gradient_penalty(critic, X, Y, KEY), expected, rtol=1e-4)


def test_each_pair_has_its_own_place_on_its_own_line():
    """Real images are 1, false ones 0, so that the critic sees u itself: constant in an image, in [0, 1], uniform."""
    seen = []

    def critic(x):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), jax.lax.stop_gradient(x))
        return x.sum((1, 2, 3))

    shape = (400, 2, 2, 1)
    gradient_penalty(critic, jnp.ones(shape), jnp.zeros(shape), KEY).block_until_ready()
    jax.effects_barrier()
    u = seen[0].reshape(400, -1)
    np.testing.assert_array_equal(u, np.repeat(u[:, :1], 4, axis=1))
    assert len(np.unique(u[:, 0])) > 390
    assert u.min() >= 0
    assert u.max() <= 1
    np.testing.assert_allclose(np.quantile(u, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.08)


def critic_of(params):
    def critic(x):
        hidden = jnp.tanh(x.reshape(len(x), -1) @ params["w1"] + params["b1"])
        return hidden @ params["w2"]

    return critic


@pytest.fixture
def float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("name", ["gradient_penalty", "r1_penalty"])
def test_gradients_of_penalties_by_the_weights(name, float64):
    """Second derivatives, against finite differences in float64."""
    shapes = {"x": (3, 2, 2, 1), "y": (3, 2, 2, 1), "w1": (4, 6), "b1": (6,), "w2": (6,)}
    arrays = {n: jnp.array(normal(s, i), float) for i, (n, s) in enumerate(shapes.items())}
    rest = (arrays.pop("x"), arrays.pop("y"), KEY)[: 3 if name == "gradient_penalty" else 1]

    def penalty(params):
        return getattr(gan_losses, name)(critic_of(params), *rest)

    assert penalty(arrays).dtype == jnp.float64
    check_grads(penalty, (arrays,), order=1, modes=["rev"], rtol=1e-6)


def test_penalty_of_a_constant_critic_has_a_finite_gradient():
    """At a gradient of 0 the norm has no derivative; training must not end in NaN there."""

    def penalty(scale):
        return gradient_penalty(lambda x: scale * linear(x), X, Y, KEY)

    value, slope = jax.value_and_grad(penalty)(jnp.array(0.0))
    np.testing.assert_array_equal([value, slope], [1, 0])


def test_penalty_through_the_books_convolutions_equals_flax():
    def penalties(conv_class):
        rngs = nnx.Rngs(0)
        first, second = (conv_class(a, b, (4, 4), (2, 2), rngs=rngs) for a, b in ((1, 3), (3, 4)))
        graphdef, params = nnx.split((first, second))

        def critic(params, x):
            first, second = nnx.merge(graphdef, params)
            return second(nnx.leaky_relu(first(x), 0.2)).sum((1, 2, 3))

        def total(params):
            x, y = normal((3, 8, 8, 1)), normal((3, 8, 8, 1), 1)
            return gradient_penalty(lambda x: critic(params, x), x, y, KEY) + r1_penalty(
                lambda x: critic(params, x), x
            )

        return jax.tree.leaves(jax.jit(jax.value_and_grad(total))(params))

    for ours, theirs in zip(penalties(layers.Conv), penalties(nnx.Conv), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)


def test_penalty_errors():
    with pytest.raises(ValueError, match=r"\[5, 4, 3, 2\].*\[3, 4, 3, 2\]; allowed: one shape"):
        gradient_penalty(linear, X, Y[:3], KEY)
    with pytest.raises(ValueError, match=r"float32.*uint8.*allowed: one shape and one type"):
        gradient_penalty(linear, X, Y.astype(np.uint8), KEY)
    with pytest.raises(TypeError, match="images are uint8"):
        r1_penalty(linear, X.astype(np.uint8))
    with pytest.raises(ValueError, match=r"shape \[5, 1\]"):
        r1_penalty(lambda x: linear(x)[:, None], X)
    with pytest.raises(ValueError, match="4 logits for 5 images"):
        r2_penalty(lambda x: linear(x)[1:], X)


def test_lazy_penalty_has_the_same_mean_and_is_seldom_computed():
    calls = []

    def penalty(w):
        jax.debug.callback(lambda: calls.append(1))
        return 0.7 * w

    run = jax.jit(lambda step: lazy(penalty, jnp.array(1.0), step, 4))
    values, gradients = np.transpose([run(step) for step in range(12)])
    jax.effects_barrier()
    for found in (values, gradients):
        np.testing.assert_allclose(found, np.tile([2.8, 0, 0, 0], 3), rtol=1e-6)
        np.testing.assert_allclose(found.mean(), 0.7, rtol=1e-6)
    assert len(calls) == 3


def test_lazy_penalty_in_a_compiled_loop_of_gradient_steps():
    """w shrinks by the penalty w^2 / 2 at steps 0 and 3 only, three times as fast."""

    def body(step, w):
        return w - 0.1 * lazy(lambda w: w**2 / 2, w, step, 3)[1]

    w = jax.jit(lambda n: jax.lax.fori_loop(0, n, body, jnp.array(1.0)))(5)
    np.testing.assert_allclose(w, 0.7**2, rtol=1e-6)


def test_lazy_every_zero_steps():
    with pytest.raises(ValueError, match="every = 0; allowed: 1"):
        lazy(lambda w: w, jnp.array(1.0), 0, 0)


# --- an average of the weights ----------------------------------------------------------------------------------


def test_warm_up_forgets_the_first_weights_in_closed_form():
    """From 1 towards 0: what is left is the weight of the start, 1 / C(n + 9, 9), then decays by `decay`."""
    average, decay, left = {"w": jnp.ones(3)}, 0.5, []
    for step in range(12):
        average = ema(average, {"w": jnp.zeros(3)}, decay, jnp.array(step))
        left.append(float(average["w"][0]))
    expected = [1 / math.comb(n + 9, 9) for n in range(1, 10)]  # (1 + 8) / (10 + 8) is 0.5
    expected += [expected[-1] * 0.5**n for n in (1, 2, 3)]
    np.testing.assert_allclose(left, expected, rtol=1e-5)


def test_ema_of_constant_weights_is_these_weights():
    params = {"a": jnp.array(normal((3, 2))), "b": {"c": jnp.array(normal((4,), 1))}}
    run = jax.jit(
        lambda p: jax.lax.fori_loop(0, 50, lambda i, average: ema(average, p, 0.99, i), p)
    )
    for a, b in zip(jax.tree.leaves(run(params)), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_ema_follows_with_its_time_constant():
    """A ramp p = t is followed at a distance of decay / (1 - decay) steps, once warm."""
    run = jax.lax.fori_loop(0, 400, lambda t, p: ema(p, t.astype(p.dtype), 0.9, t), jnp.zeros(()))
    np.testing.assert_allclose(399 - float(run), 0.9 / 0.1, rtol=1e-3)


def test_ema_of_a_network_keeps_types():
    params = nnx.state(nnx.Linear(3, 2, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)), nnx.Param)
    average = ema(params, params, 0.9, jnp.array(0))
    assert jax.tree.structure(average) == jax.tree.structure(params)
    assert all(a.dtype == jnp.bfloat16 for a in jax.tree.leaves(average))


def test_ema_errors():
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"decay = {decay}; allowed"):
            ema({}, {}, decay, 0)
    with pytest.raises(ValueError, match=r"[Cc]ustom node|dict|key"):
        ema({"a": jnp.ones(2)}, {"b": jnp.ones(2)}, 0.9, 0)

"""Small GANs on mixtures: discriminators against the optimal one, the step of many runs, modes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgbook import flow, games, gan_losses, mixtures

CONFIG = mixtures.config_for("smoke")
DATA = games.Mixture()


def test_real_and_fake_points_are_of_the_two_laws_and_all_their_own():
    shifts = jnp.array([0.0, 3.0, 3.0])
    real, fake = mixtures.real_and_fake(jax.random.key(0), shifts, DATA, 4000)
    assert real.shape == fake.shape == (3, 4000, 1)
    np.testing.assert_allclose(real.mean((1, 2)), 0, atol=0.1)
    np.testing.assert_allclose(fake.mean((1, 2)), shifts, atol=0.1)
    assert len(np.unique(np.concatenate([real, fake - shifts[:, None, None]]).round(6))) > 20_000


def test_trained_discriminators_come_close_to_the_optimal_one_and_to_its_value():
    config = replace(CONFIG, num_steps=400, hidden=32, batch_size=128, learning_rate=5e-3)
    shifts = (0.0, 1.0, 3.0)
    graphdef, stages, history = mixtures.train_discriminators(
        DATA, shifts, config, jax.random.key(0), every=200
    )
    assert list(stages) == [0, 200, 400]
    assert history.metrics["loss"].shape == (400,)
    grid = np.linspace(-6, 12, 1801)
    points = jnp.asarray(grid, jnp.float32)[:, None]
    before, after = (mixtures.outputs(graphdef, stages[n], points)[..., 0] for n in (0, 400))
    for shift, start, logits in zip(shifts, before, after, strict=True):
        p, q = DATA.cells(grid), DATA.shifted(shift).cells(grid)
        best = games.optimal_discriminator(p, q)
        # Far outside the network may be surer than a probability in floating point can say.
        found = np.asarray(jax.nn.sigmoid(jnp.clip(logits, -15, 15)), np.float64)
        weights = (p + q) / 2
        error = np.sum(weights * (found - best) ** 2)
        assert error < 3e-3
        limit = games.value(best, p, q)
        assert limit - 0.05 < games.value(found, p, q) <= limit + 1e-9
        untrained = np.asarray(jax.nn.sigmoid(start), np.float64)
        assert games.value(untrained, p, q) < games.value(found, p, q)


def test_runs_do_not_touch_each_other():
    """A run alone and the same run beside one with a penalty: the same weights."""
    keys = jax.random.split(jax.random.key(0), 2)
    g, generator = mixtures.stacked(CONFIG.latent_dim, 2, CONFIG, keys)
    d, discriminator = mixtures.stacked(2, 1, CONFIG, keys)
    step = mixtures.make_train_step(mixtures.GraphDefs(g, d), CONFIG, "non_saturating")
    both = mixtures.Players(generator, discriminator)
    first = jax.tree.map(lambda array: array[:1], both)
    real = flow.ring(jax.random.key(1), 2 * 32, CONFIG.ring).reshape(2, 32, 2)
    gammas = jnp.array([0.0, 5.0])
    both, _ = jax.jit(step)(both, (real, gammas))
    first, metrics = jax.jit(step)(first, (real[:1], gammas[:1]))
    assert {name: value.shape for name, value in metrics.items()} == {
        "discriminator_loss": (),
        "generator_loss": (),
    }
    for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(first), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a[0], b[0], rtol=1e-4, atol=1e-6)


def test_a_step_is_adam_on_the_losses_and_the_penalty():
    """The first step of Adam moves each weight by the learning rate against the sign of its gradient."""
    keys = jax.random.split(jax.random.key(2), 1)
    g, generator = mixtures.stacked(CONFIG.latent_dim, 2, CONFIG, keys)
    d, discriminator = mixtures.stacked(2, 1, CONFIG, keys)
    real = flow.ring(jax.random.key(3), 32, CONFIG.ring)
    latents = jax.random.normal(jax.random.fold_in(generator.key[0], 0), (32, CONFIG.latent_dim))
    g_params, d_params = (
        jax.tree.map(lambda array: array[0], state.params) for state in (generator, discriminator)
    )
    fake = mixtures.apply(g, g_params, latents)

    def loss(params):
        def logit(x):
            return mixtures.apply(d, params, x[None])[0, 0]

        slopes = jax.vmap(jax.grad(logit))(real)
        real_logits, fake_logits = jax.vmap(logit)(real), jax.vmap(logit)(fake)
        value = jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()
        return value + 2.0 / 2 * (slopes**2).sum(1).mean()  # R1 with gamma = 2

    grads = jax.jit(jax.grad(loss))(d_params)
    step = mixtures.make_train_step(mixtures.GraphDefs(g, d), CONFIG, "non_saturating")
    players = mixtures.Players(generator, discriminator)
    players, _ = jax.jit(step)(players, (real[None], jnp.array([2.0])))
    for new, old, grad in zip(
        *map(jax.tree.leaves, (players.discriminator.params, d_params, grads)), strict=True
    ):
        clear = np.abs(grad) > 1e-4
        assert clear.any()
        moved = (np.asarray(new[0]) - np.asarray(old))[clear]
        np.testing.assert_allclose(
            moved, -CONFIG.learning_rate * np.sign(np.asarray(grad)[clear]), rtol=0.02
        )


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_training_on_the_ring_gives_stages_and_its_measures(loss):
    graphdefs, stages, history = mixtures.train(
        (0.0, 1.0), CONFIG, jax.random.key(0), loss, every=15
    )
    assert list(stages) == [0, 15, 30, 40]
    assert set(history.metrics) == {"discriminator_loss", "generator_loss"}
    assert history.metrics["generator_loss"].shape == (40,)
    latents = jax.random.normal(jax.random.key(1), (100, CONFIG.latent_dim))
    points = mixtures.outputs(graphdefs.generator, stages[40].generator, latents)
    assert points.shape == (2, 100, 2)
    assert not np.allclose(points[0], points[1])
    found = mixtures.coverage(graphdefs, stages, latents, CONFIG)
    assert found["modes"].shape == found["near"].shape == (4, 2)
    assert found["near"][-1, 1] == flow.coverage(points[1], CONFIG.ring)["near"]
    again = mixtures.train((0.0, 1.0), CONFIG, jax.random.key(0), loss)[1]
    assert list(again) == [0, 40]
    for a, b in zip(
        *(jax.tree.leaves(s[40].generator.params) for s in (stages, again)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_modes_are_counted_by_hand():
    """Of 16 points on 8 modes a fair share is 2, and half of it 1; points out of reach count for none."""
    config = CONFIG
    centres = np.asarray(flow.ring_means(config.ring))
    outward = centres / config.radius
    points = np.concatenate(
        [
            np.repeat(centres[:1], 9, 0),  # one mode has most
            centres[1:4] + 2.9 * config.std * outward[1:4],  # three are just in reach
            centres[4:7] + 3.1 * config.std * outward[4:7],  # and three just out of it
            np.zeros((1, 2)),
        ]
    )
    assert flow.coverage(points, config.ring) == {"near": 12 / 16, "modes": 4}


def test_an_untrained_generator_covers_nothing_and_its_losses_are_those_of_no_knowledge():
    graphdefs, stages, history = mixtures.train((0.0,), CONFIG, jax.random.key(0), every=40)
    latents = jax.random.normal(jax.random.key(1), (200, CONFIG.latent_dim))
    assert mixtures.coverage(graphdefs, stages, latents, CONFIG)["modes"][0, 0] == 0
    assert history.metrics["discriminator_loss"][0] == pytest.approx(np.log(4), abs=0.3)
    zero = jnp.zeros(3)
    assert gan_losses.discriminator_loss(zero, zero) == pytest.approx(np.log(4))


def test_config_rejects_bad_values_and_knows_the_presets():
    with pytest.raises(ValueError, match="std = 0"):
        replace(CONFIG, std=0)
    with pytest.raises(ValueError, match="allowed: relu, tanh"):
        replace(CONFIG, activation="step")
    sizes = [mixtures.config_for(p).num_steps for p in ("smoke", "quick", "full")]
    assert sizes == sorted(sizes)
    assert mixtures.config_for("smoke", hidden=7).hidden == 7


def test_a_loss_that_is_unknown_or_needs_pairs_is_refused():
    with pytest.raises(ValueError, match="relativistic"):
        mixtures.train((0.0,), CONFIG, jax.random.key(0), "relativistic")
    with pytest.raises(ValueError, match="allowed"):
        mixtures.train((0.0,), CONFIG, jax.random.key(0), "best")

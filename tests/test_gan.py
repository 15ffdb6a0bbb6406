"""The GAN: what one step does, by hand; averaged weights, penalties, labels, and what sampling needs."""

import dataclasses
import functools
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import loaded, random_images
from flax import nnx
from jax.nn import log_sigmoid

from imgbook import data, gan, training
from imgbook.gan_networks import PENALTIES, with_code

# Nothing here is left to the chapter's defaults, which may change.
RECIPE = gan.GANConfig(
    image_shape=(8, 8, 1), num_classes=0, latent_dim=5, num_codes=3, width=4, loss="non_saturating",
    hidden=6, batch_norm=False, spectral_norm=False, penalty="r1", penalty_weight=0.7, penalty_every=3,
    learning_rate=1e-3, beta1=0.5, beta2=0.99, decay=False, average=0.5, batch_size=16, num_steps=3,
)  # fmt: skip
PLAIN = dataclasses.replace(RECIPE, penalty="none")
DCGAN = dataclasses.replace(PLAIN, batch_norm=True)
LABELLED = dataclasses.replace(RECIPE, num_classes=3)
IMAGES = random_images(16, RECIPE.image_shape)
LABELS = np.arange(16) % 3

KEY = jax.random.key(0)


def copy(tree):
    return jax.tree.map(jnp.array, tree)


def changed(before, after):
    return [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]


def assert_close(found, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


def at_step(state, number):
    """The state as if so many steps had been done."""
    g, d, average = state
    return gan.GANState(*(s._replace(step=jnp.int32(number)) for s in (g, d)), average)


@functools.cache
def fresh(config):
    """Structures and state of fresh networks; a step takes a copy."""
    return gan.init(config, KEY)


@functools.cache
def compiled(config):
    return gan.make_train_step(fresh(config)[0], config)


def one_step(config, number=0, batch=(IMAGES, LABELS)):
    """The state before and after a step from fresh networks, and the metrics."""
    graphdefs, state = fresh(config)
    before = at_step(state, number)
    after, metrics = compiled(config)(copy(before), batch)
    return graphdefs, before, after, metrics


# --- networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "width"), [((28, 28, 1), 8), ((32, 16, 3), 4)])
@pytest.mark.parametrize("num_classes", [0, 4])
def test_shapes_and_range(shape, width, num_classes):
    config = gan.GANConfig(
        image_shape=shape, latent_dim=7, num_codes=4, width=width, num_classes=num_classes
    )
    graphdefs, state = gan.init(config, KEY)
    latents = jax.random.normal(KEY, (5, 7))
    labels = jnp.array([3, 0, 1, 2, 3]) if num_classes else None
    samples = gan.sample(graphdefs, state, latents, labels, batch_size=3)
    assert samples.shape == (5, *shape)
    assert samples.min() >= 0
    assert samples.max() <= 1
    d = state.discriminator
    logits, _ = gan.apply(graphdefs.discriminator, d.params, d.stats, samples, labels)
    assert logits.shape == (5,)


def test_a_code_by_hand():
    """The largest of the first three latents stands for all three, as long as the other four are on average."""
    latents = jnp.array(
        [[0.1, 2.0, -3.0, 1.0, 2.0, 3.0, 4.0], [-1.0, -3.0, -0.5, 0.0, 5.0, 6.0, 7.0]]
    )
    expected = [[0, 2, 0, 1, 2, 3, 4], [0, 0, 2, 0, 5, 6, 7]]
    np.testing.assert_array_equal(with_code(latents, 3), expected)
    np.testing.assert_array_equal(with_code(latents, 0), latents)
    np.testing.assert_array_equal(with_code(latents[:, :3], 3).max(1), [1, 1])  # nothing else


def test_every_code_is_as_likely():
    latents = jax.random.normal(KEY, (9000, 12))
    counts = np.asarray((with_code(latents, 9)[:, :9] > 0).sum(0))
    assert counts.sum() == 9000
    assert abs(counts - 1000).max() < 5 * np.sqrt(1000 * 8 / 9)


def test_latents_of_one_code_differ_in_the_others_alone():
    """How far the largest of the code's latents is ahead makes no difference, and which it is makes one."""
    graphdefs, state = fresh(PLAIN)
    latents = jax.random.normal(KEY, (1, 5))
    same = latents.at[0, latents[0, :3].argmax()].add(2.0)
    other = latents.at[0, (latents[0, :3].argmax() + 1) % 3].add(9.0)
    first, second, third = gan.sample(graphdefs, state, jnp.concatenate([latents, same, other]))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 0


@pytest.mark.parametrize("shape", [(30, 28, 1), (28, 30, 1)])
def test_sides_must_be_multiples_of_four(shape):
    with pytest.raises(ValueError, match=rf"{shape[0]} x {shape[1]}.*multiples of 4"):
        gan.init(gan.GANConfig(image_shape=shape), KEY)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "cross_entropy"}, "unknown loss 'cross_entropy'; allowed: minimax, non_sat"),
        ({"penalty": "r3"}, "unknown penalty 'r3'; allowed: none, r1, r1_r2, gradient"),
        ({"latent_dim": 0}, "latent_dim = 0; allowed: 1 or more"),
        ({"num_codes": -1}, "num_codes = -1 with latent_dim = 5; allowed: 0 .none. to latent_dim"),
        ({"num_codes": 6}, "num_codes = 6 with latent_dim = 5; allowed: 0 .none. to latent_dim"),
        ({"width": 0}, "width = 0; allowed: 1"),
        ({"penalty_every": 0}, "penalty_every = 0; allowed: 1"),
        ({"batch_size": 0}, "batch_size = 0; allowed: 1"),
        ({"num_steps": 0}, "num_steps = 0; allowed: 1"),
        ({"num_classes": -1}, "num_classes = -1; allowed: 0 or more"),
        ({"hidden": -1}, "hidden = -1; allowed: 0 or more"),
        ({"penalty_weight": -0.1}, "penalty_weight = -0.1; allowed: 0 or more"),
        ({"learning_rate": -1e-3}, "learning_rate = -0.001; allowed: 0 or more"),
        ({"average": 1.0}, "average = 1.0; allowed: at least 0 and less than 1"),
        ({"average": -0.1}, "average = -0.1; allowed: at least 0"),
        *[({"batch_norm": True, "penalty": p}, f"batch_norm with penalty '{p}'") for p in PENALTIES[1:]],
    ],
)  # fmt: skip
def test_hyperparameters_out_of_range_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(PLAIN, **changes)


def test_config_follows_the_data_set_and_the_preset():
    dataset = loaded("cifar10", "train")
    configs = [gan.config_for(dataset, preset) for preset in ("smoke", "quick", "full")]
    assert {config.image_shape for config in configs} == {(32, 32, 3)}
    steps = [config.num_steps for config in configs]
    assert steps == sorted(set(steps))
    assert gan.config_for(dataset) == configs[0]  # the tests' environment says smoke
    assert gan.config_for(dataset, "full", num_steps=9, width=5).width == 5


@pytest.mark.parametrize("hidden", [6, 0])
def test_projection_by_hand(hidden):
    """With labels the logit is (w + v[label]) . features + bias, the features those of the last hidden layer."""
    model = gan.Discriminator(dataclasses.replace(LABELLED, hidden=hidden), rngs=nnx.Rngs(0))
    x = jax.random.normal(KEY, (16, *LABELLED.image_shape))
    features = nnx.leaky_relu(model.down2(nnx.leaky_relu(model.down1(x), 0.2)), 0.2)
    features = features.reshape(16, -1)  # [16, 2, 2, 8] -> [16, 32]
    if hidden:
        features = nnx.leaky_relu(model.hidden(features), 0.2)
    features = np.asarray(features, np.float64)
    w, bias = (np.asarray(p[...], np.float64) for p in (model.dense.kernel, model.dense.bias))
    v = np.asarray(model.classes.embedding[...], np.float64)
    assert v.shape == (3, hidden or 2 * 2 * 2 * LABELLED.width)
    expected = ((w[:, 0] + v[LABELS]) * features).sum(1) + bias
    np.testing.assert_allclose(model(x, LABELS), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(model(x, LABELS) - model(x, (LABELS + 1) % 3)).min() > 0


def test_only_a_hidden_layer_asks_whether_two_halves_fit_together():
    """Without it a logit is a sum over places. Images are dark in the middle, so that no window sees both halves."""

    def excess(hidden):
        """Logit(left and right) + logit(neither) - logit(left) - logit(right): 0 for a sum over places."""
        config = dataclasses.replace(RECIPE, image_shape=(8, 32, 1), hidden=hidden)
        model = gan.Discriminator(config, rngs=nnx.Rngs(0))
        x = jax.random.uniform(KEY, (16, 8, 32, 1), minval=-1)
        left, right = (x.at[:, :, part].set(-1) for part in (slice(10, None), slice(22)))
        both, neither = left + right + 1, jnp.full_like(x, -1)
        logits = [model(images) for images in (both, neither, left, right)]
        return jnp.abs(logits[0] + logits[1] - logits[2] - logits[3]), jnp.abs(logits[0])

    summed, size = excess(0)
    assert summed.max() < 1e-5 * size.max()
    joined, size = excess(6)
    assert joined.mean() > 1e-2 * size.mean()


def test_spectral_norm_wraps_every_kernel_of_the_discriminator():
    """Its largest singular value is one, as used; the biases and the generator are as they were."""
    config = dataclasses.replace(PLAIN, spectral_norm=True)
    model = gan.Discriminator(config, rngs=nnx.Rngs(0))
    kernels = [
        path for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param)) if "kernel" in path
    ]
    assert {path[0] for path in kernels} == {"down1", "down2", "hidden", "dense"}
    assert all("layer" in path for path in kernels)  # inside a SpectralNorm
    x = jax.random.normal(KEY, (16, *config.image_shape))
    for _ in range(100):  # of the power iteration
        logits = model(x)
    for name in ("down1", "down2", "hidden", "dense"):
        layer = getattr(model, name).layer
        kernel = np.asarray(layer.kernel[...])
        matrix = kernel.reshape(-1, kernel.shape[-1])
        layer.kernel = nnx.Param(jnp.asarray(kernel / np.linalg.norm(matrix, 2)))
        setattr(model, name, layer)
    np.testing.assert_allclose(logits, model(x), rtol=1e-3, atol=1e-5)


# --- one step ---------------------------------------------------------------------------------------------------


def losses_by_hand(loss, real, fake):
    """Discriminator's and generator's, from the definitions."""
    match loss:
        case "non_saturating":
            d = -(log_sigmoid(real).mean() + jnp.log(1 - jax.nn.sigmoid(fake)).mean())
            return d, -log_sigmoid(fake).mean()
        case "relativistic":
            return -log_sigmoid(real - fake).mean(), -log_sigmoid(fake - real).mean()
        case "wasserstein":
            return fake.mean() - real.mean(), -fake.mean()


def penalty_by_hand(config, critic, real, fake, key):
    """The gradient of one image at a time. `critic`: an image and the number of its label to a logit."""

    def squared_norms(images):
        gradients = jax.vmap(jax.grad(critic))(images, jnp.arange(len(images)))
        return (gradients**2).sum((1, 2, 3))

    if config.penalty == "gradient":
        u = jax.random.uniform(key, (len(real), 1, 1, 1))
        return ((jnp.sqrt(squared_norms(u * real + (1 - u) * fake)) - 1) ** 2).mean()
    r1 = squared_norms(real).mean() / 2
    return r1 + squared_norms(fake).mean() / 2 if config.penalty == "r1_r2" else r1


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def two_turns(graphdefs, state, config, penalised):
    """Two plain turns: fakes are drawn anew in each, and every gradient goes through a whole loss."""
    g, d, _ = state
    tx = gan.optimizer(config)
    labels = (jnp.asarray(LABELS),) if config.num_classes else ()
    real = jnp.asarray(IMAGES, jnp.float32) / 127.5 - 1
    latents = jax.random.normal(jax.random.fold_in(g.key, g.step), (len(real), config.latent_dim))
    penalty_key = jax.random.fold_in(d.key, d.step)

    def generate(params):
        return gan.apply(graphdefs.generator, params, g.stats, latents, *labels)

    def discriminate(params, stats, x, *labels):
        return gan.apply(graphdefs.discriminator, params, stats, x, *labels)

    def d_loss(params):
        fake = jax.lax.stop_gradient(generate(g.params)[0])
        real_logits, stats = discriminate(params, d.stats, real, *labels)
        fake_logits, stats = discriminate(params, stats, fake, *labels)
        loss, _ = losses_by_hand(config.loss, real_logits, fake_logits)
        if penalised:

            def critic(image, i):
                own = (x[i][None] for x in labels)
                return discriminate(params, d.stats, image[None], *own)[0][0]

            added = penalty_by_hand(config, critic, real, fake, penalty_key)
            loss += config.penalty_weight * config.penalty_every * added
        return loss, stats

    (d_value, stats), grads = jax.value_and_grad(d_loss, has_aux=True)(d.params)
    d = d.updated(grads, tx, stats=stats)

    def g_loss(params):
        fake, stats = generate(params)
        real_logits, _ = discriminate(d.params, d.stats, real, *labels)
        fake_logits, _ = discriminate(d.params, d.stats, fake, *labels)
        return losses_by_hand(config.loss, real_logits, fake_logits)[1], stats

    (g_value, stats), grads = jax.value_and_grad(g_loss, has_aux=True)(g.params)
    return g.updated(grads, tx, stats=stats), d, g_value, d_value


@pytest.mark.parametrize(
    ("config", "number", "penalised"),
    [
        (RECIPE, 3, True),
        (RECIPE, 4, False),
        (dataclasses.replace(LABELLED, loss="relativistic", penalty="r1_r2"), 0, True),
        (DCGAN, 0, False),
        (dataclasses.replace(PLAIN, spectral_norm=True), 0, False),
        (dataclasses.replace(RECIPE, loss="wasserstein", penalty="gradient", penalty_every=1), 1, True),
    ],
    ids=["recipe", "recipe between penalties", "relativistic with labels", "dcgan", "spectral", "wasserstein"],
)  # fmt: skip
def test_step_equals_two_separate_turns(config, number, penalised):
    """The step shares one pass through the generator; two plain turns written out give the same."""
    graphdefs, before, after, metrics = one_step(config, number)
    g, d, g_loss, d_loss = two_turns(graphdefs, before, config, penalised)
    np.testing.assert_allclose(metrics["discriminator_loss"], d_loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["generator_loss"], g_loss, rtol=1e-4, atol=1e-6)
    for expected, found in ((g, after.generator), (d, after.discriminator)):
        assert int(found.step) == int(expected.step) == number + 1
        # Adam's first moment is the gradient times a constant; weights move by its sign at first.
        for a, b in zip(*map(jax.tree.leaves, (expected.opt_state, found.opt_state)), strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-3, atol=1e-3 * np.abs(a).max())
        assert_close(found.stats, expected.stats, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("config", [RECIPE, DCGAN, LABELLED], ids=["recipe", "bn", "labels"])
def test_one_step_moves_all_of_both_networks(config):
    _, before, after, metrics = one_step(config)
    assert all(changed(before.generator.params, after.generator.params))
    assert all(changed(before.discriminator.params, after.discriminator.params))
    assert all(changed(before.generator.stats, after.generator.stats)), (
        "BatchNorm's running averages did not move"
    )
    assert len(jax.tree.leaves(after.discriminator.stats)) == (2 if config.batch_norm else 0)
    assert all(changed(before.discriminator.stats, after.discriminator.stats))
    assert set(metrics) == {
        "discriminator_loss", "generator_loss", "real_probability", "fake_probability",
    }  # fmt: skip
    assert all(np.isfinite(v) for v in metrics.values())


def test_probabilities_are_those_of_the_discriminator_before_its_turn():
    graphdefs, before, _, metrics = one_step(PLAIN)
    d = training.as_module(graphdefs.discriminator, before.discriminator)
    p = jax.nn.sigmoid(d(jnp.asarray(IMAGES, jnp.float32) / 127.5 - 1)).mean()
    np.testing.assert_allclose(metrics["real_probability"], p, rtol=1e-5)
    assert 0 < metrics["fake_probability"] < 1


@pytest.mark.parametrize("penalty", PENALTIES[1:])
def test_a_penalty_is_added_whole_in_its_steps_and_never_between(penalty):
    """Over `penalty_every` steps it weighs as much as if each step had it."""
    config = dataclasses.replace(PLAIN, penalty=penalty, penalty_weight=0.7, penalty_every=3)
    graphdefs, state = fresh(PLAIN)
    plain, penalised = compiled(PLAIN), gan.make_train_step(graphdefs, config)
    added = []
    for number in range(7):
        before = at_step(state, number)
        losses = [
            float(step(copy(before), (IMAGES,))[1]["discriminator_loss"])
            for step in (plain, penalised)
        ]
        added.append(losses[1] - losses[0])
    g, d, _ = state
    model = training.as_module(graphdefs.discriminator, d)
    real = jnp.asarray(IMAGES, jnp.float32) / 127.5 - 1

    @jax.jit
    def by_hand(fake, key):
        return penalty_by_hand(config, lambda x, _: model(x[None])[0], real, fake, key)

    for number in (0, 3, 6):
        latents = jax.random.normal(jax.random.fold_in(g.key, number), (16, config.latent_dim))
        fake, _ = gan.apply(graphdefs.generator, g.params, g.stats, latents)
        value = float(by_hand(fake, jax.random.fold_in(d.key, number)))
        assert value > 0
        assert added[number] == pytest.approx(0.7 * 3 * value, rel=1e-3, abs=1e-6)
    np.testing.assert_allclose(np.delete(added, [0, 3, 6]), 0, atol=1e-6)


def test_averaged_weights_follow_the_closed_form():
    """After n steps of warm-up the weights of step k + 1 weigh as much as the decays leave of them, and the first
    weights 1 / C(n + 9, 9); from where the decay is reached on, the newest weighs 1 - decay.
    """
    config = dataclasses.replace(DCGAN, average=0.35, num_steps=8)
    graphdefs, state = gan.init(config, KEY)
    step = gan.make_train_step(graphdefs, config)
    seen = [copy((state.generator.params, state.generator.stats))]
    assert_close((state.average.params, state.average.stats), seen[0])
    for n in range(1, 9):
        state, _ = step(state, (IMAGES,))
        seen.append(copy((state.generator.params, state.generator.stats)))
        decays = [min(config.average, (1 + k) / (10 + k)) for k in range(n)]
        shares = [np.prod(decays)]
        shares += [(1 - decays[k]) * np.prod(decays[k + 1 :]) for k in range(n)]
        assert sum(shares) == pytest.approx(1)
        if n <= 4:  # 4/13 < 0.35 < 5/14
            assert shares[0] == pytest.approx(1 / comb(n + 9, 9))
        weighted = [
            jax.tree.map(lambda a, s=s: s * a, a) for s, a in zip(shares, seen, strict=True)
        ]
        expected = jax.tree.map(lambda *arrays: sum(arrays), *weighted)
        assert_close((state.average.params, state.average.stats), expected, rtol=1e-4, atol=1e-6)
    assert decays[-1] == config.average


def test_without_averaging_the_average_is_the_generator_itself():
    _, _, after, _ = one_step(dataclasses.replace(PLAIN, average=0.0))
    assert_close(after.average.params, after.generator.params, rtol=1e-6, atol=1e-9)
    assert_close(after.average.stats, after.generator.stats, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("num_steps", "falling"), [(10, 5), (7, 4), (1, 1)])
def test_learning_rate_decays_to_zero_over_the_second_half(num_steps, falling):
    """Under a constant gradient Adam's updates are its learning rate."""
    config = dataclasses.replace(PLAIN, num_steps=num_steps, decay=True, learning_rate=0.5)
    constant = dataclasses.replace(config, decay=False)

    def updates(config):
        tx = gan.optimizer(config)
        state, sizes = tx.init(jnp.zeros(())), []
        for _ in range(num_steps + 3):
            update, state = tx.update(jnp.ones(()), state)
            sizes.append(-float(update))
        return sizes

    expected = [0.5] * (num_steps - falling)
    expected += [0.5 * (1 - i / falling) for i in range(falling)] + [0.0] * 3
    np.testing.assert_allclose(updates(config), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(updates(constant), 0.5, rtol=1e-5)


# --- training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [RECIPE, DCGAN], ids=["recipe", "bn"])
def test_discriminator_learns_when_the_generator_stands_still(config):
    graphdefs, state = gan.init(config, KEY)
    step = gan.make_train_step(graphdefs, dataclasses.replace(config, learning_rate=1e-2))
    generator, losses, bright = copy(state.generator), [], IMAGES // 4 + 190
    for _ in range(60):
        state, metrics = step(state._replace(generator=copy(generator)), (bright,))
        losses.append(float(metrics["discriminator_loss"]))
    assert np.mean(losses[-3:]) < 0.5 * np.mean(losses[:3])


def test_same_key_same_samples():
    dataset = data.Dataset.from_arrays(IMAGES, LABELS, ("a", "b", "c"), name="noise")
    latents = jax.random.normal(jax.random.key(9), (3, LABELLED.latent_dim))
    samples = []
    for seed in (0, 0, 1):
        key = jax.random.key(seed)
        graphdefs, state, history = gan.train(dataset, LABELLED, key, progress=False)
        assert {len(values) for values in history.metrics.values()} == {LABELLED.num_steps}
        samples.append(gan.sample(graphdefs, state, latents, LABELS[:3]))
    np.testing.assert_array_equal(samples[0], samples[1])
    assert (samples[0] != samples[2]).any()


def test_a_batch_holds_images_and_their_own_labels(monkeypatch):
    """Of a class all images have one brightness here."""

    def brightness(graphdefs, config):
        return lambda state, batch: (state, {
            "gap": jnp.abs(batch[0].mean((1, 2, 3)) / 80 - batch[1]).max(), "classes": batch[1].max()
        })  # fmt: skip

    labels = np.arange(30) % 3
    tones = (labels * 80).repeat(64).reshape(30, 8, 8, 1).astype(np.uint8)
    dataset = data.Dataset.from_arrays(tones, labels, ("dark", "grey", "bright"), name="tones")
    monkeypatch.setattr(gan, "make_train_step", brightness)
    _, _, history = gan.train(dataset, LABELLED, KEY, progress=False)
    np.testing.assert_allclose(history.metrics["gap"], 0, atol=1e-5)
    assert history.metrics["classes"].max() == 2


# --- sampling ---------------------------------------------------------------------------------------------------


def test_samples_are_drawn_with_the_averaged_generator_in_evaluation_mode():
    graphdefs, _, state, _ = one_step(DCGAN)
    latents = jax.random.normal(KEY, (6, DCGAN.latent_dim))
    samples = gan.sample(graphdefs, state, latents)
    model = training.as_module(graphdefs.generator, state.average)
    assert model.norm1.use_running_average
    np.testing.assert_allclose(samples, (model(latents) + 1) / 2, atol=1e-6)
    raw = state._replace(average=state.generator)
    assert np.abs(gan.sample(graphdefs, raw, latents) - samples).max() > 1e-6
    other = state._replace(generator=state.average, discriminator=None)
    np.testing.assert_array_equal(gan.sample(graphdefs, other, latents), samples)


@pytest.mark.parametrize("config", [PLAIN, LABELLED], ids=["plain", "labels"])
def test_sampling_does_not_depend_on_the_batch(config):
    graphdefs, state = fresh(config)
    latents = jax.random.normal(KEY, (6, config.latent_dim))
    labels = LABELS[:6] if config.num_classes else None
    one, many = (
        gan.sample(graphdefs, state, latents, labels, batch_size=1),
        gan.sample(graphdefs, state, latents, labels),
    )
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_samples_of_a_conditional_gan_depend_on_their_own_labels():
    graphdefs, state = fresh(LABELLED)
    latents = jnp.tile(jax.random.normal(KEY, (1, LABELLED.latent_dim)), (4, 1))
    a, b, c, again = gan.sample(graphdefs, state, latents, [0, 1, 2, 0])
    np.testing.assert_allclose(a, again, atol=1e-6)
    assert min(np.abs(x - y).max() for x, y in ((a, b), (b, c), (a, c))) > 1e-5


@pytest.mark.parametrize(
    ("config", "labels", "said"),
    [
        (PLAIN, LABELS[:4], "latents of 5 numbers and labels; this generator takes 5 numbers"),
        (LABELLED, None, "latents of 5 numbers without labels; this generator takes 8 numbers"),
        (LABELLED, LABELS[:3], r"labels int64 \(3,\); allowed: integers, one for each of 4"),
        (LABELLED, np.zeros((4, 1), int), r"labels int64 \(4, 1\); allowed"),
        (LABELLED, np.zeros(4), r"labels float64 \(4,\); allowed: integers"),
        (LABELLED, [0, 1, 2, 3], r"labels range over 0\.\.3; allowed: 0\.\.2"),
        (LABELLED, [0, -1, 2, 0], r"labels range over -1\.\.2; allowed: 0\.\.2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(config, labels, said):
    graphdefs, state = fresh(config)
    with pytest.raises(ValueError, match=said):
        gan.sample(graphdefs, state, jnp.zeros((4, config.latent_dim)), labels)


def test_latents_of_another_size_are_refused():
    graphdefs, state = fresh(PLAIN)
    for wrong in (4, 6):
        with pytest.raises(ValueError, match=f"latents of {wrong} numbers.*takes 5 numbers"):
            gan.sample(graphdefs, state, jnp.zeros((2, wrong)))


def test_interpolation_keeps_the_length():
    start, end = jax.random.normal(KEY, (2, 50))
    end *= jnp.linalg.norm(start) / jnp.linalg.norm(end)
    path = gan.interpolate(start, end, 7)
    np.testing.assert_allclose(path[0], start, rtol=1e-4)
    np.testing.assert_allclose(path[-1], end, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(path, axis=1), jnp.linalg.norm(start), rtol=1e-4)

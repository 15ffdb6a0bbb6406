"""What is measured of a VAE, and that every comparison of the chapter can be made."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import loaded

from imgbook import gan_runs, judge, vae, vae_bounds, vae_runs

SMALL = {"hidden": 6, "latent_dim": 3}
LIKELIHOODS = {
    "negative_elbo", "reconstruction", "kl", "nll", "nll_error", "gain_error", "nll_all", "active",
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, vae_runs.CONDITIONAL])
def test_a_run_gives_what_a_record_needs(monkeypatch, changes):
    found = []
    original = vae_bounds.negative_log_likelihoods

    def kept(*arguments, **words):
        found.append(original(*arguments, **words))
        return found[-1]

    monkeypatch.setattr(vae_bounds, "negative_log_likelihoods", kept)
    values, trainings = vae_runs.run({**SMALL, **changes}, "mnist", "smoke", 0)
    rungs = (1, 10, vae_runs.LIKELIHOOD_SAMPLES["smoke"])
    judged = {*judge.compare(*gan_runs.references("smoke")), *(["obedience"] if changes else [])}
    assert set(values) == {
        *LIKELIHOODS, *judged, *(f"bound/{k}" for k in rungs), "floor", "seconds",
    }  # fmt: skip
    assert np.isfinite(list(values.values())).all()
    (bounds,) = found
    assert {len(b) for b in bounds.values()} == {vae_runs.LIKELIHOOD_IMAGES["smoke"]}
    most = bounds[rungs[-1]]
    assert values["nll"] == pytest.approx(most.mean())
    assert values["nll_error"] == pytest.approx(most.std(ddof=1) / np.sqrt(len(most)))
    gain = bounds[1] - most
    assert values["nll_all"] == pytest.approx(values["negative_elbo"] - gain.mean())
    assert values["gain_error"] == pytest.approx(gain.std(ddof=1) / np.sqrt(len(gain)))
    assert values["bound/1"] >= values["bound/10"] >= values["nll"]
    assert values["negative_elbo"] == pytest.approx(values["reconstruction"] + values["kl"])
    assert 0 <= values["active"] <= SMALL["latent_dim"]
    state, history, config = trainings["vae"]
    assert int(state.step) == config.num_steps == 4
    assert values["seconds"] == history.seconds > 0


def test_runs_of_a_seed_repeat():
    first, second = (
        vae_runs.run_variants({"small": (vae.VAE, SMALL)}, "mnist", "smoke", seed)[0]
        for seed in (0, 0)
    )
    other = vae_runs.run_variants({"small": (vae.VAE, SMALL)}, "mnist", "smoke", 1)[0]
    for name in ("small/negative_elbo", "small/kl"):
        assert first[name] == second[name] != other[name]


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_variants_are_measured_under_their_names(monkeypatch, data):
    def few(*arguments):
        dataset = loaded(*arguments)
        return replace(dataset, images=dataset.images[:48], labels=dataset.labels[:48])

    monkeypatch.setattr(vae_runs, "load", few)
    colour = data == "cifar10"
    small = {**SMALL, "batch_size": 8, **({"width": 2} if colour else {})}
    variants = {"a": (vae.VAE, small), "b": (vae.VAE, {**small, "sigma": 0.5, "beta": 3.0})}
    values, trainings = vae_runs.run_variants(variants, data, "smoke", 0)
    measures = {"negative_elbo", "reconstruction", "kl", "active", "seconds"}
    measures |= {"bits_per_dim", "sigma"} if colour else set()
    assert set(values) == {f"{name}/{m}" for name in variants for m in measures}
    assert np.isfinite(list(values.values())).all()
    assert trainings["b"][2].beta == 3
    # The plain bound, whatever the loss was.
    sum_of_parts = values["b/reconstruction"] + values["b/kl"]
    assert values["b/negative_elbo"] == pytest.approx(sum_of_parts)
    if colour:
        assert values["b/sigma"] == pytest.approx(0.5)
        shape = trainings["a"][2].image_shape
        nats = values["a/bits_per_dim"] * np.prod(shape) * np.log(2)
        assert nats == pytest.approx(values["a/negative_elbo"])


def test_obedience_is_the_share_of_samples_that_show_their_label(monkeypatch):
    """A decoder that gives real digits of the labels it is asked for, and one that gives the next digit."""
    train, real = loaded("mnist", "train"), gan_runs.references("smoke")[0]
    config = vae.config_for(train, "smoke", num_classes=10, **SMALL)

    def obedience(offset):
        def sample(graphdef, state, key, n, labels):
            assert len(labels) == n == gan_runs.NUM_SAMPLES["smoke"]
            wanted = (np.asarray(labels) + offset) % 10
            return train.images[
                [np.flatnonzero(train.labels == c)[i % 20] for i, c in enumerate(wanted)]
            ]

        monkeypatch.setattr(vae, "sample", sample)
        return vae_runs.judged(None, None, config, jax.random.key(0), "smoke", real)["obedience"]

    assert obedience(0) > 0.9
    assert obedience(1) < 0.1


def test_some_are_always_the_same_and_of_all_classes():
    """Digits of the package lie sorted by class in parts: their first ones would not do."""
    test = loaded("mnist", "test", "quick")
    chosen = vae_runs.some(test.images, 100)
    np.testing.assert_array_equal(chosen, vae_runs.some(test.images, 100))
    assert len(set(chosen.tolist())) == 100
    assert np.bincount(test.labels[chosen], minlength=10).min() >= 3
    assert sorted(vae_runs.some(test.images[:7], 100).tolist()) == list(range(7))


def test_smoke_keeps_its_own_number_of_steps():
    dataset = loaded("mnist", "train")
    changes = {"num_steps": 2000, "beta": 8.0}
    smoke, quick = (vae_runs.config_of(dataset, p, changes) for p in ("smoke", "quick"))
    assert (smoke.num_steps, quick.num_steps) == (4, 2000)
    assert smoke.beta == quick.beta == 8


@pytest.mark.parametrize("table", vae_runs.VARIANTS)
@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_all_variants_can_be_built_and_differ(table, preset):
    """Their hyperparameters are allowed, their networks have a step, no two are the same."""
    dataset = loaded("cifar10" if table == "colour" else "mnist", "train")
    made = [
        (model_class, vae_runs.config_of(dataset, preset, changes))
        for model_class, changes in vae_runs.VARIANTS[table].values()
    ]
    if preset == "quick":
        assert len(set(made)) == len(made)
        return
    for model_class, config in made:
        config, built = replace(config, batch_size=4), []

        def init(key, model_class=model_class, config=config, built=built):
            graphdef, state = vae.init(config, key, model_class)
            built.append(graphdef)
            return state

        state = jax.eval_shape(init, jax.random.key(0))
        step = vae.make_train_step(built[0], config)
        after, metrics = jax.eval_shape(step, state, (dataset.images[:4],))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert {value.shape for value in metrics.values()} == {()}


def test_steps_of_the_full_runs_grow():
    dataset = loaded("mnist", "train")
    minute, plain, long = (
        vae_runs.config_of(dataset, "full", changes).num_steps
        for changes in (vae_runs.BUDGETS["minute"], {}, vae_runs.BUDGETS["long"])
    )
    assert minute < plain < long

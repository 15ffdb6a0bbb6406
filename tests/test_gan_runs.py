"""What is measured of a GAN, and that every comparison of the chapter can be made."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import loaded

from imgbook import gan, gan_runs, judge

SMALL = {"width": 4, "latent_dim": 5, "num_codes": 3}
TABLES = ("LOSSES", "ABLATION", "CONDITIONAL")


def untrained(num_classes: int = 0) -> tuple:
    config = gan.config_for(loaded("mnist", "train"), "smoke", num_classes=num_classes, **SMALL)
    return *gan.init(config, jax.random.key(0)), config


def test_references_are_disjoint_and_hold_all_digits(monkeypatch):
    """Digits of the package lie sorted by class in parts: their first ones would not do."""
    monkeypatch.setattr(judge, "opinion", lambda images: images)
    for preset in ("smoke", "quick"):
        first, second = gan_runs.references(preset)
        np.testing.assert_array_equal(first, loaded("mnist", "test", preset).images)
        assert first.shape == second.shape
        train = loaded("mnist", "train", preset)
        labels = {
            image.tobytes(): label for image, label in zip(train.images, train.labels, strict=True)
        }
        found = [labels[image.tobytes()] for image in second]  # all are training digits
        assert not {image.tobytes() for image in first} & {image.tobytes() for image in second}
        assert len({image.tobytes() for image in second}) == len(second)
        share = len(second) / 10
        assert np.abs(np.bincount(found, minlength=10) - share).max() < 4 * np.sqrt(share)
        assert (np.diff(found) < 0).sum() > len(second) / 4
        np.testing.assert_array_equal(second, gan_runs.references(preset)[1])


def test_about_as_many_samples_as_real_digits():
    """Estimates of distances are too large by what the numbers of both sets allow."""
    n = gan_runs.NUM_SAMPLES["quick"]
    assert len(loaded("mnist", "test", "quick")) == pytest.approx(n, rel=0.01)
    assert gan_runs.NUM_SAMPLES["full"] == n


def test_obedience_is_the_share_of_samples_that_show_their_label(monkeypatch):
    """A generator that gives real digits of the labels it is asked for, and one that gives the next digit."""
    graphdefs, state, config = untrained(num_classes=10)
    train, real = loaded("mnist", "train"), gan_runs.references("smoke")[0]

    def measured(offset):
        def sample(graphdefs, state, latents, labels):
            assert latents.shape == (gan_runs.NUM_SAMPLES["smoke"], config.latent_dim)
            wanted = (np.asarray(labels) + offset) % 10
            return train.images[
                [np.flatnonzero(train.labels == c)[i % 20] for i, c in enumerate(wanted)]
            ]

        monkeypatch.setattr(gan, "sample", sample)
        return gan_runs.measures(graphdefs, state, config, jax.random.key(1), "smoke", real)

    obedient, other = measured(0), measured(1)
    assert obedient["obedience"] > 0.9
    assert other["obedience"] < 0.1
    assert min(obedient["recognised"], other["recognised"]) > 0.9


def test_measures_are_the_judges_of_samples_and_repeatable():
    graphdefs, state, config = untrained()
    real = gan_runs.references("smoke")[0]
    a, b, c = (
        gan_runs.measures(graphdefs, state, config, jax.random.key(seed), "smoke", real)
        for seed in (0, 0, 1)
    )
    assert set(a) == set(judge.compare(real, real))  # no obedience without labels
    assert a == b
    assert a["frechet"] != c["frechet"]
    assert a["frechet"] > 10 * judge.compare(*gan_runs.references("smoke"))["frechet"]


def test_a_run_gives_what_a_record_needs(monkeypatch):
    dataset = loaded("mnist", "train")
    variants = {"plain": SMALL, "labels": {**SMALL, "num_classes": 10}}
    values, trainings = gan_runs.run(variants, dataset, "smoke", 0)
    measures = {*judge.compare(*gan_runs.references("smoke")), "seconds"}
    assert set(values) == {
        "floor", "real", "labels/obedience", *(f"{v}/{m}" for v in variants for m in measures),
    }  # fmt: skip
    assert np.isfinite(list(values.values())).all()
    assert list(trainings) == list(variants)
    for state, history, config in trainings.values():
        assert int(state.generator.step) == config.num_steps
        assert all(len(column) == config.num_steps for column in history.metrics.values())
        assert history.seconds > 0
    assert values["real"] > 0.95
    assert 0 < values["floor"] < values["plain/frechet"]
    # One variant: names without a prefix, and the same values.
    graphdefs, _ = gan.init(trainings["plain"][2], jax.random.key(0))
    state, history, _ = trainings["plain"]
    monkeypatch.setattr(gan, "train", lambda *_, **__: (graphdefs, state, history))
    alone, _ = gan_runs.run({"gan": SMALL}, dataset, "smoke", 0)
    assert set(alone) == {"floor", "real", *measures}
    assert all(alone[m] == values[f"plain/{m}"] for m in measures)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("preset", ["smoke", "quick"])
def test_all_variants_can_be_built_and_differ(table, preset):
    """Their hyperparameters are allowed, their networks have a step, no two are the same."""
    dataset = loaded("mnist", "train")
    short = {} if preset == "smoke" else gan_runs.SHORT
    variants = getattr(gan_runs, table).values()
    configs = [gan.config_for(dataset, preset, **{**short, **changes}) for changes in variants]
    assert len(set(configs)) == len(configs)
    if preset == "quick":
        return
    for config in configs:
        config, built = dataclasses.replace(config, batch_size=4), []

        def init(key, config=config, built=built):
            graphdefs, state = gan.init(config, key)
            built.append(graphdefs)
            return state

        state = jax.eval_shape(init, jax.random.key(0))
        batch = (dataset.images[:4], dataset.labels[:4])
        after, metrics = jax.eval_shape(gan.make_train_step(built[0], config), state, batch)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert {value.shape for value in metrics.values()} == {()}

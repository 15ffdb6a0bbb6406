"""The failure gallery: each entry is complete, its broken piece fails by its threshold, and the working piece passes.

What can be said exactly is tested on the pieces; the rest on the record, seed by seed.
"""

import json
from dataclasses import fields
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

from imgbook import failure_measures, failure_runs, failures, records

NAMES = tuple(failures.FAILURES)
PAGE = Path(__file__).parents[1] / "book" / "gan-failures.ipynb"


@pytest.fixture(scope="module")
def runs():
    return failure_measures.gallery("mnist", "smoke", 0, ("batch",))


def linear(d, images, labels):
    """A discriminator of one layer: images `[N, 3]`, its weights `[3]`."""
    return images @ d


def gradients(losses):
    """Of the sum of the losses and of each: by the weights of a linear generator and of the discriminator."""
    rng = np.random.default_rng(0)
    z, g, d, real = (jnp.asarray(rng.normal(size=s)) for s in ((5, 2), (2, 3), 3, (5, 3)))
    labels = jnp.zeros(5, int)

    def players(g, d):
        return losses(linear, d, (real, labels), (z @ g, labels))

    return [jax.grad(f, (0, 1))(g, d) for f in (lambda g, d: sum(players(g, d)),
            lambda g, d: players(g, d)[0], lambda g, d: players(g, d)[1])]  # fmt: skip


# --- the table ------------------------------------------------------------------------------------------------


def test_table_is_complete(runs):
    assert tuple(failure_runs.BROKEN) == NAMES
    assert len(NAMES) >= 10
    for name, failure in failures.FAILURES.items():
        assert all(getattr(failure, field.name) for field in fields(failure)), name
        assert failure.worse in ("above", "below")
        assert failure.measure in runs["working"].values


@pytest.mark.parametrize("name", NAMES)
def test_difference_is_small_and_of_real_source(name):
    lines = failures.difference(name).splitlines()
    added, removed = ([x for x in lines if x.startswith(sign)] for sign in "+-")
    assert 1 <= len(added) <= 2
    assert len(removed) <= 2
    assert len(lines) <= 8


def test_both_sides_of_a_threshold():
    assert failures.fails("range", {"background": 0.5})
    assert not failures.fails("range", {"background": 0.0})
    assert failures.fails("labels", {"obedience": 0.1})
    assert not failures.fails("labels", {"obedience": 0.9})
    assert failures.fails("labels", {"obedience": float("nan")}), "diverged is not passed"
    with pytest.raises(KeyError):
        failures.fails("labels", {"background": 0.5})


# --- the pieces -----------------------------------------------------------------------------------------------


def test_loss_on_real_images_has_no_gradient_for_the_generator():
    for losses, broken in ((failure_runs.losses, False), (failure_runs.losses_on_real, True)):
        (g, d), *_ = gradients(losses)
        norm = float(jnp.linalg.norm(g))
        assert failures.fails("real-images", {"generator_gradient": norm}) == broken
        assert (norm == 0) == broken
        assert d.any()


def test_in_each_players_loss_the_other_is_a_constant():
    total, of_d, of_g = gradients(failure_runs.losses)
    assert not of_d[0].any(), "the discriminator's loss moves the generator"
    assert not of_g[1].any(), "the generator's loss moves the discriminator"
    np.testing.assert_allclose(total[0], of_g[0])
    np.testing.assert_allclose(total[1], of_d[1])
    _, of_d, of_g = gradients(failure_runs.losses_shared)
    assert of_d[0].any()
    assert of_g[1].any()


def test_shared_losses_want_a_logit_of_zero_from_samples():
    """For the discriminator a sample's two terms are log(1 + e^b) + log(1 + e^-b), least at b = 0."""

    def total(b):
        fake = b[:, None], jnp.zeros(1, int)
        d = jnp.ones(1)
        return sum(failure_runs.losses_shared(linear, d, (jnp.zeros((1, 1)), fake[1]), fake))

    slopes = [float(jax.grad(total)(jnp.array([b]))[0]) for b in (-2.0, 0.0, 2.0)]
    assert slopes[0] < 0 < slopes[2]
    assert slopes[1] == pytest.approx(0, abs=1e-6)


def test_minimax_leaves_no_gradient_where_the_discriminator_is_sure():
    def norm(losses):
        labels = jnp.zeros(1, int)

        def g_loss(b):
            real, fake = (jnp.full((1, 1), 20.0), labels), (b[:, None], labels)
            return losses(linear, jnp.ones(1), real, fake)[1]

        return float(jnp.abs(jax.grad(g_loss)(jnp.array([-20.0]))[0]))

    assert failures.fails("strong", {"generator_gradient": norm(failure_runs.losses_minimax)})
    assert not failures.fails("strong", {"generator_gradient": norm(failure_runs.losses)})


def test_loss_of_probabilities_has_a_bound_above_the_threshold():
    labels, bound = jnp.zeros(1, int), np.log(1 + np.exp(-1)) + np.log(2)
    for losses, broken in ((failure_runs.losses, False), (failure_runs.losses_twice, True)):
        real, fake = (jnp.full((1, 1), 50.0), labels), (jnp.full((1, 1), -50.0), labels)
        best = float(losses(linear, jnp.ones(1), real, fake)[0])
        assert failures.fails("probabilities", {"least_discriminator_loss": best}) == broken
    assert best == pytest.approx(bound, rel=1e-6)
    assert bound > failures.FAILURES["probabilities"].threshold


def test_black_comes_back_black_or_grey():
    black = jnp.zeros((1, 28, 28, 1), jnp.uint8)
    for scale, broken in ((failure_runs.scale, False), (failure_runs.scale_to_unit, True)):
        shown = float((scale(black).mean() + 1) / 2)  # as samples are shown
        assert failures.fails("range", {"background": shown}) == broken


def test_kernel_that_the_stride_does_not_divide_paints_a_grid():
    stripes = np.tile([1.0, 2.0], (28, 14))
    assert failure_measures.checkerboard(stripes) == pytest.approx(1 / 3)
    assert failure_measures.checkerboard(np.ones((28, 28))) == pytest.approx(0)
    for kernel, broken in ((4, False), (3, True)):
        contrast = failure_measures.checkerboard(failure_measures.paint(kernel, 0, 128))
        assert failures.fails("kernel", {"checkerboard": contrast}) == broken


def test_latents_are_new_at_each_step_unless_the_key_is_reused():
    key, shape = jax.random.key(0), (4, 3)
    for draw, broken in (
        (failure_runs.draw_latents, False),
        (failure_runs.draw_same_latents, True),
    ):
        same = bool((draw(key, 0, shape) == draw(key, 1, shape)).all())
        assert same == broken


def test_labels_of_false_images_are_those_they_were_made_for():
    labels = jnp.arange(16) % 10
    assert (failure_runs.show_labels(labels, jax.random.key(0)) == labels).all()
    other = failure_runs.show_other_labels(labels, jax.random.key(0))
    assert (other != labels).mean() > 0.5
    assert (jnp.sort(other) == jnp.sort(labels)).all()


@pytest.mark.parametrize("name", ["rate", "collapse", "latent"])
def test_numbers_of_a_recipe_reach_its_networks(name):
    recipe = failure_runs.BROKEN[name]
    _, state = failure_runs.init(recipe, jax.random.key(0))
    rates = [float(s.opt_state.hyperparams["learning_rate"]) for s in state]
    assert rates == pytest.approx([recipe.config.learning_rate, recipe.d_rate])
    inputs = state.generator.params["dense"]["kernel"].shape[0]
    assert inputs == recipe.config.latent_dim + recipe.config.num_classes


# --- a run of the gallery -------------------------------------------------------------------------------------


def test_sample_depends_on_its_batch_in_training_mode_only(runs):
    assert failures.fails("batch", runs["batch"].values)
    assert not failures.fails("batch", runs["working"].values)
    assert failures.caught({name: runs[name] for name in ("working", "batch")}) == 1
    assert runs["batch"].history is runs["working"].history, "one training serves both"


def test_runs_are_what_a_record_keeps(runs):
    for run in runs.values():
        assert all(np.isfinite(v) and isinstance(v, float) for v in run.values.values())
        assert all(len(v) == run.recipe.config.num_steps for v in run.history.metrics.values())
        assert run.samples.shape[1:] == (28, 28, 1)
        assert 0 <= run.samples.min() <= run.samples.max() <= 1


def test_figures_have_the_same_axes(runs):
    limits = {failures.draw(name, runs).axes[0].get_ylim() for name in runs}
    assert len(limits) == 1
    plt.close("all")


# --- the record and the page ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_recorded_runs_fail_and_the_working_code_passes_on_every_seed(name):
    record = records.load(failures.RECORD)
    assert len(record["seeds"]) >= 3
    for seed in range(len(record["seeds"])):
        assert failures.fails(name, failures.recorded(record, name, seed)), f"seed {seed}: passes"
        assert not failures.fails(name, failures.recorded(record, "working", seed)), f"seed {seed}"


def test_page_has_an_entry_for_each_failure():
    cells = ["".join(c["source"]) for c in json.loads(PAGE.read_text(encoding="utf-8"))["cells"]]
    for name, failure in failures.FAILURES.items():
        entry = f"(failure-{name})=\n## {failure.symptom}\n"
        assert sum(cell.startswith(entry) for cell in cells) == 1, name
        assert f'fig = failures.draw("{name}", runs)' in cells
        assert f'failures.explain("{name}", runs)' in cells

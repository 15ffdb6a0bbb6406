"""Membership inference: rates by definition, the likelihood-ratio attack against theory, training on members."""

import jax
import numpy as np
import pytest
from conftest import normal
from scipy import stats

from imgbook import membership

CONFIG = membership.config_for("smoke", num_steps=150)


def small(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with random labels, which can be learned by heart only; members of six models."""
    rng = np.random.default_rng(seed)
    return normal((40, 20), seed), rng.integers(0, 10, 40), membership.halves(rng, 6, 40)


def test_halves_are_halves_in_both_directions():
    members = membership.halves(np.random.default_rng(0), 8, 50)
    assert (members.sum(1) == 25).all()
    assert (members.sum(0) == 4).all()
    assert (members[0::2] == ~members[1::2]).all()


def test_members_are_learned_and_others_do_not_matter():
    x, labels, members = small()
    key = jax.random.key(0)
    params = membership.train(x, labels, members, CONFIG, key)
    right = np.asarray(membership.confidences(params, x, labels)) > 0
    assert right[members].mean() > 0.95
    assert right[~members].mean() < 0.5
    changed = np.where(members[0][:, None], x, np.nan)  # what the first model never sees
    again = membership.train(changed, labels, members, CONFIG, key)
    np.testing.assert_array_equal(params["w1"][0], again["w1"][0])


def test_confidence_is_the_log_odds_of_the_right_label():
    x, labels, members = small()
    params = membership.train(x, labels, members, CONFIG, jax.random.key(0))
    z = np.asarray(membership.logits({k: v[2] for k, v in params.items()}, x), np.float64)
    p = np.exp(z - z.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True))[np.arange(40), labels]
    found = membership.confidences(params, x, labels)[2]
    np.testing.assert_allclose(found, np.log(p / (1 - p)), rtol=2e-3, atol=1e-3)


def test_rates_by_definition():
    rng = np.random.default_rng(0)
    scores, members = rng.integers(0, 12, 60), rng.random(60) < 0.4
    false, true = membership.roc(scores, members)
    for threshold in range(13):
        above = scores >= threshold
        pair = above[~members].mean(), above[members].mean()
        assert any(np.allclose(pair, found) for found in zip(false, true, strict=True))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert len(false) == len(set(scores)) + 1  # equal scores are decided together
    best = max(
        (scores >= t)[members].mean() for t in range(14) if (scores >= t)[~members].mean() <= 0.2
    )
    assert membership.true_rate_at(scores, members, 0.2) == pytest.approx(best)


def test_area_is_the_probability_that_a_member_has_the_higher_score():
    rng = np.random.default_rng(1)
    scores, members = rng.integers(0, 9, 80), rng.random(80) < 0.5
    u = stats.mannwhitneyu(scores[members], scores[~members]).statistic
    false, true = membership.roc(scores, members)
    assert np.trapezoid(true, false) == pytest.approx(u / (members.sum() * (~members).sum()))


def test_likelihood_ratio_reaches_what_theory_allows():
    """Confidences N(m_i + d, 1) in and N(m_i, 1) out: the best test finds Phi(d - Phi^-1(1 - a)) at false rate a.

    The m_i vary so much more that one threshold for all images finds hardly anything.
    """
    rng, d = np.random.default_rng(0), 2.0
    members = membership.halves(rng, 64, 400)
    confidence = 20 * rng.standard_normal(400) + d * members + rng.standard_normal(members.shape)
    best = stats.norm.cdf(d - stats.norm.ppf(1 - 0.01))
    scores = membership.likelihood_ratios(confidence, members)
    assert membership.true_rate_at(scores, members) == pytest.approx(best, abs=0.05)
    assert membership.true_rate_at(confidence, members) < 0.05
    other = np.roll(members, 2, axis=0)  # the control: the members of another model
    assert membership.true_rate_at(scores, other) == pytest.approx(0.01, abs=0.01)


def test_the_attacked_model_is_left_out_of_its_own_reference():
    rng = np.random.default_rng(0)
    members = membership.halves(rng, 8, 10)
    confidence = rng.standard_normal((8, 10))
    scores = membership.likelihood_ratios(confidence, members)
    others = np.arange(8) != 3
    parts = []
    for side in (members, ~members):
        mean = (confidence * side)[others].sum(0) / side[others].sum(0)
        whole = np.array([confidence[side[:, i], i].var(ddof=1) for i in range(10)]).mean()
        parts.append(stats.norm.logpdf(confidence[3], mean, np.sqrt(whole)))
    np.testing.assert_allclose(scores[3], parts[0] - parts[1])


def test_errors():
    x, labels, members = small()
    with pytest.raises(ValueError, match="even numbers"):
        membership.halves(np.random.default_rng(0), 3, 10)
    with pytest.raises(ValueError, match="classifier 1 has no members"):
        membership.train(x, labels, members * (np.arange(6) != 1)[:, None], CONFIG, jax.random.key(0))  # fmt: skip
    with pytest.raises(ValueError, match="other classifiers on a side"):
        membership.likelihood_ratios(normal((4, 10)), membership.halves(np.random.default_rng(0), 4, 10))  # fmt: skip
    with pytest.raises(ValueError, match="members and others"):
        membership.roc(np.arange(3), np.ones(3, bool))
    with pytest.raises(ValueError, match="models = 0"):
        membership.config_for(models=0)

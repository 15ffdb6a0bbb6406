"""The plane of codes, the best decoder of given codes, and the table of likelihoods."""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import loaded, normal, random_images
from scipy.stats import norm

from imgbook import pages, records, vae, vae_figures, vae_plane, vae_tables


def test_plane_holds_equal_shares_of_the_prior():
    codes = np.asarray(vae_plane.plane(5, outermost=0.1)).reshape(5, 5, 2)
    shares = norm.cdf(codes)
    np.testing.assert_allclose(shares[0, :, 0], [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-5)
    np.testing.assert_allclose(shares[:, 0, 1], [0.9, 0.7, 0.5, 0.3, 0.1], atol=1e-5)  # down
    assert (codes[..., 0] == codes[:1, :, 0]).all()


@pytest.fixture
def shared():
    """Shares of six codes among nine images, and the images."""
    codes, mean, logvar = normal((6, 2)), normal((9, 2), 1), 0.5 * normal((9, 2), 2)
    found = vae_plane.code_shares(*(jnp.asarray(v) for v in (codes, mean, logvar)))
    density = norm.pdf(codes[:, None], mean[None], np.exp(logvar / 2)[None]).prod(-1)
    np.testing.assert_allclose(found, density / density.sum(1, keepdims=True), rtol=2e-4, atol=1e-7)
    return found, random_images(9, (3, 2, 1))


def test_no_decoder_explains_images_that_share_a_code_better_than_their_average(shared):
    """The likelihood term at a code, of the average and of other images near it, by its definition."""
    shares, images = shared
    best = vae_plane.best_decoded(shares, images)
    assert best.shape == (6, 3, 2, 1)
    x = jnp.asarray(images / 255, jnp.float32)

    def term(decoded, share):
        likelihood = vae.bernoulli_log_likelihood(
            jnp.broadcast_to(jax.scipy.special.logit(decoded), x.shape), x
        )
        return float((share * likelihood).sum())

    rng = np.random.default_rng(0)
    for m, share in zip(best, shares, strict=True):
        others = np.clip(m + 0.05 * rng.standard_normal((20, *m.shape)), 0.001, 0.999)
        assert all(term(other, share) < term(m, share) for other in others)


def test_a_code_of_one_image_shows_that_image_and_of_all_alike_their_mean():
    images = random_images(4, (3, 2, 1))
    one, even = np.eye(4)[:1], np.full((1, 4), 0.25)
    np.testing.assert_allclose(vae_plane.best_decoded(one, images)[0], images[0] / 255, atol=1e-6)
    np.testing.assert_allclose(
        vae_plane.best_decoded(even, images)[0], images.mean(0) / 255, atol=1e-6
    )
    np.testing.assert_allclose(vae_plane.effective_number(np.vstack([one, even])), [1, 4])


def test_greyness_is_zero_for_black_and_white_and_one_for_grey():
    black_and_white = np.array([0.0, 1.0]).reshape(1, 2, 1, 1)
    assert vae_plane.greyness(black_and_white) == 0
    assert vae_plane.greyness(np.full((2, 3, 3, 1), 0.5)) == 1


def test_the_plane_is_drawn_with_every_code_and_both_circles():
    codes, labels = normal((40, 2)), np.arange(40) % 10
    fig = vae_figures.draw_plane(random_images(9, (4, 4, 1)), codes, labels)
    left, right = fig.axes
    assert left.images[0].get_array().shape[:2] == (20, 20)  # 3 x 4 pixels and 4 gaps of 2
    *points, half, most = right.lines
    drawn = np.concatenate([np.column_stack(line.get_data()) for line in points])
    assert {tuple(p) for p in drawn.round(6)} == {tuple(p) for p in codes.round(6)}
    assert [line.get_marker() for line in points] == [f"${d}$" for d in range(10)]
    cloud = np.linalg.norm(np.random.default_rng(0).standard_normal((20_000, 2)), axis=1)
    for circle, share in ((half, 0.5), (most, 0.95)):
        radius = np.linalg.norm(circle.get_data(), axis=0)
        assert np.ptp(radius) < 1e-9
        assert (cloud < radius[0]).mean() == pytest.approx(share, abs=0.01)
    plt.close(fig)


def test_table_of_likelihoods_holds_baselines_records_and_published_values():
    train, test = loaded("mnist", "train"), loaded("mnist", "test")
    trivial = vae_tables.trivial_rows(train, test)
    numbers = [float(row[3]) for row in trivial]
    assert numbers[0] == pytest.approx(784 * np.log(2), abs=0.05)
    assert numbers[1] == pytest.approx(
        vae.mean_image_negative_log_likelihood(train.images, test.images), abs=0.05
    )
    assert numbers[2] == pytest.approx(vae.grey_floor(test.images), abs=0.05)
    assert numbers[0] > numbers[1] > numbers[2]
    ours = vae_tables.recorded_rows()
    for row, name in zip(ours, vae_tables.OURS, strict=True):
        record = records.load(name)
        mean = np.mean(record["values"]["nll_all"])
        assert float(row[3].split(" ±")[0]) == pytest.approx(mean, abs=0.051)
        assert numbers[2] < mean < np.mean(record["values"]["negative_elbo"])
    text = pages.table_text(vae_tables.HEADER, [*trivial, *ours, *vae_tables.published_rows()])
    for value in ("86.76", "86.35", "100.49"):
        assert text.count(value) == 1


def test_the_floor_is_the_entropy_of_the_coin_tosses():
    levels = np.array([0, 51, 128, 255], np.uint8).reshape(1, 2, 2, 1)
    p = np.array([51, 128]) / 255
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert vae.grey_floor(levels) == pytest.approx(expected, rel=1e-12)
    assert vae.grey_floor(np.repeat(levels, 3, axis=0)) == pytest.approx(expected, rel=1e-12)

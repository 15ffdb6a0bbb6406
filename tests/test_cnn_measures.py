"""Confusions, mistakes, calibration and its floor, and the chapter's pictures of them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import normal
from matplotlib.colors import to_hex
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import binom

from imgbook import cnn_measures, cnn_page_figures, equivariance, layers


def two_classes(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[N, 2]` whose larger one, of class 0, is `confidence`; labels 0 where `right`."""
    return np.stack([confidence, 1 - confidence], 1), np.where(right, 0, 1)


# --- accuracy, confusion, mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(("accuracy", "count"), [(0.5, 4), (0.8, 50), (0.0, 10), (1.0, 10)])
def test_standard_error_is_that_of_a_binomial_share(accuracy, count):
    found = cnn_measures.standard_error(accuracy, count)
    assert found == pytest.approx(binom(count, accuracy).std() / count)


@pytest.mark.parametrize(("accuracy", "count"), [(1.2, 5), (-0.1, 5), (0.5, 0)])
def test_standard_error_refuses_percent_and_no_images(accuracy, count):
    with pytest.raises(ValueError, match=f"accuracy {accuracy} on {count} images; allowed: 0 to 1"):
        cnn_measures.standard_error(accuracy, count)


def test_confusion_by_hand():
    guess = np.array([0, 0, 1, 2, 2, 2, 1])
    labels = np.array([0, 0, 0, 2, 2, 1, 1])
    found = cnn_measures.confusion(np.eye(4)[guess], labels, 4)
    expected = [[2 / 3, 1 / 3, 0, 0], [0, 1 / 2, 1 / 2, 0], [0, 0, 1, 0], [np.nan] * 4]
    np.testing.assert_allclose(found, expected)


def test_confusion_weighted_by_the_classes_gives_the_accuracy():
    logits, labels = normal((500, 6)), np.random.default_rng(1).integers(0, 6, 500)
    shares = np.bincount(labels) / 500
    found = cnn_measures.confusion(logits, labels, 6)
    assert (np.diag(found) * shares).sum() == pytest.approx((logits.argmax(1) == labels).mean())
    np.testing.assert_allclose(found.sum(1), 1)


def test_most_confident_mistakes_come_in_order():
    p = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4], [0.95, 0.05]])
    labels = np.array([1, 0, 1, 1, 1])  # wrong: 0, 1, 3, 4
    np.testing.assert_array_equal(cnn_measures.most_confident_mistakes(p, labels, 3), [4, 0, 1])
    np.testing.assert_array_equal(cnn_measures.most_confident_mistakes(p, labels, 9), [4, 0, 1, 3])
    assert len(cnn_measures.most_confident_mistakes(p, p.argmax(1), 9)) == 0


# --- calibration ----------------------------------------------------------------------------------------------


def test_calibration_by_hand():
    """Four bins of two classes: only the upper two can be filled."""
    confidence = np.array([0.6, 0.7, 0.75, 0.8, 1.0])
    p, labels = two_classes(confidence, np.array([True, False, True, True, False]))
    found = cnn_measures.calibration(p, labels, num_bins=4)
    nan = np.nan
    np.testing.assert_array_equal(found.count, [0, 0, 3, 2])  # 0.75 is in (0.5, 0.75]
    np.testing.assert_allclose(found.confidence, [nan, nan, 2.05 / 3, 0.9])
    np.testing.assert_allclose(found.accuracy, [nan, nan, 2 / 3, 1 / 2])
    assert found.error == pytest.approx(3 / 5 * (2.05 / 3 - 2 / 3) + 2 / 5 * 0.4)


@pytest.mark.parametrize("num_bins", [1, 7, 10])
def test_calibration_by_loops(num_bins):
    p = softmax(2 * normal((300, 5)), axis=1)
    labels = np.random.default_rng(1).integers(0, 5, 300)
    error = 0.0
    for b in range(num_bins):
        inside = [n for n in range(300) if b / num_bins < p[n].max() <= (b + 1) / num_bins]
        right = sum(p[n].argmax() == labels[n] for n in inside)
        error += abs(right - sum(p[n].max() for n in inside)) / 300
    found = cnn_measures.calibration(p, labels, num_bins)
    assert found.error == pytest.approx(error)
    assert found.count.sum() == 300


def test_a_calibrated_simulation_is_calibrated_within_its_sampling_error():
    rng = np.random.default_rng(0)
    p = softmax(2 * rng.standard_normal((4000, 6)), axis=1)
    labels = (rng.random((4000, 1)) > p.cumsum(1)).sum(1).clip(0, 5)  # a label from each row
    found = cnn_measures.calibration(p, labels)
    floor = cnn_measures.calibration_floor(p, np.random.default_rng(1))
    assert found.error < floor.max()
    assert found.error > floor.min()
    some = found.count > 20
    spread = np.sqrt(found.confidence * (1 - found.confidence) / found.count)[some]
    assert np.all(np.abs(found.accuracy - found.confidence)[some] < 4 * spread)


def test_overconfidence_is_found_in_full():
    """Always 99 % sure and right three times of four: the error is 0.24, whatever the bins."""
    p, labels = two_classes(np.full(400, 0.99), np.arange(400) % 4 > 0)
    for num_bins in (1, 10, 15):
        assert cnn_measures.calibration(p, labels, num_bins).error == pytest.approx(0.24)
    floor = cnn_measures.calibration_floor(p, np.random.default_rng(0))
    assert floor.max() < 0.05


@pytest.mark.parametrize(("confidence", "count"), [(0.6, 50), (0.9, 20)])
def test_the_floor_of_one_confidence_is_the_mean_deviation_of_a_binomial(confidence, count):
    p, _ = two_classes(np.full(count, confidence), np.ones(count, bool))
    found = cnn_measures.calibration_floor(p, np.random.default_rng(0), draws=4000)
    k = np.arange(count + 1)
    deviation = np.abs(k / count - confidence)
    expected = (binom(count, confidence).pmf(k) * deviation).sum()
    assert found.shape == (4000,)
    assert found.mean() == pytest.approx(expected, abs=5 * found.std() / np.sqrt(4000))


def test_the_floor_shrinks_with_the_root_of_the_images_and_repeats():
    p = softmax(2 * normal((500, 10)), axis=1)
    few = cnn_measures.calibration_floor(p, np.random.default_rng(0))
    many = cnn_measures.calibration_floor(np.tile(p, (16, 1)), np.random.default_rng(0))
    assert few.mean() / many.mean() == pytest.approx(4, rel=0.1)
    again = cnn_measures.calibration_floor(p, np.random.default_rng(0))
    np.testing.assert_array_equal(few, again)


# --- bad inputs -----------------------------------------------------------------------------------------------

P = np.full((4, 5), 0.2)


@pytest.mark.parametrize(
    "measure",
    [
        lambda p, labels: cnn_measures.confusion(p, labels, 5),
        lambda p, labels: cnn_measures.most_confident_mistakes(p, labels, 2),
        cnn_measures.calibration,
    ],
    ids=["confusion", "mistakes", "calibration"],
)
def test_labels_and_shapes_are_checked(measure):
    for label in (-1, 5):
        with pytest.raises(ValueError, match=rf"labels range over .*{label}.*allowed are 0..4"):
            measure(P, np.array([0, 1, 2, label]))
    with pytest.raises(
        ValueError, match=r"\(4, 5\) and labels \(3,\); expected \[N, K\] and \[N\]"
    ):
        measure(P, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"\(4,\) and labels \(4,\); expected \[N, K\] and \[N\]"):
        measure(P[:, 0], np.zeros(4, int))
    with pytest.raises(ValueError, match=r"\(0, 5\) and labels \(0,\).*N >= 1"):
        measure(P[:0], np.zeros(0, int))
    with pytest.raises(TypeError, match=r"float64; expected integers 0..4"):
        measure(P, np.zeros(4))


def test_classes_bins_and_draws_are_checked():
    labels = np.zeros(4, int)
    with pytest.raises(ValueError, match=r"logits \(4, 5\) for 7 classes; expected \[N, 7\]"):
        cnn_measures.confusion(P, labels, 7)
    with pytest.raises(ValueError, match="num_bins = 0; allowed: 1 or more"):
        cnn_measures.calibration(P, labels, 0)
    with pytest.raises(ValueError, match="draws = 0; allowed: 1 or more"):
        cnn_measures.calibration_floor(P, np.random.default_rng(0), draws=0)


@pytest.mark.parametrize("bad", [np.eye(4, 5) * 3, -P, P * np.nan], ids=["logits", "below", "nan"])
def test_logits_are_no_probabilities(bad):
    labels = np.zeros(4, int)
    for measure in (
        lambda p: cnn_measures.calibration(p, labels),
        lambda p: cnn_measures.most_confident_mistakes(p, labels, 1),
        lambda p: cnn_measures.calibration_floor(p, np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match=r"expected rows in .* sum to 1: take the softmax"):
            measure(bad)


# --- pictures -------------------------------------------------------------------------------------------------


@pytest.fixture
def _closed():
    yield
    plt.close("all")


@pytest.mark.usefixtures("_closed")
def test_product_shows_the_sum_that_stands_in_the_response():
    image = np.arange(30.0).reshape(5, 6) ** 2 % 255
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    response = np.array(
        [[(image[i : i + 3, j : j + 3] * kernel).sum() for j in range(4)] for i in range(3)]
    )
    fig = cnn_page_figures.draw_product(image, kernel, (2, 1), response)
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert titles[-1] == f"sum: {response[2, 1]:.0f}".replace("-", "−")
    window, products = ([float(t.get_text().replace("−", "-")) for t in ax.texts]
                        for ax in (fig.axes[1], fig.axes[3]))  # fmt: skip
    np.testing.assert_array_equal(window, image[2:5, 1:4].ravel())
    np.testing.assert_array_equal(products, (image[2:5, 1:4] * kernel).ravel())


@pytest.mark.usefixtures("_closed")
def test_kernels_stand_above_their_results():
    photo = np.zeros((5, 5, 3), np.uint8)
    kernels = {"edges": np.eye(3), "blur": np.ones((3, 3)) / 9}
    results = {"edges": normal((3, 3)), "blur": 300 * np.ones((3, 3, 3))}
    fig = cnn_page_figures.draw_kernels(photo, kernels, results)
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert titles == ["", "", "", "a photograph", "edges", "blur"]
    assert fig.axes[5].images[0].get_array().max() == 255  # cut, not wrapped around
    assert [t.get_text() for t in fig.axes[2].texts] == ["1/9"] * 9


@pytest.mark.usefixtures("_closed")
def test_matrix_has_the_colour_of_its_weight_in_every_entry():
    window = layers.window((5, 5), (3, 3), 1, "VALID")
    palette = cnn_page_figures.weight_colors(3)
    assert len({to_hex(color) for color in palette}) == 9
    fig = cnn_page_figures.draw_matrix(window)
    kernel, drawn = (ax.images[0].get_array() for ax in fig.axes)
    np.testing.assert_allclose(kernel[..., :3].reshape(9, 3), palette)  # [k, k, 3]
    places = equivariance.shared_weights(window)
    np.testing.assert_array_equal(drawn[..., 3], places > 0)
    np.testing.assert_allclose(drawn[places > 0][:, :3], palette[places[places > 0] - 1])
    with pytest.raises(ValueError, match="a kernel of 5 rows; allowed: 1 to 3"):
        cnn_page_figures.weight_colors(5)


@pytest.mark.usefixtures("_closed")
def test_confusion_writes_the_larger_shares_and_skips_empty_rows():
    shares = np.array([[0.96, 0.04, 0], [0.3, 0.7, 0], [np.nan] * 3])
    fig = cnn_page_figures.draw_confusion(shares, ("a", "b", "c"))
    assert [t.get_text() for t in fig.axes[0].texts] == ["96", "30", "70"]


@pytest.mark.usefixtures("_closed")
def test_reliability_draws_the_filled_bins():
    p, labels = two_classes(np.array([0.6, 0.7, 0.75, 0.8, 1.0]), np.ones(5, bool))
    found = cnn_measures.calibration(p, labels, num_bins=4)
    _, ax = plt.subplots()
    cnn_page_figures.draw_reliability(ax, found, "title", "#0072B2")
    x, y = ax.containers[0].lines[0].get_data()
    np.testing.assert_allclose(x, 100 * found.confidence[2:])
    np.testing.assert_allclose(y, [100, 100])
    assert any(f"{100 * found.error:.1f} %" in t.get_text() for t in ax.texts)


def test_numbers_are_written_as_by_hand():
    assert [cnn_page_figures.as_fraction(v) for v in (3.0, -0.5, 1 / 9, np.float32(-1 / 16))] == [
        "3", "−1/2", "1/9", "−1/16",
    ]  # fmt: skip


def test_text_is_dark_on_light_ground_and_light_on_dark():
    assert cnn_page_figures.on_ground((1, 1, 1)) == cnn_page_figures.DARK
    assert cnn_page_figures.on_ground((0, 0, 0.5, 1)) == cnn_page_figures.LIGHT


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_spread_with_the_least_squares_of_moves(seed):
    """Against scipy's constrained minimum."""
    wanted, gap = np.random.default_rng(seed).uniform(0, 10, 5), 2.5
    found = cnn_page_figures.spread(wanted, gap)
    order = np.argsort(wanted)
    assert np.diff(found[order]).min() >= gap - 1e-9
    limits = [{"type": "ineq", "fun": lambda h, i=i: h[order[i + 1]] - h[order[i]] - gap}
              for i in range(4)]  # fmt: skip
    best = minimize(lambda h: ((h - wanted) ** 2).sum(), wanted, constraints=limits)
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    np.testing.assert_array_equal(cnn_page_figures.spread([5, 1, 9], 2), [5, 1, 9])


@pytest.mark.usefixtures("_closed")
def test_curves_over_shifts_are_in_percent_and_named():
    curves = {"a": np.array([1, 0.5]), "b": np.array([0.9, 0.49])}
    errors = {name: np.array([0.02, 0.04]) for name in curves}
    fig = cnn_page_figures.draw_over_shifts(curves, (1, 4), ("data", "theory"), "kept (%)", errors)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.texts] == ["a", "b"]
    for (name, values), drawn in zip(curves.items(), ax.containers, strict=True):
        np.testing.assert_allclose(drawn.lines[0].get_ydata(), 100 * values)
        (bars,) = drawn.lines[2]
        low = [segment[0, 1] for segment in bars.get_segments()]
        np.testing.assert_allclose(low, 100 * (values - errors[name]))

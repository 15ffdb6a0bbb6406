"""Measures on features: closed forms, SciPy, double loops over pairs, simulation, and every error."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from imgbook import metrics


def normal(n: int, d: int, seed: int = 0, scale: object = 1.0, shift: object = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def covariance(d: int, rank: int, seed: int) -> np.ndarray:
    root = normal(d, rank, seed)
    return root @ root.T


# --- Fréchet distance -----------------------------------------------------------------------------------------


def test_frechet_of_gaussians_with_one_basis_is_that_of_their_standard_deviations():
    """|m1 - m2|^2 + sum (s1 - s2)^2, in the axes and rotated."""
    m1, m2, s1, s2 = (
        np.array([0, 1, 2.0]),
        np.array([1, 1, 0.0]),
        np.array([1, 2, 0.0]),
        np.arange(3.0),
    )
    rotation, _ = np.linalg.qr(normal(3, 3))
    for basis in (np.eye(3), rotation):
        covs = [basis * s**2 @ basis.T for s in (s1, s2)]
        value = metrics.frechet_distance_from_moments(basis @ m1, covs[0], basis @ m2, covs[1])
        assert value == pytest.approx(5 + (1 + 1 + 4), rel=1e-7)


@pytest.mark.parametrize(("rank1", "rank2"), [(6, 6), (6, 3), (2, 3), (1, 1), (0, 6), (0, 0)])
def test_frechet_agrees_with_a_matrix_square_root(rank1, rank2):
    cov1, cov2, zero = covariance(6, rank1, 1), covariance(6, rank2, 2), np.zeros(6)
    # SciPy's root of a product of any rank is that of a symmetric matrix: roots outside, cov2 within.
    root = np.real(sqrtm(cov1 + 1e-14 * np.eye(6)))
    inner = np.real(sqrtm(root @ cov2 @ root + 1e-14 * np.eye(6)))
    expected = np.trace(cov1) + np.trace(cov2) - 2 * np.trace(inner)
    value = metrics.frechet_distance_from_moments(zero, cov1, zero, cov2)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [(200, 5), (10, 40), (2, 3)])
def test_frechet_of_a_set_with_itself_is_zero_also_with_fewer_rows_than_features(n, d):
    x = normal(n, d, scale=100.0)
    assert 0 <= metrics.frechet_distance(x, x[::-1]) < 1e-8 * x.var(axis=0).sum()


def test_frechet_is_symmetric_and_uses_unbiased_covariances():
    x, y = normal(30, 50, 1), normal(70, 50, 2, scale=2.0, shift=1.0)
    assert metrics.frechet_distance(x, y) == pytest.approx(
        metrics.frechet_distance(y, x), rel=1e-10
    )
    x, y = np.array([[0.0], [2.0]]), np.array([[0], [0], [3]])  # variances 2 and 3
    assert metrics.frechet_distance(x, y) == pytest.approx((2**0.5 - 3**0.5) ** 2)
    mean, cov = metrics.moments(y)
    np.testing.assert_allclose((mean[0], cov[0, 0]), (1, 3))


SPECTRA = [np.ones(12), np.array([4.0, 1, 1, 0.3, 0.1, 0.01, 0, 0])]


@pytest.mark.parametrize("spectrum", SPECTRA, ids=["equal", "unequal"])
def test_the_bias_formula_holds_in_simulation(spectrum):
    """Two samples of 150 and 100 rows; one sample of 100 against the moments themselves."""
    d, rng, repeats = len(spectrum), np.random.default_rng(0), 400
    basis, _ = np.linalg.qr(rng.normal(size=(d, d)))
    root, zero, cov = basis * np.sqrt(spectrum), np.zeros(d), basis * spectrum @ basis.T
    two, one = [], []
    for _ in range(repeats):
        x, y = rng.normal(size=(150, d)) @ root.T, rng.normal(size=(100, d)) @ root.T
        two.append(metrics.frechet_distance(x, y))
        one.append(metrics.frechet_distance_from_moments(*metrics.moments(y), zero, cov))
    assert np.mean(two) == pytest.approx(metrics.frechet_bias(cov, 150, 100), rel=0.06)
    assert np.mean(one) == pytest.approx(metrics.frechet_bias(cov, 100), rel=0.06)


def test_the_bias_of_equal_variances_in_closed_form():
    d, n = 64, 1000
    bias = metrics.frechet_bias(np.eye(d), n, n)
    assert bias == pytest.approx((d * (d + 1) / 2 + 2 * d) / n, rel=2e-3)
    assert metrics.frechet_bias(4 * np.eye(d), n, n) == pytest.approx(4 * bias)
    assert metrics.frechet_bias(np.zeros((2, 2)), n) == 0
    assert metrics.frechet_bias(np.eye(d), n, 10**12) == pytest.approx(
        metrics.frechet_bias(np.eye(d), n)
    )


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_extrapolation_takes_the_bias_off(shift):
    """Means over 60 pairs of sets, of the same law and of two whose distance is 8 shift^2."""
    pairs = [(normal(200, 8, 2 * i), normal(260, 8, 2 * i + 1, shift=shift)) for i in range(60)]
    plain = np.array([metrics.frechet_distance(x, y) for x, y in pairs])
    values, slopes, sizes, distances = zip(
        *(metrics.frechet_extrapolated(x, y) for x, y in pairs), strict=True
    )
    bias, truth = metrics.frechet_bias(np.eye(8), 200, 260), 8 * shift**2
    assert plain.mean() - truth > 0.7 * bias
    assert abs(np.mean(values) - truth) < min(0.4 * bias, 4 * np.std(values) / 60**0.5)
    assert sizes[0].tolist() == [200, 100, 66, 50, 40]
    line = np.mean(values) + np.mean(slopes) / sizes[0]
    np.testing.assert_allclose(np.mean(distances, axis=0), line, rtol=0.03)
    if not shift:
        slope = 200 * metrics.frechet_bias(np.eye(8), 200, 200)
        assert np.mean(slopes) == pytest.approx(slope, rel=0.05)


def test_extrapolation_is_the_same_for_the_same_seed_and_takes_sizes():
    x, y = normal(90, 4, 1), normal(90, 4, 2)
    one, same, other = (
        metrics.frechet_extrapolated(x, y, sizes=(30, 60), seed=s) for s in (1, 1, 2)
    )
    value, _, _, distances = one
    assert value == same[0] != other[0]
    assert value == pytest.approx(2 * distances[1] - distances[0])  # 1/30 is twice 1/60


# --- Kernel distance ------------------------------------------------------------------------------------------


def loops_kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    def mean(a, b, same):
        return np.mean([
            (np.dot(p, q) / len(p) + 1) ** 3
            for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)
        ])  # fmt: skip

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("block", [metrics.BLOCK, 5])
def test_kernel_distance_agrees_with_double_loops_in_blocks_of_any_size(block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    x, y = normal(9, 4, 1, shift=2.0), normal(13, 4, 2)
    estimate, error = metrics.kernel_distance(x, y)
    assert estimate == pytest.approx(loops_kernel_distance(x, y), rel=1e-10)
    assert metrics.kernel_distance(y, x) == pytest.approx((estimate, error), rel=1e-10)


# Different means, so that single rows decide; and one law, where the estimate is degenerate: pairs decide, and an
# error somewhat too large is right. Many features make the degenerate case sharp, few rows far from 0 the other.
@pytest.mark.parametrize(
    ("d", "m", "n", "offset", "shift", "least", "most"),
    [
        (5, 40, 60, 0.0, 0.5, 0.9, 1.2),
        (5, 40, 60, 1.5, 0.5, 0.9, 1.2),
        (20, 10, 10, 3.0, 0.5, 0.93, 1.2),
        (5, 40, 60, 0.0, 0.0, 0.95, 2.0),
        (5, 40, 60, 1.5, 0.0, 0.95, 2.0),
        (60, 40, 60, 0.0, 0.0, 0.95, 1.6),
    ],
)
def test_kernel_distance_is_unbiased_and_its_standard_error_honest(
    d, m, n, offset, shift, least, most
):
    repeats = 1200
    rng = np.random.default_rng(3)
    pairs = [
        (rng.normal(size=(m, d)) + offset, rng.normal(size=(n, d)) + offset + shift)
        for _ in range(repeats)
    ]
    values, errors = np.array([metrics.kernel_distance(x, y) for x, y in pairs]).T

    def expected(a, b):
        """E (x.y / d + 1)^3 of independent x, y around means a, b, by the moments of the d products x_i y_i."""
        p, p2, p3 = a * b, (1 + a**2) * (1 + b**2), (a**3 + 3 * a) * (b**3 + 3 * b)
        t, t2 = d * p, d * p2 + d * (d - 1) * p**2
        t3 = d * p3 + 3 * d * (d - 1) * p2 * p + d * (d - 1) * (d - 2) * p**3
        return t3 / d**3 + 3 * t2 / d**2 + 3 * t / d + 1

    a, b = offset, offset + shift
    truth = expected(a, a) + expected(b, b) - 2 * expected(a, b)
    assert abs(values.mean() - truth) < 4 * values.std() / repeats**0.5
    ratio = (errors**2).mean() / values.var(ddof=1)
    assert least < ratio < most, ratio


def test_kernel_distance_in_blocks_is_the_mean_over_disjoint_blocks():
    x, y = normal(22, 3, 1, shift=1.0), normal(17, 3, 2)
    estimate, error = metrics.kernel_distance(x, y, block_size=5, seed=4)
    rng = np.random.default_rng(4)
    a, b = rng.permutation(x), rng.permutation(y)
    values = [loops_kernel_distance(a[i : i + 5], b[i : i + 5]) for i in (0, 5, 10)]
    assert estimate == pytest.approx(np.mean(values))
    assert error == pytest.approx(np.std(values, ddof=1) / 3**0.5)


def test_kernel_distance_in_blocks_does_not_depend_on_the_order_of_classes():
    """Rows sorted by class in one set and reversed in the other are still one law."""
    x = np.repeat(np.eye(4) * 3, 100, axis=0) + normal(400, 4, 1)
    y = np.repeat(np.eye(4)[::-1] * 3, 100, axis=0) + normal(400, 4, 2)
    estimate, error = metrics.kernel_distance(x, y, block_size=50)
    assert abs(estimate) < 4 * error


# --- Neighbours -----------------------------------------------------------------------------------------------


def loops_precision(real: np.ndarray, fake: np.ndarray, k: int) -> float:
    """Share of fakes in a ball of a real."""
    radii = [
        sorted(np.linalg.norm(p - q) for j, q in enumerate(real) if i != j)[k - 1]
        for i, p in enumerate(real)
    ]
    inside = [
        any(np.linalg.norm(p - q) <= r for p, r in zip(real, radii, strict=True)) for q in fake
    ]
    return float(np.mean(inside))


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("integers", [False, True])
def test_precision_and_recall_agree_with_double_loops(k, integers, monkeypatch):
    """Also for integers, of which many lie exactly at the edge of a ball or are duplicates."""
    monkeypatch.setattr(metrics, "BLOCK", 40)
    for seed in range(5):
        real, fake = normal(12, 2, seed, scale=2.0), normal(17, 2, 99 + seed, scale=3.0, shift=1.0)
        if integers:
            real, fake = np.rint(real).astype(int), np.rint(fake).astype(int)
        found = metrics.precision_recall(real=real, fake=fake, k=k)
        assert found == (loops_precision(real, fake, k), loops_precision(fake, real, k))
        assert metrics.precision_recall(real=fake, fake=real, k=k) == found[::-1]


def test_identical_sets_have_precision_and_recall_one_also_with_duplicates():
    x = normal(40, 30, shift=1000.0)
    for real in (x, np.repeat(x, 2, axis=0), x.astype(np.float32)):
        assert metrics.precision_recall(real=real, fake=real[::-1]) == (1, 1)


def test_fakes_that_are_one_point():
    """Their balls have radius 0: only reals equal to the point are recalled."""
    real = np.array([[0.0], [1], [2], [3], [4], [5], [6], [7]])
    assert metrics.precision_recall(real=real, fake=np.full((5, 1), 2.5)) == (1, 0)
    assert metrics.precision_recall(real=real, fake=np.full((5, 1), 3)) == (1, 1 / 8)
    assert metrics.precision_recall(real=real, fake=np.full((5, 1), 50.0)) == (0, 0)


def test_a_duplicate_is_a_neighbour_and_the_point_itself_is_not():
    real = np.array([[0.0], [0.0], [10.0], [11.0]])
    fake = np.array([[0.5], [9.5], [30.0], [70.0]])
    # Balls of reals, k = 1: radius 0, 0, 1, 1; of fakes: 9, 9, 20.5, 40.
    assert metrics.precision_recall(real=real, fake=fake, k=1) == (0.25, 1)


@pytest.mark.parametrize("block", [metrics.BLOCK, 40])
def test_nearest_neighbours_agree_with_sorting_all_distances(block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    queries, training = normal(11, 6, 1, shift=500.0), normal(23, 6, 2, shift=500.0)
    training[7] = queries[3]
    distances = np.linalg.norm(queries[:, None] - training, axis=-1)
    for k in (1, 4, 23):
        found, values = metrics.nearest_neighbours(queries, training, k)
        np.testing.assert_array_equal(found, np.argsort(distances, axis=1)[:, :k])
        np.testing.assert_allclose(values, np.sort(distances, axis=1)[:, :k], rtol=1e-9)
    assert found[3, 0] == 7
    assert values[3, 0] == 0


def test_nearest_neighbours_of_one_flattened_image():
    training = np.random.default_rng(0).integers(0, 256, (5, 28 * 28)).astype(np.uint8)
    found, distances = metrics.nearest_neighbours(training[2:3], training)
    assert (found.tolist(), distances.tolist()) == ([[2]], [[0.0]])


# --- Classes --------------------------------------------------------------------------------------------------


def test_classifier_score_between_one_and_the_number_of_classes():
    sure = 1e4 * np.eye(4)
    assert metrics.classifier_score(np.tile(sure, (3, 1))) == pytest.approx(4)
    assert metrics.classifier_score(np.tile(sure[0], (6, 1))) == 1
    assert metrics.classifier_score(normal(5, 4)[:1].repeat(3, axis=0)) == pytest.approx(1)
    # Two images, p(y|x) = (a, 1 - a) and the reverse: the mean KL to (1/2, 1/2).
    a = 0.8
    logits = np.log([[a, 1 - a], [1 - a, a]]) + 100
    expected = np.exp(a * np.log(2 * a) + (1 - a) * np.log(2 * (1 - a)))
    assert metrics.classifier_score(logits) == pytest.approx(expected)


def test_shares_entropy_and_total_variation():
    shares = metrics.class_shares(np.array([0, 2, 2, 2], np.uint8), 4)
    np.testing.assert_allclose(shares, [0.25, 0, 0.75, 0])
    assert metrics.entropy(shares) == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    assert metrics.entropy(np.full(10, 0.1, np.float32)) == pytest.approx(np.log(10))
    assert metrics.entropy([1, 0]) == 0
    assert metrics.total_variation(shares, np.full(4, 0.25)) == pytest.approx(0.5)
    assert metrics.total_variation([1, 0], [0, 1]) == 1
    assert metrics.total_variation(shares, shares) == 0


# --- What comes in --------------------------------------------------------------------------------------------

MEASURES = {
    "frechet": metrics.frechet_distance,
    "extrapolated": lambda x, y: metrics.frechet_extrapolated(x, y)[:2],
    "kernel": metrics.kernel_distance,
    "blocks": lambda x, y: metrics.kernel_distance(x, y, block_size=8),
    "precision": lambda x, y: metrics.precision_recall(real=x, fake=y),
    "neighbours": lambda x, y: metrics.nearest_neighbours(x, y, 2)[1],
    "moments": lambda x, y: metrics.moments(x)[1],
    "classifier": lambda x, y: metrics.classifier_score(x),
}
measures = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


@measures
def test_float32_and_integers_are_measured_as_float64_and_left_as_they_are(measure):
    x, y = normal(40, 3, 1, scale=20, shift=100.0), normal(50, 3, 2, scale=20, shift=90.0)
    for dtype in (np.float32, np.int16, np.uint8):
        a, b = x.astype(dtype), y.astype(dtype)
        before = a.copy()
        np.testing.assert_array_equal(measure(a, b), measure(a.astype(float), b.astype(float)))
        np.testing.assert_array_equal(a, before)
    np.testing.assert_allclose(measure(x.astype(np.float32), y), measure(x, y), rtol=1e-4)


@measures
def test_bad_arrays_are_refused(measure):
    good = normal(40, 3)
    for bad, error, words in (
        (np.where(np.arange(40)[:, None] == 7, np.nan, good), ValueError, "3 NaN or infinite"),
        (np.where(good == good.max(), np.inf, good), ValueError, "1 NaN or infinite"),
        (good[0], ValueError, r"shape \(3,\); expected \[N, "),
        (good.reshape(40, 3, 1), ValueError, r"\(40, 3, 1\).*reshape"),
        (good[:, :0], ValueError, r"\(40, 0\)"),
        (good[:0], ValueError, "0 rows; give at least"),
        (good.astype(complex), TypeError, "complex128"),
        (good.astype(str), TypeError, "<U"),
        (good > 0, TypeError, "bool"),
    ):
        with pytest.raises(error, match=words):
            measure(bad, good)


PAIRS = [name for name in MEASURES if name not in ("moments", "classifier")]


@pytest.mark.parametrize("name", PAIRS)
def test_sets_of_different_widths_are_refused(name):
    with pytest.raises(ValueError, match=r"has 3 features a row, .* 4; give both the same"):
        MEASURES[name](normal(40, 3), normal(40, 4))


COV, ZERO = np.eye(3), np.zeros(3)
from_moments = metrics.frechet_distance_from_moments
X = normal(20, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.frechet_distance(X, X[:1]), ValueError, "fake has 1 rows; give at least 2"),
        (lambda: metrics.moments(X[:1]), ValueError, "features has 1 rows"),
        (lambda: metrics.kernel_distance(X[:3], X), ValueError, "real has 3 rows; give at least 4"),
        (lambda: metrics.precision_recall(real=X, fake=X[:1]), ValueError, "fake has 1 rows"),
        (lambda: metrics.classifier_score(X[:1]), ValueError, "logits has 1 rows"),
        (lambda: from_moments(ZERO, COV, ZERO[:2], COV), ValueError, r"\[3, 3, 2, 3\]"),
        (lambda: from_moments(ZERO, COV[:2], ZERO, COV), ValueError, r"cov1 has shape \(2, 3\)"),
        (lambda: from_moments(COV, COV, ZERO, COV), ValueError, r"mean1 has shape \(3, 3\); expected \[D\]"),
        (lambda: from_moments(ZERO, COV, ZERO, np.tri(3)), ValueError, "cov2 is asymmetric by 1, "),
        (lambda: from_moments(ZERO, COV, ZERO, -COV), ValueError, "least eigenvalue is -1"),
        (lambda: from_moments(ZERO, COV, ZERO, np.nan * COV), ValueError, "cov2 has 9 NaN"),
        (lambda: metrics.frechet_bias(COV, 1), ValueError, "n = 1; allowed: 2"),
        (lambda: metrics.frechet_bias(COV, 5, 1), ValueError, "m = 1; allowed: 2"),
        (lambda: metrics.frechet_bias(COV, 5.0), TypeError, "n = 5.0; allowed: an integer"),
        (lambda: metrics.frechet_bias(COV[:2], 5), ValueError, r"\(2, 3\); expected \[D, D\]"),
        (lambda: metrics.frechet_extrapolated(X[:11], X), ValueError, r"\[11\]; give two different, or 12 rows"),
        (lambda: metrics.frechet_extrapolated(X, X, sizes=[10]), ValueError, "two different"),
        (lambda: metrics.frechet_extrapolated(X, X, sizes=[10, 10]), ValueError, "two different"),
        (lambda: metrics.frechet_extrapolated(X, X, sizes=[10, 21]), ValueError, "sizes = 21; allowed: 2 to 20"),
        (lambda: metrics.kernel_distance(X, X, block_size=11), ValueError, "block_size = 11; allowed: 4 to 10"),
        (lambda: metrics.kernel_distance(X, X, block_size=3), ValueError, "block_size = 3; allowed: 4 to 10"),
        (lambda: metrics.kernel_distance(X, X, block_size=5.0), TypeError, "block_size = 5.0"),
        (lambda: metrics.precision_recall(real=X, fake=X[:8], k=8), ValueError, "k = 8; allowed: 1 to 7"),
        (lambda: metrics.precision_recall(real=X, fake=X, k=0), ValueError, "k = 0; allowed: 1 to 19"),
        (lambda: metrics.precision_recall(real=X, fake=X, k=True), TypeError, "k = True"),
        (lambda: metrics.nearest_neighbours(X, X, 21), ValueError, "k = 21; allowed: 1 to 20"),
        (lambda: metrics.nearest_neighbours(X, X, 0), ValueError, "k = 0"),
        (lambda: metrics.class_shares([0, 1.5], 3), TypeError, "float64; allowed: integers"),
        (lambda: metrics.class_shares([0, 3], 3), ValueError, "labels hold 3; allowed: 0 to 2"),
        (lambda: metrics.class_shares([-1, 2], 3), ValueError, "labels hold -1; allowed: 0 to 2"),
        (lambda: metrics.class_shares(np.zeros(0, int), 3), ValueError, "labels has 0 rows"),
        (lambda: metrics.class_shares([[0, 1]], 3), ValueError, r"\(1, 2\); expected \[N\]"),
        (lambda: metrics.class_shares([0], 0), ValueError, "num_classes = 0"),
        (lambda: metrics.entropy([0.5, 0.4]), ValueError, "shares sum to 0.9"),
        (lambda: metrics.entropy([1.5, -0.5]), ValueError, "smallest is -0.5"),
        (lambda: metrics.total_variation([0.5, 0.5], [3, 7]), ValueError, "reference sum to 10"),
        (lambda: metrics.total_variation([0.5, 0.5], [1.0]), ValueError, "2 classes, reference 1"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()

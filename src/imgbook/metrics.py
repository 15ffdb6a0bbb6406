"""Measures of generated images on arrays of features `[N, D]`: distances of two sets, coverage, shares of classes.

All arithmetic is NumPy's in float64; rows-by-rows matrices are computed in blocks. Raised everywhere: TypeError for
what is not real numbers; ValueError for NaN, infinite values, wrong shapes, too few rows and unequal widths.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK = 2**23  # entries of one block of a rows-by-rows matrix: 64 MB in float64


def _real(name: str, value: object, axes: str = "[N, D]", rows: int = 1) -> np.ndarray:
    """`value` as finite float64 with such axes and at least so many rows."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}; convert it to floats or integers")
    uneven = axes == "[D, D]" and len(set(array.shape)) > 1
    if array.ndim != axes.count(",") + 1 or 0 in array.shape[1:] or uneven:
        raise ValueError(f"{name} has shape {array.shape}; expected {axes}, .reshape it so")
    if len(array) < rows:
        raise ValueError(f"{name} has {len(array)} rows; give at least {rows}")
    array = array.astype(np.float64)
    if bad := array.size - np.count_nonzero(np.isfinite(array)):
        raise ValueError(f"{name} has {bad} NaN or infinite values; give finite ones only")
    return array


def _pair(rows: int, **sets: object) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features, checked, of one width."""
    (a, x), (b, y) = [(name, _real(name, value, rows=rows)) for name, value in sets.items()]
    if (d := x.shape[1]) != (other := y.shape[1]):
        raise ValueError(f"{a} has {d} features a row, {b} {other}; give both the same features")
    return x, y


def _whole(name: str, value: object, low: int, high: float, why: str = "") -> int:
    """`value` as an int from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} = {value!r}; allowed: an integer")
    if not low <= value <= high:
        raise ValueError(f"{name} = {value}; allowed: {low} to {high}{why}")
    return int(value)


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[D]` and unbiased covariance `[D, D]` (divided by N - 1) of features `[N, D]`, N at least 2."""
    x = _real("features", features, rows=2)
    return x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))


def _eigen(name: str, covariance: object) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues `[D]`, not below 0, and eigenvectors `[D, D]` of a covariance."""
    s = _real(name, covariance, "[D, D]")
    values, vectors = np.linalg.eigh((s + s.T) / 2)
    error, least = np.abs(s - s.T).max(), values[0]
    if error > 1e-5 * np.abs(s).max() or least < -1e-5 * values[-1]:  # what float32 leaves
        found = f"{name} is asymmetric by {error:.3g}, its least eigenvalue is {least:.3g}"
        raise ValueError(f"{found}; allowed: symmetric, 0 or more; give a covariance of moments()")
    return values.clip(0), vectors


def frechet_distance_from_moments(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of means `[D]` and covariances `[D, D]`, of any rank.

    The squared Fréchet (Wasserstein-2) distance of two Gaussians in squared units of the features, at least 0: Heusel
    et al. 2017, eq. 6. Raises ValueError also for covariances that are not symmetric or have negative eigenvalues.
    """
    mean1, mean2 = _real("mean1", mean1, "[D]"), _real("mean2", mean2, "[D]")
    (values1, vectors1), (values2, vectors2) = _eigen("cov1", cov1), _eigen("cov2", cov2)
    widths = [len(part) for part in (mean1, values1, mean2, values2)]
    if len(set(widths)) > 1:
        raise ValueError(f"mean1, cov1, mean2, cov2 have widths {widths}; give all the same")
    # With S = root root^T the singular values of root1^T root2 are the roots of S1^(1/2) S2 S1^(1/2)'s eigenvalues, but
    # exact to rounding: the error e of an eigenvalue near 0 would be e^(1/2) in its root.
    root1, root2 = vectors1 * np.sqrt(values1), vectors2 * np.sqrt(values2)
    cross = np.linalg.svd(root1.T @ root2, compute_uv=False).sum()
    return max(0.0, float(((mean1 - mean2) ** 2).sum() + values1.sum() + values2.sum() - 2 * cross))


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Squared Fréchet distance of Gaussian fits to features `[N, D]` and `[M, D]`: the FID in these features.

    In squared units, at least 0, symmetric (Heusel et al. 2017, eq. 6); covariances are unbiased; N, M at least 2.
    0 does not mean the same law, and few rows make the distance too large: see `frechet_bias`.
    """
    real, fake = _pair(2, real=real, fake=fake)
    return frechet_distance_from_moments(*moments(real), *moments(fake))


def frechet_bias(covariance: np.ndarray, n: int, m: int | None = None) -> float:
    """What `frechet_distance` is on average for two samples, of n and of m rows, of one Gaussian law: not 0.

    covariance `[D, D]`: S of the law, of any rank, with eigenvalues l_i. n, m at least 2; without m the second side is
    the law itself. To second order in E, the difference of the sample covariances in the basis of S, the distance is
    |m1 - m2|^2 + 1/2 sum_ij E_ij^2 / (l_i + l_j) (the Bures metric), and for Gaussian features the mean of E_ij^2 is
    l_i l_j (1 + [i = j]) (1/(n - 1) + 1/(m - 1)). So the bias is

        Tr(S) (1/n + 1/m) + 1/2 (1/(n - 1) + 1/(m - 1)) sum_ij (1 + [i = j]) l_i l_j / (l_i + l_j),

    about [2 D + D (D + 1) / 2] / n for S = I, n = m. It holds from n = D on; for two laws see `frechet_extrapolated`.
    """
    values, _ = _eigen("covariance", covariance)
    sizes = [_whole("n", n, 2, np.inf)] + ([] if m is None else [_whole("m", m, 2, np.inf)])
    total = values[:, None] + values
    pairs = np.outer(values, values) / np.where(total > 0, total, 1)
    both = pairs.sum() + np.trace(pairs)
    return float(sum(values.sum() / size + both / (2 * (size - 1)) for size in sizes))


def frechet_extrapolated(
    real: np.ndarray, fake: np.ndarray, *, sizes: Sequence[int] | None = None, seed: int = 0
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """(value, slope, sizes, distances): the line value + slope / size through Fréchet distances at several sizes.

    The value at infinitely many rows is the distance without its first-order bias, below 0 at times by noise: Chong and
    Forsyth 2020, but with both sets sampled at each size, so that the bias of the reference goes too. One of
    the distances `[K]` is the mean over disjoint samples of n shuffled rows, as many as the smaller set (N rows) has.
    sizes: two or more different ones of 2 to N; by default N, N/2, ... N/5 while at least 2 D: below D no line holds.
    """
    real, fake = _pair(2, real=real, fake=fake)
    rows, width = min(len(real), len(fake)), real.shape[1]
    if sizes is None:
        sizes = [rows // part for part in range(1, 6) if part == 1 or rows // part >= 2 * width]
    sizes = np.array([_whole("sizes", n, 2, rows, ", the smaller set's rows") for n in sizes])
    if len(np.unique(sizes)) < 2:
        raise ValueError(f"sizes = {sizes.tolist()}; give two different, or {4 * width} rows")
    rng = np.random.default_rng(seed)
    real, fake = rng.permutation(real), rng.permutation(fake)
    distances = np.empty(len(sizes))
    for i, n in enumerate(sizes):
        parts = [slice(j, j + n) for j in range(0, rows - n + 1, n)]
        distances[i] = np.mean([frechet_distance(real[part], fake[part]) for part in parts])
    slope, value = np.polyfit(1 / sizes, distances, 1)
    return float(value), float(slope), sizes, distances


def _matrix(entries: Callable, x: np.ndarray, y: np.ndarray, own: float = 0.0) -> Iterator[tuple]:
    """Blocks of rows (slice, `entries(x[slice], y)`) of at most BLOCK entries; `own` on the diagonal if x is y."""
    step = max(1, BLOCK // len(y))
    for start in range(0, len(x), step):
        matrix = entries(x[start : start + step], y)
        if x is y:
            matrix[np.arange(len(matrix)), np.arange(start, start + len(matrix))] = own
        yield slice(start, start + step), matrix


def _cubic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3 of all pairs of rows, `[len(x), len(y)]`."""
    k = x @ y.T / x.shape[1] + 1
    return k * k * k


def _gram_sums(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Sums of rows, of columns and of squares of the kernel matrix of x and y, without the diagonal if x is y."""
    rows, columns, squares = [], np.zeros(len(y)), 0.0
    for _, k in _matrix(_cubic, x, y):
        rows.append(k.sum(axis=1))
        columns += k.sum(axis=0)
        squares += float(np.vdot(k, k))
    return np.concatenate(rows), columns, squares


def _mmd(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Unbiased MMD^2 of whole sets and its standard error (see `kernel_distance`); at least 4 rows each."""
    m, n = len(x), len(y)
    cross_x, cross_y, squares = _gram_sums(x, y)
    total = cross_x.sum()
    # The mean square of what x and y do to k together, beside what each does alone (double centring).
    both = squares - (cross_x**2).sum() / n - (cross_y**2).sum() / m + total**2 / (m * n)
    both = max(0.0, both / ((m - 1) * (n - 1)))
    estimate, variance = -2 * total / (m * n), 4 * both / (m * n)
    for own, size, cross, other in ((x, m, cross_x, n), (y, n, cross_y, m)):
        rows, _, squares = _gram_sums(own, own)
        total = rows.sum()
        estimate += total / (size * (size - 1))
        pairs = squares - 2 / (size - 2) * (rows**2).sum() + total**2 / ((size - 1) * (size - 2))
        pairs = max(0.0, pairs / (size * (size - 3)))  # the same within one set (U-centring)
        # The projection on single rows, in which size - 2 makes a row's own effect count once; its variance holds
        # some of `pairs` and `both`, which is taken off.
        single = (rows / (size - 2) - cross / other).var(ddof=1) - pairs / (size - 2) - both / other
        variance += 4 * max(0.0, single) / size + 2 * pairs / (size * (size - 1))
    return float(estimate), float(np.sqrt(variance))


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, *, block_size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Unbiased MMD^2 with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018: KID), and its standard error.

    real `[N, D]`, fake `[M, D]`, at least 4 rows each; no unit; around 0, so also below, for samples of the same law.
    Without block_size: all pairs of rows; the standard error is the root of the U-statistic's variance by Hoeffding,
    4 s_x / N + 4 s_y / M + 2 s_xx / N(N - 1) + 2 s_yy / M(M - 1) + 4 s_xy / NM, each s estimated without bias, then
    clipped at 0: near the same law, where the last three terms are all there is, it is somewhat too large. With
    block_size B, 4 to half the smaller set: mean and its standard error over disjoint pairs of blocks of B rows,
    shuffled by `seed`, as many as the smaller set has; the rows beyond are left out.
    """
    x, y = _pair(4, real=real, fake=fake)
    if block_size is None:
        return _mmd(x, y)
    rows = min(len(x), len(y))
    size = _whole("block_size", block_size, 4, rows // 2, f": two blocks in {rows} rows at least")
    rng = np.random.default_rng(seed)
    x, y = rng.permutation(x), rng.permutation(y)
    values = [_mmd(x[i : i + size], y[i : i + size])[0] for i in range(0, rows - size + 1, size)]
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances of all pairs of rows, `[len(x), len(y)]`, to the rounding of |x|^2 + |y|^2."""
    return (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)


def _nearest(x: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`nearest_neighbours` of checked sets; if x is y, a row is not its own neighbour."""
    found = []
    for block, d in _matrix(_squared_distances, x, y, own=np.inf):
        near = np.sort(np.argpartition(d, k - 1, axis=1)[:, :k], axis=1)
        exact = np.stack([np.linalg.norm(x[block] - y[j], axis=1) for j in near.T], axis=1)
        order = exact.argsort(axis=1, kind="stable")
        found.append([np.take_along_axis(a, order, axis=1) for a in (near, exact)])
    return tuple(np.concatenate(blocks) for blocks in zip(*found, strict=True))


def nearest_neighbours(
    queries: np.ndarray, training: np.ndarray, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and distances `[N, k]` of the k rows of training `[M, D]` nearest to queries `[N, D]`, nearest first.

    Euclidean, in units of the features (of pixels, where images are flattened). k is 1 to M.
    """
    x, y = _pair(1, queries=queries, training=training)
    return _nearest(x - y[0], y - y[0], _whole("k", k, 1, len(y), ", the rows of training"))


def precision_recall(*, real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2) of `[N, D]` and `[M, D]`, each in [0, 1].

    Precision is the share of fakes in the ball of any real, up to its k-th nearest other real (a duplicate counts);
    recall of reals in that of any fake. The edge belongs to the ball. k is 1 to the smaller set's rows less one.
    """
    real, fake = _pair(2, real=real, fake=fake)
    k = _whole("k", k, 1, min(len(real), len(fake)) - 1, ", less than the rows of either set")
    # An offset that all rows share would cost digits; with a row taken off, integers stay integers.
    x, y, limits = real - real[0], fake - real[0], []
    for own in (x, y):
        squares = _nearest(own, own, k)[1][:, -1] ** 2
        # Rounding of `_squared_distances` to a point y in the ball: |y|^2 is at most 2 |x|^2 + 2 radius^2.
        slack = 8 * (x.shape[1] + 2) * np.finfo(np.float64).eps
        limits.append(squares + slack * (squares + (own * own).sum(axis=1)))
    precise, recalled = np.zeros(len(y), bool), np.zeros(len(x), bool)
    for block, d in _matrix(_squared_distances, x, y):
        precise |= (d <= limits[0][block, None]).any(axis=0)
        recalled[block] = (d <= limits[1]).any(axis=1)
    return float(precise.mean()), float(recalled.mean())


def classifier_score(logits: np.ndarray) -> float:
    """exp of mean KL(p(y|x) || p(y)) of a classifier's logits `[N, K]`, N at least 2: 1 to K (Salimans et al. 2016)."""
    x = _real("logits", logits, "[N, K]", rows=2)
    log_p = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    log_marginal = np.logaddexp.reduce(log_p, axis=0) - np.log(len(x))
    kl = (np.exp(log_p) * (log_p - log_marginal)).sum(axis=1)
    return float(np.clip(np.exp(kl.mean()), 1, x.shape[1]))


def class_shares(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares `[num_classes]` of the classes among integer labels `[N]` in 0 to num_classes - 1; their sum is 1."""
    num_classes = _whole("num_classes", num_classes, 1, np.inf)
    if (dtype := np.asarray(labels).dtype).kind not in "iu":
        raise TypeError(f"labels have dtype {dtype}; allowed: integers, give .astype(np.int64)")
    labels = _real("labels", labels, "[N]")
    if (bad := labels[(labels < 0) | (labels >= num_classes)]).size:
        raise ValueError(f"labels hold {bad[0]:g}; allowed: 0 to {num_classes - 1}, as num_classes")
    return np.bincount(labels.astype(np.int64), minlength=num_classes) / len(labels)


def _shares(name: str, shares: object) -> np.ndarray:
    p = _real(name, shares, "[K]")
    if (low := p.min()) < 0 or abs(p.sum() - 1) > 1e-5:
        found = f"{name} sum to {p.sum():.6g}, the smallest is {low:.3g}"
        raise ValueError(f"{found}; allowed: 0 or more with sum 1, divide counts by their sum")
    return p


def entropy(shares: np.ndarray) -> float:
    """-sum p log p of shares `[K]`, in nats: 0 for a single class, log K for equal shares."""
    p = _shares("shares", shares)
    return max(0.0, float(-(p * np.log(np.where(p > 0, p, 1))).sum()))


def total_variation(shares: np.ndarray, reference: np.ndarray) -> float:
    """Half the sum of |p - q| of shares and reference, both `[K]`, in [0, 1]: the share that would have to move."""
    p, q = _shares("shares", shares), _shares("reference", reference)
    if len(p) != len(q):
        raise ValueError(f"shares have {len(p)} classes, reference {len(q)}; give the same classes")
    return min(1.0, float(np.abs(p - q).sum() / 2))

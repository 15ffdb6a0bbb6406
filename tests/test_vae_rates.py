"""The page on what a code costs: lengths of codes against brute force, scores against other libraries, its figures."""

import bz2
import io
import itertools
import lzma
import math
import zlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from imgbook import (
    data,
    records,
    training,
    vae,
    vae_compression,
    vae_exact,
    vae_outliers,
    vae_runs,
    weights,
)
from imgbook import vae_rates_figures as figures

SHAPE = (5, 4, 1)


def binary(n: int, shape: tuple = SHAPE, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, *shape)) < 0.3).astype(np.float32)


def small_vae(latent_dim: int = 1):
    config = vae.VAEConfig(image_shape=SHAPE, hidden=6, latent_dim=latent_dim)
    graphdef, state = vae.init(config, jax.random.key(0))
    return graphdef, state, training.as_module(graphdef, state)


# --- codes that know nothing of digits ----------------------------------------------------------------------------


def test_packed_pixels_can_be_unpacked():
    x = binary(7)
    bits = np.unpackbits(np.frombuffer(vae_compression.packed(x), np.uint8))
    assert len(bits) == 8 * math.ceil(x.size / 8)
    assert np.array_equal(bits[: x.size], x.ravel())
    assert not bits[x.size :].any()


def test_bits_of_a_stream_are_those_of_bytes_that_give_the_pixels_back(monkeypatch):
    x, kept = binary(40, (28, 28, 1)), {}
    decompress = {"zlib": zlib.decompress, "bz2": bz2.decompress, "lzma": lzma.decompress}
    for name, module in {"zlib": zlib, "bz2": bz2, "lzma": lzma}.items():

        def compress(content, *args, name=name, original=module.compress, **kwargs):
            kept[name] = original(content, *args, **kwargs)
            return kept[name]

        monkeypatch.setattr(module, "compress", compress)
    bits = vae_compression.stream_bits(x)
    for name, content in kept.items():
        assert decompress[name](content) == vae_compression.packed(x)
        assert bits[name] == 8 * len(content) > 0
    assert bits.keys() == decompress.keys() == kept.keys()


def keep_png(monkeypatch) -> list[bytes]:
    kept, original = [], vae_compression._png
    monkeypatch.setattr(
        vae_compression, "_png", lambda bits: kept.append(original(bits)) or kept[-1]
    )
    return kept


def test_png_files_give_their_images_back_at_one_bit_a_pixel(monkeypatch):
    x, kept = binary(3), keep_png(monkeypatch)
    bits = vae_compression.png_bits(x)
    for image, content, size in zip(x, kept, bits, strict=True):
        opened = Image.open(io.BytesIO(content))
        assert opened.mode == "1"
        assert np.array_equal(np.asarray(opened), image[..., 0] == 1)
        assert size == 8 * len(content)


def test_a_sheet_holds_every_image_once_in_order(monkeypatch):
    x, kept = binary(7), keep_png(monkeypatch)
    bits = vae_compression.sheet_bits(x, columns=3)
    sheet = np.asarray(Image.open(io.BytesIO(kept[0])))
    assert bits == 8 * len(kept[0])
    assert sheet.shape == (3 * 5, 3 * 4)
    for i, image in enumerate(x):
        row, column = divmod(i, 3)
        part = sheet[5 * row : 5 * row + 5, 4 * column : 4 * column + 4]
        assert np.array_equal(part, image[..., 0] == 1)
    assert not sheet[10:, 4:].any()


def test_the_mean_image_costs_its_cross_entropy_even_where_training_knew_one_value():
    grey = np.random.default_rng(1).integers(0, 256, (30, *SHAPE), dtype=np.uint8)
    grey[:, 0, 0], grey[:, 0, 1] = 0, 255  # pixels that never change
    x = binary(6)
    found = vae_compression.mean_image_bits(grey, x)
    p = (grey / 255.0).sum(0)
    p = (p + 0.5) / 31
    brute = [-sum(stats.bernoulli.logpmf(i.ravel(), p.ravel())) / math.log(2) for i in x]
    assert found == pytest.approx(brute, rel=1e-9)
    assert np.isfinite(found).all()


def test_mean_image_bits_are_those_of_the_likelihood_table():
    grey = np.random.default_rng(2).integers(20, 236, (400, *SHAPE), dtype=np.uint8)
    x = np.concatenate([np.asarray(vae.binarize(grey, jax.random.key(i))) for i in range(200)])
    nats = vae.mean_image_negative_log_likelihood(grey, grey)
    assert vae_compression.mean_image_bits(grey, x).mean() * math.log(2) == pytest.approx(
        nats, rel=2e-3
    )


@pytest.mark.parametrize("ink", [0, 1, 3, 6])
def test_ink_bits_are_a_number_and_a_choice_and_make_a_code(ink):
    x = np.zeros((1, 2, 3, 1))
    x.reshape(-1)[:ink] = 1
    assert vae_outliers.ink_bits(x)[0] == pytest.approx(math.log2(7) + math.log2(math.comb(6, ink)))


def test_ink_code_wastes_nothing():
    every = np.array(list(itertools.product((0, 1), repeat=8))).reshape(-1, 2, 4, 1)
    assert np.exp2(-vae_outliers.ink_bits(every)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.full((2, 3, 3, 1), 0.5), "100.0% of the pixels are neither"),
        (np.array([[[[2], [0], [0], [1]]]]), "25.0% of the pixels are neither"),
        (np.full((1, 2, 2, 1), np.nan), "neither 0 nor 1"),
        (np.zeros((3, 3, 1)), r"expected \[N, H, W, 1\]"),
        (np.zeros((2, 3, 3, 3)), r"expected \[N, H, W, 1\]"),
        (np.zeros((0, 3, 3, 1)), "none of them 0"),
    ],
)
@pytest.mark.parametrize(
    "measure",
    [
        vae_compression.stream_bits,
        vae_compression.png_bits,
        vae_compression.sheet_bits,
        vae_outliers.ink_bits,
        vae_outliers.borders,
    ],
)
def test_only_binary_images_have_a_length(measure, x, words):
    with pytest.raises(ValueError, match=words):
        measure(x)


# --- the VAE's code -----------------------------------------------------------------------------------------------


def test_what_is_sent_less_what_comes_back_is_the_negative_bound():
    _, _, model = small_vae(latent_dim=3)
    x = binary(2)
    many = jnp.asarray(np.repeat(x, 4000, axis=0))
    pixels, code, back = vae_compression.code_parts(model, many, jax.random.key(1))
    net = np.asarray(pixels + code - back, np.float64).reshape(2, -1)
    bound, _, kl = vae.elbo(model, many, jax.random.key(2))
    error = net.std(1) / net.shape[1] ** 0.5
    assert (abs(net.mean(1) + np.asarray(bound).reshape(2, -1).mean(1)) < 6 * error).all()
    assert (error < 0.1).all()
    refund = np.asarray(code - back, np.float64).reshape(2, -1).mean(1)
    assert refund == pytest.approx(np.asarray(kl).reshape(2, -1)[:, 0], abs=0.1)


def test_parts_of_the_code_are_those_of_scipy():
    _, _, model = small_vae(latent_dim=3)
    x, key = jnp.asarray(binary(4)), jax.random.key(1)
    pixels, code, back = vae_compression.code_parts(model, x, key)
    mean, logvar = (np.asarray(v, np.float64) for v in model.encoder(x))
    latents = mean + np.exp(logvar / 2) * np.asarray(jax.random.normal(key, mean.shape))
    assert code == pytest.approx(-stats.norm.logpdf(latents).sum(-1), rel=1e-4)
    proposal = stats.norm(mean, np.exp(logvar / 2))
    assert back == pytest.approx(-proposal.logpdf(latents).sum(-1), rel=1e-4)
    p = np.asarray(model.decode(jnp.asarray(latents, jnp.float32)), np.float64)
    assert pixels == pytest.approx(
        -stats.bernoulli.logpmf(np.asarray(x), p).sum((1, 2, 3)), rel=1e-4
    )


def test_lengths_are_the_bound_in_bits_and_above_the_exact_ones():
    graphdef, state, model = small_vae()
    x = binary(3)
    many = np.repeat(x, 1000, axis=0)
    lengths = vae_compression.lengths(graphdef, state, many, jax.random.key(3)).reshape(3, -1)
    grid = vae_exact.on_grid(model, jnp.asarray(x))
    exact = -np.asarray(grid.log_marginal, np.float64) / math.log(2)
    error = lengths.std(1) / 1000**0.5
    gap = np.asarray(grid.gap, np.float64) / math.log(2)
    assert (abs(lengths.mean(1) - exact - gap) < 5 * error + 1e-3).all()
    assert len(np.unique(lengths[0])) > 900  # a code of its own for each image, in each part


def test_lengths_refuse_grey_images():
    graphdef, state, _ = small_vae()
    with pytest.raises(ValueError, match="grey"):
        vae_compression.lengths(graphdef, state, np.full((2, *SHAPE), 0.5), jax.random.key(0))


def test_weight_bits_count_every_number_of_both_networks():
    _, state, _ = small_vae(latent_dim=2)
    numbers = (20 * 6 + 6) + (6 * 4 + 4) + (2 * 6 + 6) + (6 * 20 + 20)
    assert vae_compression.weight_bits(state) == 32 * numbers


def test_break_even_is_where_the_two_bills_meet():
    n = vae_compression.break_even(1000, 10, 12.5)
    assert 1000 + 10 * n == 12.5 * n
    assert vae_compression.break_even(1000, 10, 10) == math.inf
    assert vae_compression.break_even(1000, 10, 9) == math.inf


# --- outliers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_counts_pairs(levels):
    rng = np.random.default_rng(levels)
    inliers, outliers = rng.integers(0, levels, 40), rng.integers(0, levels, 23) + levels // 4
    pairs = [(o > i) + 0.5 * (o == i) for i in inliers for o in outliers]
    assert vae_outliers.auroc(inliers, outliers) == pytest.approx(np.mean(pairs))
    other = vae_outliers.auroc(outliers, inliers)
    assert other == pytest.approx(1 - np.mean(pairs))


def test_auroc_at_its_ends():
    assert vae_outliers.auroc([1, 2], [3, 4]) == 1
    assert vae_outliers.auroc([3, 4], [1, 2]) == 0
    assert vae_outliers.auroc([1, 1], [1, 1]) == 0.5


@pytest.mark.parametrize("levels", [4, 1000])
def test_rank_correlation_is_scipys(levels):
    rng = np.random.default_rng(levels)
    a = rng.integers(0, levels, 60)
    b = a**2 + rng.integers(0, 3 * levels**2, 60)
    expected = stats.spearmanr(a, b).statistic
    assert vae_outliers.rank_correlation(a, b) == pytest.approx(expected)
    assert abs(expected) < 0.9


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1, 2], [], "expected \\[N\\], with N above 0"),
        ([1, 2], [1, np.nan], "not finite"),
        ([[1, 2]], [1, 2], r"shape \(1, 2\)"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(a, b, words):
    for function in (vae_outliers.auroc, vae_outliers.rank_correlation):
        with pytest.raises(ValueError, match=words):
            function(a, b)


def test_correlation_needs_pairs_that_differ():
    with pytest.raises(ValueError, match="2 values on one side, 3 on the other"):
        vae_outliers.rank_correlation([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="all values of one side are equal"):
        vae_outliers.rank_correlation([1, 1], [1, 2])


def test_borders_count_neighbours_that_differ():
    x = binary(5)
    for image, found in zip(x[..., 0], vae_outliers.borders(x), strict=True):
        brute = sum(
            image[i, j] != image[a, b]
            for i in range(5)
            for j in range(4)
            for a, b in ((i + 1, j), (i, j + 1))
            if a < 5 and b < 4
        )
        assert found == brute


def test_moved_images_lose_what_leaves():
    x = np.arange(1, 25, dtype=np.uint8).reshape(2, 3, 4, 1)
    found = vae_outliers.moved(x, 3)
    assert (found[:, :, :3] == 0).all()
    assert np.array_equal(found[:, :, 3:], x[:, :, :1])


def test_thinned_strokes_lose_a_pixel_in_both_directions():
    x = np.zeros((1, 6, 7, 1), np.uint8)
    x[0, 1:4, 2:6] = 200
    found = vae_outliers.thinned(x)[0, ..., 0]
    expected = np.zeros((6, 7))
    expected[1:3, 2:5] = 200
    assert np.array_equal(found, expected)
    assert vae_outliers.thinned(np.full((1, 3, 3, 1), 9, np.uint8))[0, :2, :2].min() == 9


def test_other_images_are_what_they_are_called():
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
    photos = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    found = vae_outliers.other_images(digits, digits[:2], photos, rng)
    assert all(i.dtype == np.uint8 and i.shape[1:] == (4, 4, 1) for i in found.values())
    assert np.array_equal(found["inverted"].astype(int) + digits, np.full_like(digits, 255))
    assert np.array_equal(found["upside down"][0, 0], digits[0, -1])
    assert np.array_equal(found["mirrored"][0, :, 0], digits[0, :, -1])
    assert abs(found["photographs, grey"][0, 0, 0, 0] - photos[0, 2, 2].mean()) <= 0.5
    assert np.array_equal(found["only ones"], digits[:2])
    assert not found["all black"].any()
    assert len(found["all black"]) == 1
    assert 90 < found["noise"].mean() < 165
    assert found["noise"].std() > 50
    with pytest.raises(ValueError, match=r"digits \(4, 4, 1\), photographs \(3, 3, 3\)"):
        vae_outliers.other_images(digits, digits, photos[:, :3, :3], rng)
    with pytest.raises(ValueError, match="expected grey digits"):
        vae_outliers.other_images(photos, digits, photos, rng)


def test_scores_take_the_simpler_code_away():
    x, length = binary(4), np.arange(4.0)
    found = vae_outliers.scores(length, x)
    assert np.array_equal(found["code length"], length)
    assert found["less that of the ink"] == pytest.approx(length - vae_outliers.ink_bits(x))
    assert found["less that of PNG"] == pytest.approx(length - vae_compression.png_bits(x))


# --- what the page says, of the model that comes with the package -------------------------------------------------


def test_the_trained_code_beats_compressors_and_prefers_ones():
    digits, test = data.load("mnist", "train", "quick"), data.load("mnist", "test", "quick")
    graphdef, state = vae.init(vae.config_for(digits, "quick"), jax.random.key(0))
    state, _ = weights.load_trained("vae", state)
    x = vae_outliers.drawn(test.images, jax.random.key(1))
    assert x.dtype == np.float32
    assert set(np.unique(x)) == {0, 1}
    lengths = vae_compression.lengths(graphdef, state, x, jax.random.key(2))
    pixels = x.size
    best = min(vae_compression.stream_bits(x).values()) / pixels
    assert 0.185 < lengths.sum() / pixels < 0.2 < best < 1
    ones = test.labels == 1
    assert vae_outliers.auroc(lengths[~ones], lengths[ones]) < 0.1
    mirrored = vae_compression.lengths(graphdef, state, x[:, :, ::-1], jax.random.key(3))
    assert vae_outliers.auroc(lengths, mirrored) > 0.7
    assert vae_outliers.rank_correlation(lengths, vae_outliers.borders(x)) > 0.75


def test_records_have_the_rates_that_the_page_draws():
    values = records.load("vae-rates")["values"]
    means = {m: [np.mean(values[f"{b:g}/{m}"]) for b in vae_runs.BETAS] for m in ("kl", "active")}
    assert means["kl"] == sorted(means["kl"], reverse=True)
    assert means["active"][0] == 20 > means["active"][-1]
    bounds = [np.mean(values[f"{b:g}/negative_elbo"]) for b in vae_runs.BETAS]
    assert vae_runs.BETAS[int(np.argmin(bounds))] == 1


def test_records_have_what_the_page_says_of_lost_codes():
    values = records.load("vae-collapse")["values"]
    kl = {name: np.mean(values[f"{name}/kl"]) for name in vae_runs.COLLAPSE}
    bound = {name: np.mean(values[f"{name}/negative_elbo"]) for name in vae_runs.COLLAPSE}
    assert kl["mean over pixels"] < 0.1
    assert kl["beta 8, free bits"] > 3 * kl["beta 8"]
    for cure in ("warm-up", "free bits"):
        cured = f"six hidden layers, {cure}"
        assert kl[cured] > kl["six hidden layers"]
        assert bound["one hidden layer"] < bound[cured] < bound["six hidden layers"]
    assert kl["sees earlier pixels"] < kl["one hidden layer"]
    assert bound["sees earlier pixels"] < bound["one hidden layer"]


# --- figures ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(fig) -> list[str]:
    return [t.get_text() for ax in fig.axes for t in ax.texts]


def test_the_plane_has_a_point_a_run_and_lines_of_one_bound():
    rates, distortions = np.array([[2.0, 3.0], [20.0, 21.0]]), np.array([[90.0, 91.0], [60.0, 61]])
    fig = figures.draw_rates((4.0, 1.0), rates, distortions, (80, 100))
    lines = fig.axes[0].lines
    dashed = [line.get_xydata() for line in lines if line.get_linestyle() == "--"]
    assert [d.sum(1).tolist() for d in dashed] == [[80, 80], [100, 100]]
    circles = [line for line in lines if line.get_marker() == "o"]
    assert sum(len(line.get_xdata()) for line in circles) == 4
    assert {"β = 4", "β = 1", "-ELBO = 80"} <= set(texts(fig))


def test_the_ladder_shows_mean_and_standard_errors():
    rng = np.random.default_rng(0)
    above = {1: rng.random(50) + 5, 10: rng.random(50) + 1}
    fig = figures.draw_ladder(above, "bound with 100 samples")
    bars = fig.axes[0].containers[0]
    assert bars.lines[0].get_ydata() == pytest.approx([above[1].mean(), above[10].mean()])
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert high - low == pytest.approx(4 * stats.sem(above[1]))
    assert "bound with 100 samples" in texts(fig)


def test_bars_are_as_long_as_they_say():
    fig = figures.draw_lengths({"raw": 1.0, "VAE": 0.2}, {"VAE": "encoder"})
    bars = fig.axes[0].patches
    assert [b.get_width() for b in bars] == [1.0, 0.2]
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
    assert texts(fig) == ["1.000", "0.200"]


def test_every_kind_of_image_has_a_row():
    bits = {"digits": np.linspace(0.1, 0.3, 50), "noise": np.full(20, 5.0), "one": np.array([0.2])}
    examples = {name: np.ones((4, 4, 1)) for name in bits}
    fig = figures.draw_outliers(bits, examples)
    assert len(fig.axes) == 6
    assert texts(fig) == list(bits)
    fig.canvas.draw()

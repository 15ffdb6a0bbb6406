"""Figures: pixels are shown as they are, and what was asked for is drawn."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import random_images
from matplotlib.figure import Figure
from PIL import Image

from imgbook import plotting


@pytest.fixture(autouse=True)
def tidy():
    """Each test starts and ends without figures and with Matplotlib's own settings."""
    with plt.rc_context():
        yield
        plt.close("all")


# --- pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "ncols", "gap"), [(7, 3, 2), (6, 3, 0), (1, 5, 1), (4, 1, 3)])
def test_tile_places_every_pixel_unchanged(n, ncols, gap, channels):
    images = random_images(n, (4, 6, channels))
    canvas = plotting.tile(images, ncols, gap)
    nrows = int(np.ceil(n / ncols))
    assert canvas.shape == (nrows * (4 + gap) + gap, ncols * (6 + gap) + gap, 4)
    assert canvas.dtype == np.float32
    opacity = canvas[..., 3].copy()
    for i in range(n):
        row, col = gap + i // ncols * (4 + gap), gap + i % ncols * (6 + gap)
        pixels = canvas[row : row + 4, col : col + 6, :3]
        np.testing.assert_allclose(pixels, np.broadcast_to(images[i] / 255, (4, 6, 3)), rtol=1e-6)
        assert np.all(opacity[row : row + 4, col : col + 6] == 1)
        opacity[row : row + 4, col : col + 6] = 0
    assert np.all(opacity == 0)  # gaps show the page


def test_tile_rescales_no_image():
    images = np.stack([np.full((3, 3, 1), v, np.float32) for v in (0.25, 0.5)])
    canvas = plotting.tile(images, 2, gap=0)
    np.testing.assert_array_equal(canvas[:, :3, :3], 0.25)
    np.testing.assert_array_equal(canvas[:, 3:, :3], 0.5)


def test_as_unit_divides_bytes_and_keeps_floats():
    images = random_images(3, (2, 2, 1))
    np.testing.assert_allclose(plotting.as_unit(images), images / 255, rtol=1e-6)
    floats = np.linspace(0, 1, 12).reshape(1, 2, 2, 3)
    found = plotting.as_unit(floats)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, floats, rtol=1e-6)
    rounding = np.array([-1e-7, 1 + 1e-7]).reshape(1, 1, 2, 1)
    np.testing.assert_array_equal(plotting.as_unit(rounding).ravel(), [0, 1])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((4, 4)), r"\(4, 4\).*\[N, H, W, C\]"),
        (np.zeros((2, 4, 4)), r"\(2, 4, 4\).*\[N, H, W, C\]"),
        (np.zeros((2, 4, 4, 2)), r"\(2, 4, 4, 2\).*1 or 3 channels"),
        (np.full((1, 2, 2, 1), -1.0), r"\[-1, 0\]; expected \[0, 1\].*tanh"),
        (np.full((1, 2, 2, 1), 1.5), r"\[0, 1\.5\]; expected \[0, 1\]"),
        (np.full((1, 2, 2, 1), np.nan), r"nan.*expected \[0, 1\]"),
        (np.full((1, 2, 2, 1), 200), r"200\]; expected \[0, 1\]"),
    ],
)
def test_as_unit_names_what_is_wrong(images, said):
    with pytest.raises(ValueError, match=said):
        plotting.as_unit(images)


# --- figures --------------------------------------------------------------------------------------------------


def shown(ax) -> np.ndarray:
    """The one picture in `ax`: colours and opacity, which no colour map rescales."""
    (image,) = ax.images
    assert image.get_array().shape[-1] == 4
    return image.get_array()


@pytest.mark.parametrize("channels", [1, 3])
def test_image_grid_shows_the_tiles(channels):
    images = random_images(5, (4, 4, channels))
    fig = plotting.image_grid(images, ncols=3, title="five")
    assert isinstance(fig, Figure)
    (ax,) = fig.axes
    assert ax.get_title(loc="left") == "five"
    assert not ax.axison
    np.testing.assert_array_equal(shown(ax), plotting.tile(images, 3))
    fig.canvas.draw()


def test_compare_rows_shows_one_labelled_block_each():
    rows = {"real": random_images(4, (4, 4, 1)), "generated": random_images(8, (4, 4, 1), 1)}
    fig = plotting.compare_rows(rows, ncols=4)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["real", "generated"]
    for ax, images in zip(fig.axes, rows.values(), strict=True):
        np.testing.assert_array_equal(shown(ax), plotting.tile(images, 4))
    fig.canvas.draw()
    heights = [ax.get_position().height for ax in fig.axes]
    assert heights[1] > 1.4 * heights[0]  # two rows of images against one


def test_curves_draws_and_labels_each_series():
    series = {"loss": np.arange(10.0), "bound": np.arange(10.0) ** 2}
    fig = plotting.curves(series, ylabel="nats", lines={"log 2": 0.69})
    (ax,) = fig.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("training step", "nats")
    assert {text.get_text() for text in ax.texts} == {"loss", "bound", "log 2"}
    loss, bound, line = ax.lines
    np.testing.assert_array_equal(loss.get_xydata(), np.stack([np.arange(10)] * 2, 1))
    np.testing.assert_array_equal(bound.get_ydata(), series["bound"])
    np.testing.assert_array_equal(line.get_ydata(), [0.69, 0.69])
    assert line.get_linestyle() == "--"
    assert len({loss.get_color(), bound.get_color(), line.get_color()}) == 3
    assert ax.texts[0].get_color() == plotting.label_color(loss.get_color())
    fig.canvas.draw()


def test_curves_smooths_by_a_running_mean_at_its_last_step():
    values = np.array([0.0, 3, 6, 0, 9, 3])
    fig = plotting.curves({"loss": values}, ylabel="nats", smooth=3)
    raw, mean = fig.axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), values)
    np.testing.assert_allclose(mean.get_ydata(), [3, 3, 5, 4])
    np.testing.assert_array_equal(mean.get_xdata(), [2, 3, 4, 5])
    fig = plotting.curves({"short": values[:2]}, ylabel="nats", smooth=50)  # longer than the series
    np.testing.assert_allclose(fig.axes[0].lines[-1].get_ydata(), [1.5])


def test_curves_draws_into_given_axes_with_given_colours():
    fig, axes = plt.subplots(1, 2)
    found = plotting.curves(
        {"a": [1, 2]}, ylabel="y", xlabel="epoch", colors=["#123456"], ax=axes[1]
    )
    assert found is fig
    assert not axes[0].lines
    assert axes[1].lines[0].get_color() == "#123456"
    assert axes[1].get_xlabel() == "epoch"


def contrast(color: str) -> float:
    """Of a text colour on white, by WCAG 2.2's definition of relative luminance."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 1.05 / (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)


@pytest.mark.parametrize("color", [*plotting.COLORS.values(), "#56B4E9", "#ffffff", "#123456"])
def test_labels_are_readable_on_white_and_keep_a_dark_colour(color):
    label = plotting.label_color(color)
    assert contrast(label) >= 4.5
    if contrast(color) >= 4.6:
        assert label == color.lower()
    else:
        assert contrast(label) < 5  # no darker than needed


def test_vector_files_keep_pixels_and_repeat_exactly():
    """A figure with an image of 4 x 4 pixels holds these pixels, and the same figure gives the same file."""
    plotting.use_style()
    files = []
    for _ in range(2):
        fig = plotting.image_grid(random_images(1, (4, 4, 1)), ncols=1)
        stream = io.BytesIO()
        fig.savefig(stream, format="svg", metadata={"Date": None})
        files.append(stream.getvalue().decode())
        plt.close(fig)
    assert files[0] == files[1]
    encoded = re.search(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", files[0]).group(1)
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (8, 8)  # with gaps of 2
    assert "pixelated" in files[0]


def test_bars_have_names_heights_and_a_reference():
    fig = plotting.bars({"CNN": 0.7, "linear": 0.25}, ylabel="accuracy", line=("chance", 0.1))
    (ax,) = fig.axes
    assert [bar.get_height() for bar in ax.patches] == [0.7, 0.25]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CNN", "linear"]
    assert {text.get_text() for text in ax.texts} == {"0.7", "0.25"}
    assert ax.get_ylabel() == "accuracy"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["chance"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.1, 0.1])
    assert plotting.bars({"a": 1}, ylabel="y").axes[0].get_legend() is None


def test_style_applies_outside_a_notebook_and_colours_differ():
    plt.rcdefaults()
    plotting.use_style()
    assert plt.rcParams["axes.spines.top"] is False
    assert plt.rcParams["image.interpolation"] == "none"
    named = {
        colour for name, colour in plotting.COLORS.items() if name != "encoder"
    }  # encoder: the discriminator's
    assert len(named) == len(plotting.COLORS) - 1
    fig = plotting.image_grid(random_images(2, (4, 4, 1)), ncols=2, title="two")
    fig.canvas.draw()

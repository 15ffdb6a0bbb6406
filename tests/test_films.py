"""Films: the fragment of HTML a reader gets, its picture pixel by pixel, its size, and what it refuses."""

import base64
import io
import json

import numpy as np
import pytest
from bs4 import BeautifulSoup, Tag
from conftest import loaded, random_images
from PIL import Image

from imgbook import plotting
from imgbook.films import GREYS, film_html, show_film

LABELS = ["untrained", "after 100 steps", 'after <b>"200"</b> & more']
FRAMES = np.stack([random_images(7, (8, 6, 1), seed) for seed in range(3)])


def film(frames=FRAMES, labels=LABELS, *, alt="Noise.", **options) -> Tag:
    soup = BeautifulSoup(film_html(frames, labels, alt=alt, **options), "html.parser")
    return soup.select_one(".imgbook-film")


def picture(element: Tag) -> Image.Image:
    head, data = element.img["src"].split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_is_all_frames_below_each_other(channels):
    frames = np.stack([random_images(7, (8, 6, channels), seed) for seed in range(3)])
    tiles = np.concatenate([plotting.tile(frame, 4) for frame in frames])
    shown = np.asarray(picture(film(frames, ncols=4)).convert("RGBA")) / 255
    assert shown.shape == tiles.shape
    opaque = tiles[..., 3] > 0
    np.testing.assert_array_equal(shown[..., 3] > 0, opaque)  # gaps let the page through
    error = np.abs(shown - tiles)[opaque]
    if channels == 1:
        assert error.max() <= 0.5 / (GREYS - 1) + 0.5 / 255 + 1e-6  # the nearest of the levels
    else:
        assert error.mean() < 0.05  # of 1000 random colours 255 are left


def test_few_grey_levels_and_few_colours_are_exact():
    grey = np.array([0, 255], np.uint8)[random_images(12, (4, 4, 1)) % 2].reshape(3, 4, 4, 4, 1)
    color = np.array([0, 85, 255], np.uint8)[random_images(12, (4, 4, 3)) % 3]
    for frames in (grey, color.reshape(3, 4, 4, 4, 3)):
        shown = np.asarray(picture(film(frames)).convert("RGBA"))
        tiles = np.concatenate([plotting.tile(frame, 4) for frame in frames])
        np.testing.assert_array_equal(shown[..., :3], np.rint(255 * tiles[..., :3]))


def test_floats_bytes_lists_and_arrays_are_the_same_film():
    as_floats = [frame.astype(np.float32) / 255 for frame in FRAMES]
    assert film_html(as_floats, LABELS, alt="Noise.") == film_html(FRAMES, LABELS, alt="Noise.")


def test_without_script_the_last_stage_is_seen_with_its_label():
    element = film()
    assert "object-position: 0 100%" in element.img["style"]
    assert "object-fit: cover" in element.img["style"]
    assert "padding: 0 !important" in element.img["style"]  # a theme's padding would cut the frame
    image = picture(element)
    assert f"aspect-ratio: {image.width} / {image.height // 3};" in element.img["style"]
    assert element.select_one(".stage").get_text() == LABELS[-1]
    assert element.select_one(".stage")["data-last"] == LABELS[-1]  # what is printed
    assert element.select_one(".controls").has_attr("hidden")


def test_controls_have_names_and_native_elements():
    element = film(seconds=4)
    button, slider = element.button, element.input
    assert (button["type"], button.get_text()) == ("button", "Play")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == (
        "range",
        "0",
        "2",
        "2",
    )
    assert slider["aria-label"]
    assert slider["aria-valuetext"] == LABELS[-1]
    assert json.loads(element["data-labels"]) == LABELS
    assert element["data-seconds"] == "4"
    assert element.img["alt"] == "Noise."


def test_fragment_stands_alone_and_may_be_repeated():
    """No address but the picture's own data, no id, no name that a second film would take again."""
    html = film_html(FRAMES, LABELS, alt="Noise.")
    soup = BeautifulSoup(html, "html.parser")
    assert not soup.find_all(id=True)
    assert not soup.find_all(["link", "iframe"])
    assert not any("src" in script.attrs for script in soup.find_all("script"))
    assert "http" not in html
    assert soup.script.get_text().strip().startswith("(() => {")
    rules = soup.style.get_text().replace("@media (prefers-reduced-motion: reduce) {", "")
    selectors = [
        part.strip()
        for rule in rules.replace("@media print {", "").split("}")
        for part in rule.partition("{")[0].split(",")
    ]
    assert all(s.startswith(".imgbook-film") for s in selectors if s)
    assert html == film_html(FRAMES, LABELS, alt="Noise.")


def test_text_is_text():
    """Labels, alt and caption are plain text, whatever they contain."""
    text = '<script>alert("1")</script> & \' it'
    element = film(labels=[text] * 3, alt=text, caption=text)
    assert element.find("script") is None
    assert element.img["alt"] == text
    assert element.figcaption.get_text() == text
    assert element.select_one(".stage").get_text() == text
    assert json.loads(element["data-labels"]) == [text] * 3


def test_caption_makes_a_figure_and_none_a_named_group():
    assert film(caption="Noise in three stages.").name == "figure"
    group = film()
    assert (group.name, group["role"]) == ("div", "group")
    assert group["aria-label"]


def test_one_stage_is_a_still():
    element = film(FRAMES[:1], LABELS[:1])
    assert element.find(["button", "input"]) is None
    assert element.select_one(".stage").get_text() == "untrained"
    assert "<script" not in film_html(FRAMES[:1], LABELS[:1], alt="Noise.")


def test_few_images_leave_no_empty_columns():
    assert picture(film(ncols=10)).width == 7 * (6 + 2) + 2


def test_film_of_digits_is_light():
    """24 stages of 30 digits, from noise to photographs: under 300 kB, page text and all."""
    digits = np.resize(loaded("mnist", "train").images, (30, 28, 28, 1)) / 255
    noise = np.random.default_rng(0).random(digits.shape) / 2
    frames = [w * digits + (1 - w) * noise for w in np.linspace(0, 1, 24)]
    labels = [f"after {n} steps" for n in range(24)]
    assert len(film_html(frames, labels, alt="Digits.")) < 300_000


def test_notebook_gets_html_and_a_line_of_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    show_film(FRAMES, LABELS, alt="Noise turns into noise.")
    ((data, raw),) = shown
    assert raw
    assert data["text/html"] == film_html(FRAMES, LABELS, alt="Noise turns into noise.")
    assert (
        data["text/plain"]
        == f"Film of 3 stages, untrained to {LABELS[-1]}: Noise turns into noise."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=LABELS[:2]), "3 frames and 2 labels; allowed: one label for each"),
        (dict(frames=[], labels=[]), "0 frames and 0 labels.*at least one"),
        (dict(frames=FRAMES[:, :0]), r"\(0, 8, 6, 1\); allowed: \[N, H, W, C\], at least one"),
        (dict(frames=FRAMES[..., 0]), r"\(7, 8, 6\); allowed: \[N, H, W, C\]"),
        (dict(frames=[*FRAMES[:2], FRAMES[2][:3]]), r"\(7, 8, 6, 1\) and \(3, 8, 6, 1\)"),
        (dict(frames=FRAMES / 127.5 - 1), r"range over \[-1, 1\]; expected \[0, 1\]"),
        (dict(frames=FRAMES / 255 * np.nan), r"range over \[nan, nan\]"),
        (dict(frames=np.repeat(FRAMES, 2, -1)), "1 or 3 channels"),
        (dict(alt=" "), "alt is empty"),
        (dict(seconds=0), "seconds = 0; allowed"),
        (dict(seconds=float("inf")), "seconds = inf; allowed"),
        (dict(ncols=0), "ncols = 0; allowed"),
        (
            dict(frames=np.zeros((3, 600, 8, 6, 1)), ncols=1),
            "18006 pixels high, 3 frames of 6002; allowed: 16384; show fewer",
        ),
    ],
)
def test_errors_say_what_is_allowed(change, message):
    arguments = dict(frames=FRAMES, labels=LABELS, alt="Noise.") | change
    with pytest.raises(ValueError, match=message):
        film_html(arguments.pop("frames"), arguments.pop("labels"), **arguments)

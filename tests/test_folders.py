"""Images of the user's own: files of every kind in class folders, splits, and folders that are laid out otherwise."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgbook import data

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 160, 30)


def striped(width: int, height: int, colors: tuple = (RED, GREEN, BLUE)) -> Image.Image:
    """Vertical stripes of equal width; in the transposed size, of equal height."""
    x = np.arange(width) * len(colors) // width
    return Image.fromarray(
        np.broadcast_to(np.array(colors, np.uint8)[x], (height, width, 3)).copy()
    )


def write(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def flat(color: int | tuple, mode: str = "RGB", size: tuple[int, int] = (20, 12)) -> Image.Image:
    return Image.new(mode, size, color)


def read_one(folder: Path, image: Image.Image, name: str, size: int = 8, **options) -> np.ndarray:
    """One image through the whole way: a folder with one class and this file."""
    write(folder / "one" / name, image, **options)
    return data.from_folder(folder, size, split=None).images[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of 20 flat images: the grey level is the number of the image, and 100 more in the second class."""
    for c, name in enumerate(("ant", "bee")):
        for i in range(20):
            write(tmp_path / "pets" / name / f"{i:02}.png", flat((i + 100 * c,) * 3))
    return tmp_path / "pets"


def numbers(dataset: data.Dataset) -> list[int]:
    return dataset.images[:, 0, 0, 0].tolist()


# --- classes, order and splits --------------------------------------------------------------------------------


def test_classes_are_the_sorted_sub_folders_and_order_is_that_of_names(folder):
    dataset = data.from_folder(folder, 8, split=None)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.images.shape == (40, 8, 8, 3)
    assert numbers(dataset) == [*range(20), *range(100, 120)]
    assert dataset.labels.tolist() == [0] * 20 + [1] * 20
    assert (dataset.name, dataset.split) == ("pets", "train")
    again = data.from_folder(str(folder), 8, split=None)
    assert again.content_hash == dataset.content_hash


def test_splits_are_the_last_fifth_and_the_last_tenth_of_the_rest(folder):
    splits = {split: data.from_folder(folder, 8, split) for split in data.SPLITS}
    assert numbers(splits["train"]) == [*range(15), *range(100, 115)]
    assert numbers(splits["validation"]) == [15, 115]
    assert numbers(splits["test"]) == [16, 17, 18, 19, 116, 117, 118, 119]
    for split, dataset in splits.items():
        assert dataset.split == split
        assert f"{len(dataset)} of the 40 images" in dataset.source
    assert data.from_folder(folder, 8).content_hash == splits["train"].content_hash


def test_twelve_a_class_is_enough_for_every_split(folder):
    for i in range(12, 20):
        (folder / "bee" / f"{i:02}.png").unlink()
    for split in data.SPLITS:
        assert set(data.from_folder(folder, 8, split).labels.tolist()) == {0, 1}
    (folder / "bee" / "11.png").unlink()
    for split in data.SPLITS:
        with pytest.raises(ValueError, match=r"bee \(11\); each class needs 12.*split=None"):
            data.from_folder(folder, 8, split)
    assert len(data.from_folder(folder, 8, split=None)) == 31


def test_deeper_folders_belong_to_their_class(folder):
    (folder / "bee" / "old" / "very").mkdir(parents=True)
    shutil.move(folder / "bee" / "19.png", folder / "bee" / "old" / "very" / "19.png")
    assert sorted(numbers(data.from_folder(folder, 8, split=None))) == [
        *range(20),
        *range(100, 120),
    ]


def test_a_class_folder_may_be_a_link(folder, tmp_path):
    shutil.move(folder / "bee", tmp_path / "elsewhere")
    (folder / "bee").symlink_to(tmp_path / "elsewhere")
    assert len(data.from_folder(folder, 8, split=None)) == 40


def test_hidden_and_other_files_are_ignored_and_counted(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "bee" / "Thumbs.db").write_text("x")
    (folder / "bee" / "._00.png").write_text("no image")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.png").write_text("no image")
    dataset = data.from_folder(folder, 8, split=None)
    assert dataset.class_names == ("ant", "bee")
    assert (
        dataset.source == "40 of the 40 images in the folder pets; 4 other or hidden files ignored"
    )


# --- kinds of images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.webp", "a.gif", "a.bmp", "a.tiff"])
def test_formats(tmp_path, name):
    image = read_one(tmp_path, flat(RED), name)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, np.broadcast_to(RED, image.shape), atol=8)


@pytest.mark.parametrize("size", [(30, 90), (90, 30), (31, 64), (300, 100), (9, 9)])
def test_the_square_in_the_middle_is_taken(tmp_path, size):
    """Around a middle square in blue everything is red."""
    side = min(size)
    image = flat(RED, size=size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste(BLUE, (left, top, left + side, top + side))
    found = read_one(tmp_path, image, "a.png", size=16)
    np.testing.assert_array_equal(found, np.broadcast_to(BLUE, (16, 16, 3)))


def test_reduction_averages_and_does_not_skip_pixels(tmp_path):
    fine = np.indices((256, 256)).sum(axis=0) % 2 * 255  # a chessboard of single pixels
    found = read_one(tmp_path, Image.fromarray(fine.astype(np.uint8)), "a.png", size=8)
    np.testing.assert_allclose(found, 127.5, atol=2)


def test_small_images_are_enlarged(tmp_path):
    assert read_one(tmp_path, flat(GREEN, size=(3, 5)), "a.png", size=32).shape == (32, 32, 3)


def test_a_large_jpeg_keeps_its_content(tmp_path):
    found = read_one(tmp_path, striped(1600, 1200), "a.jpg", size=16, quality=95)
    for column, color in ((1, RED), (8, GREEN), (14, BLUE)):
        np.testing.assert_allclose(found[:, column], np.broadcast_to(color, (16, 3)), atol=12)


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize(
    ("mode", "value", "grey"),
    [("L", 120, 120), ("1", 1, 255), ("I;16", 120 * 257, 120), ("I", 120 * 257, 120)],
)
def test_grey_images_of_1_8_and_16_bits(tmp_path, mode, value, grey, color):
    name = "a.tiff" if mode == "I" else "a.png"
    write(tmp_path / "one" / name, flat(value, mode))
    found = data.from_folder(tmp_path, 8, split=None, color=color).images[0]
    np.testing.assert_array_equal(found, np.full((8, 8, 3 if color else 1), grey))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_shown_on_white(tmp_path, mode):
    right = np.repeat([[False] * 8 + [True] * 8], 16, axis=0)
    if mode == "P":
        image = Image.fromarray(right.astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 77, 77, 77])
        image.info["transparency"] = 1
    else:
        image = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
        image.putalpha(Image.fromarray(np.where(right, 0, 255).astype(np.uint8)))
        image = image.convert(mode)
    found = read_one(tmp_path, image, "a.png", size=16)
    np.testing.assert_array_equal(found, np.repeat(right[..., None] * 255, 3, axis=2))


def test_what_is_half_transparent_is_mixed_with_white(tmp_path):
    found = read_one(tmp_path, flat((0, 0, 0, 128), "RGBA"), "a.png")
    np.testing.assert_allclose(found, 127, atol=1)


def test_cmyk_and_palette_are_made_rgb(tmp_path):
    cmyk = read_one(tmp_path / "a", flat(RED).convert("CMYK"), "a.jpg", quality=95)
    np.testing.assert_allclose(cmyk, np.broadcast_to(RED, cmyk.shape), atol=10)
    palette = flat(RED).convert("P", palette=Image.Palette.ADAPTIVE)
    found = read_one(tmp_path / "b", palette, "a.png")
    np.testing.assert_allclose(found, np.broadcast_to(RED, found.shape), atol=3)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_of_an_animation_the_first_frame(tmp_path, name):
    found = read_one(
        tmp_path, flat(RED), name, save_all=True, append_images=[flat(BLUE), flat(GREEN)]
    )
    np.testing.assert_allclose(found, np.broadcast_to(RED, found.shape), atol=8)


@pytest.mark.parametrize(
    ("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)]
)  # quarter turns, anticlockwise
def test_a_camera_s_orientation_is_applied(tmp_path, orientation, turn):
    image, exif = striped(30, 30), Image.Exif()
    exif[0x0112] = orientation
    found = read_one(tmp_path, image, "a.png", size=30, exif=exif)
    np.testing.assert_array_equal(found, np.rot90(np.asarray(image), turn))


def test_grey_of_a_colour_image(tmp_path):
    write(tmp_path / "one" / "a.png", flat((255, 0, 0)))
    dataset = data.from_folder(tmp_path, 8, split=None, color=False)
    assert dataset.image_shape == (8, 8, 1)
    np.testing.assert_array_equal(dataset.images, 76)  # 0.299 of 255, the luma of red


# --- what is wrong is said ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "name"),
    [("cut", "03.png"), ("cut", "03.jpg"), ("text", "03.webp"), ("empty", "03.gif")],
)
def test_a_damaged_image_is_named(folder, damage, name):
    path = write(folder / "bee" / f"x{name}", striped(90, 90))
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"<html>", "empty": b""}[damage])
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))} cannot be read.*repair or remove"
    ):
        data.from_folder(folder, 8, split=None)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000), ("I", -1)])
def test_grey_levels_without_a_known_range_are_refused(folder, mode, value):
    path = write(folder / "ant" / "x.tiff", flat(value, mode))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*0\.\.65535.*PNG"):
        data.from_folder(folder, 8, split=None)


@pytest.mark.parametrize(
    ("size", "error", "said"),
    [
        (7, ValueError, "size = 7; allowed: 8 or more"),
        (0, ValueError, "8 or more"),
        (32.0, TypeError, r"size = 32\.0; expected an integer"),
        ("32", TypeError, "'32'"),
        ((32, 32), TypeError, "integer"),
        (True, TypeError, "True"),
    ],
)
def test_a_wrong_size(folder, size, error, said):
    with pytest.raises(error, match=said):
        data.from_folder(folder, size)


def test_an_unknown_split(folder):
    with pytest.raises(ValueError, match=r"'tset'.*train, validation, test"):
        data.from_folder(folder, 8, "tset")


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*one sub-folder a class"):
        data.from_folder(tmp_path / "nowhere", 8)
    (tmp_path / "file.png").write_text("x")
    with pytest.raises(FileNotFoundError, match=r"file\.png is a file"):
        data.from_folder(tmp_path / "file.png", 8)


def test_an_empty_folder_and_one_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"no sub-folder and 0 files"):
        data.from_folder(tmp_path, 8)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no sub-folder and 1 files that are no images.*\.jpg"):
        data.from_folder(tmp_path, 8)


def test_images_without_a_class_folder(folder):
    with pytest.raises(
        ValueError, match=r"20 images and no sub-folder: 00\.png.*, \.\.\."
    ) as raised:
        data.from_folder(folder / "ant", 8)
    assert str(folder / "ant" / "all") in str(raised.value)


def test_images_beside_the_class_folders(folder):
    write(folder / "stray.png", flat(RED))
    with pytest.raises(ValueError, match=r"1 images beside its sub-folders ant, bee: stray\.png"):
        data.from_folder(folder, 8)


def test_a_class_without_images(folder):
    (folder / "cat").mkdir()
    with pytest.raises(ValueError, match=r"cat has no images: no files; readable are .*\.png"):
        data.from_folder(folder, 8)
    for i in range(3):
        (folder / "cat" / f"{i}.heic").write_text("x")
    with pytest.raises(ValueError, match=r"cat has no images: 3 x \.heic"):
        data.from_folder(folder, 8)

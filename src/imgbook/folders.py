"""Image files of the user's own: which there are in a folder of class folders, and each as an array of one size."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def list_classes(path: Path) -> tuple[dict[str, list[Path]], int]:
    """The image files of each class in a folder of class folders, sorted, and how many other files there are.

    Raises:
        ValueError: another layout. FileNotFoundError: there is no such folder.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {what}; expected a folder with one sub-folder a class")
    classes: dict[str, list[Path]] = {}
    others: dict[str, list[str]] = {}
    for folder, _, file_names in os.walk(path, followlinks=True):
        inside = Path(folder).relative_to(path).parts
        name = inside[0] if inside else ""  # "": directly in the folder
        if not any(part.startswith(".") for part in inside):
            classes.setdefault(name, [])
        for file in (Path(folder, file_name) for file_name in file_names):
            hidden = any(part.startswith(".") for part in (*inside, file.name))
            if not hidden and file.suffix.lower() in IMAGE_SUFFIXES:
                classes[name].append(file)
            else:
                others.setdefault(name, []).append(file.suffix.lower() or file.name)
    classes = {name: sorted(files) for name, files in sorted(classes.items())}
    kinds = f"readable are {', '.join(IMAGE_SUFFIXES)}"
    if loose := classes.pop("", []):
        names = ", ".join(file.name for file in loose[:3]) + (", ..." if len(loose) > 3 else "")
        if classes:
            raise ValueError(
                f"{path} has {len(loose)} images beside its sub-folders {', '.join(classes)}: {names}. "
                "Move them into the sub-folder of their class"
            )
        raise ValueError(
            f"{path} has {len(loose)} images and no sub-folder: {names}. A class is a sub-folder: if all are of one "
            f"class, move them into one, {path / 'all'} for instance"
        )
    ignored = sum(map(len, others.values()))
    if not classes:
        raise ValueError(
            f"{path} has no sub-folder and {ignored} files that are no images; "
            f"expected one sub-folder a class with images in it ({kinds})"
        )
    for name, files in classes.items():
        if not files:
            found = Counter(others.get(name, []))
            counted = ", ".join(f"{n} x {kind}" for kind, n in found.most_common(3)) or "no files"
            raise ValueError(f"the class folder {path / name} has no images: {counted}; {kinds}")
    return classes, ignored


def read_image(path: Path, size: int, color: bool = True) -> np.ndarray:
    """One image file as uint8 `[size, size, 3]`, or `[size, size, 1]` in grey: the square in its middle, resized.

    Raises:
        ValueError: the file cannot be read as an image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.draft(None, (4 * size, 4 * size))  # a large JPEG is decoded at 1/2, 1/4 or 1/8
            image = ImageOps.exif_transpose(opened)
            image.load()
    except Exception as error:  # the decoders of damaged files raise errors of many kinds
        raise ValueError(
            f"{path} cannot be read as an image ({type(error).__name__}: {error}); repair or remove it"
        ) from error
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_8_bits(np.asarray(image), path))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cut first: with `box`, resize would let the pixels around the square shine in.
    square = image.convert("RGB" if color else "L").crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(size, size, -1)  # grey: [size, size] -> [size, size, 1]


def _to_8_bits(levels: np.ndarray, path: Path) -> np.ndarray:
    """Grey levels 0..65535 of an image of 16 bits as uint8."""
    low, high = levels.min(), levels.max()
    if levels.dtype.kind == "f" or low < 0 or high > 65535:
        raise ValueError(
            f"{path} has grey levels {low:.6g}..{high:.6g} of type {levels.dtype}; expected whole numbers in 0..65535. "
            "Save it as PNG with 8 or 16 bits"
        )
    return np.rint(levels / 257).astype(np.uint8)

"""The images: `load("mnist", "train")`, `load("cifar10", "test")`, or your own: `from_folder`, `Dataset.from_arrays`.

At preset `quick` (and a small part of it at `smoke`) the images are in the package. At `full` the whole sets come
from a local folder or from a mirror, your own or a public one; every file is checked against the SHA-256 of its
content, and only plain binary formats are read, never pickles.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgbook import folders, presets
from imgbook.sources import SOURCES, check_name, official

SPLITS = ("train", "validation", "test")
SMOKE_PER_CLASS = {"train": 32, "validation": 8, "test": 16}
SMALLEST_CLASS = 12  # fewer images of a class do not give one to each split


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of one size.

    images: uint8 `[N, H, W, C]`, C = 1 (grey) or 3 (colour). labels: int32 `[N]`, indices into `class_names`.
    content_hash: SHA-256 over shape, pixels and labels. The arrays are read-only.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    name: str
    split: str
    source: str
    licence: str
    content_hash: str

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        *,
        name: str = "custom",
        split: str = "train",
        source: str = "given by the caller",
        licence: str = "not stated",
    ) -> "Dataset":
        """A data set from any images: uint8 `[N, H, W, C]` with C = 1 or 3, or grey ones as `[N, H, W]`.

        Without `labels` all images are of one class. Without `class_names` the classes are called "0", "1", ...

        Raises:
            ValueError: wrong shape, a label out of range, lengths that differ, an unknown split.
            TypeError: pixels that are not uint8, labels that are not integers.
        """
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[..., None]  # [N, H, W] -> [N, H, W, 1]
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
            raise ValueError(
                f"images have shape {images.shape}; expected [N, H, W], [N, H, W, 1] or [N, H, W, 3], none of them 0"
            )
        if images.dtype != np.uint8:
            raise TypeError(
                f"images have dtype {images.dtype}; expected uint8 in 0..255 "
                "(from floats in [0, 1]: np.rint(255 * x).astype(np.uint8))"
            )
        labels = np.zeros(len(images), np.int32) if labels is None else np.asarray(labels)
        if labels.shape != (len(images),):
            raise ValueError(
                f"labels have shape {labels.shape}; expected ({len(images)},), one for each image"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise TypeError(f"labels have dtype {labels.dtype}; expected integers (class indices)")
        if class_names is None:
            class_names = [str(c) for c in range(int(labels.max()) + 1)]
        if labels.min() < 0 or labels.max() >= len(class_names):
            raise ValueError(
                f"labels range over {labels.min()}..{labels.max()}; with {len(class_names)} class names "
                f"allowed are 0..{len(class_names) - 1}"
            )
        check_split(split)
        images, labels = images.copy(), labels.astype(np.int32)
        images.setflags(write=False)
        labels.setflags(write=False)
        digest = hashlib.sha256(
            repr(images.shape).encode() + images.tobytes() + labels.tobytes()
        ).hexdigest()
        return cls(images, labels, tuple(class_names), name, split, source, licence, digest)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def subset(self, indices: np.ndarray, split: str | None = None) -> "Dataset":
        """The images at `indices` (integers or a mask), all else kept."""
        return Dataset.from_arrays(
            self.images[indices],
            self.labels[indices],
            self.class_names,
            name=self.name,
            split=split or self.split,
            source=self.source,
            licence=self.licence,
        )


def load(name: str, split: str, preset: str | None = None) -> Dataset:
    """Load a split of `mnist` or `cifar10` at a preset (default: the environment's, else `quick`).

    `quick`, MNIST: the first 10,000 official training digits. The last fifth of each class is its `test` (so these
    are not official test digits), the last tenth of each class of the rest its `validation`. `quick`, CIFAR-10: 500
    official training images a class, the last tenth of each its `validation`, and 200 official test images a class.
    `full`: the official training set, the last tenth of each class of it as `validation`, and the official test set.
    `smoke`: the first few images of each class of `quick`.

    Raises:
        ValueError: unknown name, split or preset; a file whose content is not what it should be.
        FileNotFoundError: `full` without the data and no mirror gives them; the message names the ways out.
        OSError: what was downloaded cannot be written.
    """
    preset = presets.current(preset)
    check_name(name)
    check_split(split)
    source = SOURCES[name]
    if preset == "full":
        images, labels = official(name, "test" if split == "test" else "train")
        note = source.full_note
        chosen = np.arange(len(labels)) if split == "test" else None
    else:
        parts = source.read_embedded()
        note = source.embedded_note
        if "test" in parts and split == "test":
            images, labels = parts["test"]
            chosen = np.arange(len(labels))
        else:
            images, labels = parts["train"]
            chosen = None
            if "test" not in parts:
                chosen = split_indices(labels, split)
    if chosen is None:
        chosen = split_tail(labels, np.arange(len(labels)), 10)[split == "validation"]
    if preset == "smoke":
        chosen = first_of_each_class(labels, chosen, SMOKE_PER_CLASS[split])
    return Dataset.from_arrays(
        images[chosen],
        labels[chosen],
        source.class_names,
        name=name,
        split=split,
        source=note,
        licence=source.licence,
    )


def from_folder(
    path: str | Path, size: int, split: str | None = "train", *, color: bool = True
) -> Dataset:
    """A data set from image files: one sub-folder for each class, its name is the class's name.

    Images of any size and kind (PNG, JPEG, WebP, GIF's first frame, TIFF, BMP; grey, palette, 16 bits a pixel,
    transparent on white, turned by their camera) are cut to the square in their middle and resized to `size` x `size`
    pixels, in colour `[N, size, size, 3]` or with `color=False` in grey `[N, size, size, 1]`.

    The images of a class, also those in folders below it, are taken in the order of their paths: the last fifth is
    `test`, the last tenth of the rest `validation`, what remains `train`. `split=None` takes all. Hidden files are
    ignored, as are files of other kinds; `source` counts both.

    Raises:
        ValueError: `size` below 8, an unknown split, an image that cannot be read, a class without images or too
            small to be split, a folder that is laid out in another way; the message says what was found.
        TypeError: `size` is not an integer. FileNotFoundError: there is no such folder.
    """
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size = {size!r}; expected an integer, the side of the images in pixels")
    if size < 8:
        raise ValueError(f"size = {size}; allowed: 8 or more pixels")
    if split is not None:
        check_split(split)
    path = Path(path)
    classes, ignored = folders.list_classes(path)
    files = [file for own in classes.values() for file in own]
    labels = np.repeat(np.arange(len(classes)), [len(own) for own in classes.values()])
    chosen = np.arange(len(files))
    if split is not None:
        if small := [f"{c} ({len(f)})" for c, f in classes.items() if len(f) < SMALLEST_CLASS]:
            raise ValueError(
                f"too few images to split in {path}: {', '.join(small)}; each class needs {SMALLEST_CLASS} or more. "
                "Add images, or take all of them with split=None"
            )
        chosen = split_indices(labels, split)
    return Dataset.from_arrays(
        np.stack([folders.read_image(files[i], size, color) for i in chosen]),
        labels[chosen],
        tuple(classes),
        name=path.resolve().name,
        split=split or "train",
        source=f"{len(chosen)} of the {len(files)} images in the folder {path.resolve().name}; "
        f"{ignored} other or hidden files ignored",
    )


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; allowed: {', '.join(SPLITS)}")


def split_indices(labels: np.ndarray, split: str) -> np.ndarray:
    """Indices of a split: the last fifth of each class is `test`, the last tenth of the rest `validation`."""
    rest, test = split_tail(labels, np.arange(len(labels)), 5)
    return test if split == "test" else split_tail(labels, rest, 10)[split == "validation"]


def split_tail(
    labels: np.ndarray, indices: np.ndarray, one_in: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split `indices` in two: the last 1 / `one_in` of each class (rounded down) goes into the second part."""
    tail = np.zeros(len(indices), bool)
    for c in np.unique(labels):
        positions = np.flatnonzero(labels[indices] == c)
        tail[positions[len(positions) - len(positions) // one_in :]] = True
    return indices[~tail], indices[tail]


def first_of_each_class(labels: np.ndarray, indices: np.ndarray, count: int) -> np.ndarray:
    """The first `count` of `indices` of each class, classes taken in turn, so that any prefix is nearly balanced."""
    columns = [indices[labels[indices] == c][:count] for c in np.unique(labels)]
    return np.asarray([column[i] for i in range(count) for column in columns if i < len(column)])

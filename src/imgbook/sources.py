"""Where the data sets are and how their files are read: in the package, in a local folder, or on a mirror.

Every file is checked against the SHA-256 of its content (of the members, not of the archive, since mirrors repack).
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: its class names and licence, and how its two forms are read."""

    class_names: tuple[str, ...]
    licence: str
    embedded_note: str
    full_note: str
    files: tuple[str, ...]
    read_embedded: Callable[[], dict[str, tuple[np.ndarray, np.ndarray]]]
    read_full: Callable[[Callable[[str], Path], str], tuple[np.ndarray, np.ndarray]]


def official(name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The official `train` or `test` part in its official order: images uint8 `[N, H, W, C]`, labels uint8 `[N]`.

    Raises:
        ValueError: unknown name or part, damaged files. FileNotFoundError: no data (the message names the ways out).
    """
    check_name(name)
    if part not in ("train", "test"):
        raise ValueError(f"unknown official part {part!r}; allowed: train, test")
    return SOURCES[name].read_full(lambda file: find_file(name, file), part)


def check_name(name: str) -> None:
    if name not in SOURCES:
        raise ValueError(
            f"unknown data set {name!r}; allowed: {', '.join(SOURCES)} (your own: Dataset.from_arrays)"
        )


# --- embedded files -------------------------------------------------------------------------------------------

EMBEDDED_SHA256 = {
    "mnist.npz": "2305ebce77e8641b575cd0a60add62a1cbd400ec392b395883ce16e0b430faa6",
    "cifar10-train.webp": "ae3d1af7704a9ba8b2a2a8ab39b14b873490ebcff93d2637f55221bb096fa896",
    "cifar10-test.webp": "f66af1db4f4ba4d27a72676fe2527ab620395b93b8d7edf73b7ee9e8cc494dd5",
}


def embedded_file(name: str) -> Path:
    """Path of an embedded file, after a check of its SHA-256."""
    path = EMBEDDED / name
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != EMBEDDED_SHA256[name]:
        raise ValueError(
            f"the embedded file {path} is missing or damaged; install imgbook again "
            "(in a checkout: git checkout -- src/imgbook/embedded)"
        )
    return path


def read_embedded_mnist() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with np.load(embedded_file("mnist.npz"), allow_pickle=False) as stored:
        return {"train": (stored["images"], stored["labels"])}


def read_embedded_cifar10() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from PIL import Image

    parts = {}
    for part in ("train", "test"):
        sheet = np.asarray(Image.open(embedded_file(f"cifar10-{part}.webp")))
        rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
        images = (
            sheet.reshape(rows, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        )
        parts[part] = images, np.repeat(np.arange(10, dtype=np.uint8), len(images) // 10)
    return parts


# --- whole sets -----------------------------------------------------------------------------------------------


def data_folder() -> Path:
    """Where whole data sets are kept: `IMGBOOK_DATA_DIR`, else the user's cache folder."""
    import pooch

    return Path(os.environ.get("IMGBOOK_DATA_DIR") or pooch.os_cache("imgbook"))


def find_file(name: str, file: str) -> Path:
    """The file `NAME/FILE` in the data folder or in `IMGBOOK_DATA_MIRROR` (a folder, or a URL to download from)."""
    local = data_folder() / name / file
    mirror = os.environ.get("IMGBOOK_DATA_MIRROR", "")
    if local.exists():
        return local
    if mirror.startswith(("http://", "https://")):
        return download(f"{mirror.rstrip('/')}/{name}/{file}", local)
    if mirror and (Path(mirror) / name / file).exists():
        return Path(mirror) / name / file
    tried = f"{local}" + (f" and {Path(mirror) / name / file}" if mirror else "")
    raise FileNotFoundError(
        f"preset full needs the whole {name} data set, and {file} is not there (looked for {tried}). Ways out: put "
        f"{', '.join(SOURCES[name].files)} into {data_folder() / name}; or set IMGBOOK_DATA_MIRROR to a folder or URL "
        f"that holds {name}/{file}; or use preset quick, whose data are in the package."
    )


def download(url: str, target: Path) -> Path:
    """Download `url` to `target` with a progress bar; a broken download leaves nothing behind."""
    import pooch
    import requests

    try:
        pooch.retrieve(
            url, known_hash=None, fname=target.name, path=target.parent, progressbar=True
        )
    except (requests.RequestException, OSError) as error:
        raise FileNotFoundError(
            f"could not download {url} ({type(error).__name__}: {error}). Check IMGBOOK_DATA_MIRROR and the network, "
            f"or put the file into {target.parent} by hand."
        ) from error
    return target


def checked(path: Path, member: str, content: bytes, sha256: str) -> bytes:
    """`content` if its SHA-256 is right.

    Raises:
        ValueError: it is not.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path}: {member} has SHA-256 {found[:16]}..., expected {sha256[:16]}...; "
            "the file is damaged or another one: delete it and get it again"
        )
    return content


MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_full_mnist(find: Callable[[str], Path], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The publisher's idx files: 16 (images) or 8 (labels) bytes of header, then one byte a pixel or label."""
    arrays = []
    for kind, header in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8)):
        member = f"{'train' if part == 'train' else 't10k'}-{kind}"
        path = find(member + ".gz")
        try:
            content = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from error
        arrays.append(
            np.frombuffer(
                checked(path, member, content, MNIST_SHA256[member]), np.uint8, offset=header
            )
        )
    images, labels = arrays
    return images.reshape(-1, 28, 28, 1), labels  # [N * 784] -> [N, 28, 28, 1]


CIFAR10_SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}


def read_full_cifar10(find: Callable[[str], Path], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The publisher's binary archive: records of a label byte and 1,024 bytes each of red, green and blue."""
    path = find("cifar-10-binary.tar.gz")
    members = [m for m in CIFAR10_SHA256 if m.startswith("data" if part == "train" else "test")]
    records = []
    try:
        with tarfile.open(path) as archive:
            for member in members:
                content = archive.extractfile(f"cifar-10-batches-bin/{member}.bin").read()
                records.append(
                    np.frombuffer(checked(path, member, content, CIFAR10_SHA256[member]), np.uint8)
                )
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from error
    table = np.concatenate(records).reshape(-1, 3073)  # [N, 1 + 3 * 1024]
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0]  # NCHW -> NHWC


SOURCES = {
    "mnist": Source(
        class_names=tuple("0123456789"),
        licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
        embedded_note="the first 10,000 official MNIST training digits",
        full_note="MNIST, official files",
        files=tuple(f"{member}.gz" for member in MNIST_SHA256),
        read_embedded=read_embedded_mnist,
        read_full=read_full_mnist,
    ),
    "cifar10": Source(
        class_names=(
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck",
        ),
        licence="none stated; for research and teaching, cite Krizhevsky (2009)",
        embedded_note="CIFAR-10, 500 official training and 200 official test images a class",
        full_note="CIFAR-10, official binary files",
        files=("cifar-10-binary.tar.gz",),
        read_embedded=read_embedded_cifar10,
        read_full=read_full_cifar10,
    ),
}

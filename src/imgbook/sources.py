"""Where the data sets are and how their files are read: in the package, in a local folder, or on a mirror.

Whole sets that are in no folder are downloaded from public mirrors, see `find_file` and `imgbook.download`.

Every file is checked against the SHA-256 of its content (of the members, not of the archive, since mirrors repack).
"""

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

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
    check: Callable[
        [Path, str], object
    ]  # (path, file): ValueError unless the content is that of `file`


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
            f"unknown data set {name!r}; allowed: {', '.join(SOURCES)} "
            "(your own: data.from_folder or Dataset.from_arrays)"
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

# Public mirrors in the order in which they are tried; the file's name is appended. The archives of CIFAR-10 differ from
# mirror to mirror, their members do not. The publisher's own server is last, because it has become very slow.
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "cifar10": (
        "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/cifar10/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
        "https://www.cs.toronto.edu/~kriz/",
    ),
}


def data_folder() -> Path:
    """Where whole data sets are kept: `IMGBOOK_DATA_DIR`, else the user's cache folder."""
    import pooch

    return Path(os.environ.get("IMGBOOK_DATA_DIR") or pooch.os_cache("imgbook"))


def own_mirror() -> str:
    """`IMGBOOK_DATA_MIRROR`: a folder or a URL that is tried before the public mirrors, or `none`: no download."""
    return os.environ.get("IMGBOOK_DATA_MIRROR", "")


def local_files(name: str, file: str) -> list[Path]:
    """Where on this machine `NAME/FILE` may be: in the data folder, and in `IMGBOOK_DATA_MIRROR` if it is a folder."""
    mirror = own_mirror()
    is_folder = mirror not in ("", "none") and not is_url(mirror)
    folders = [data_folder(), *([Path(mirror)] if is_folder else [])]
    return [folder / name / file for folder in folders]


def urls(name: str, file: str) -> list[str]:
    """Where `NAME/FILE` can be downloaded from, in the order in which it is tried; empty if the user wants none."""
    mirror = own_mirror()
    if mirror == "none":
        return []
    own = [f"{mirror.rstrip('/')}/{name}/{file}"] if is_url(mirror) else []
    return own + [base + file for base in MIRRORS[name]]


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def find_file(name: str, file: str) -> Path:
    """The file `NAME/FILE` of a whole set, in a folder of this machine or downloaded into the data folder.

    Raises:
        FileNotFoundError: it is nowhere to be had; the message says what was tried and names the ways out.
        OSError: it cannot be written.
    """
    from imgbook import download

    candidates, addresses = local_files(name, file), urls(name, file)
    for path in candidates:
        if path.exists():
            return path
    failures = "Nothing was downloaded, because IMGBOOK_DATA_MIRROR is none."
    if addresses:
        try:
            return download.fetch(
                addresses, candidates[0], lambda part: SOURCES[name].check(part, file)
            )
        except ConnectionError as error:
            failures = f"It could not be downloaded (no network?):\n{error}\n"
    raise FileNotFoundError(
        f"preset full needs the whole {name} data set, and {file} is not there (looked for "
        f"{' and '.join(map(str, candidates))}). {failures} Ways out: put {', '.join(SOURCES[name].files)} into "
        f"{data_folder() / name} by hand; or set IMGBOOK_DATA_MIRROR to a folder or URL that holds {name}/{file}; "
        "or use preset quick, whose data are in the package."
    )


def checked(member: str, content: bytes, sha256: str) -> bytes:
    """`content` if its SHA-256 is right.

    Raises:
        ValueError: it is not.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{member} has SHA-256 {found[:16]}..., expected {sha256[:16]}...")
    return content


def advised(path: Path, error: ValueError) -> ValueError:
    """The error about the content of a file, with the file and the way out."""
    return ValueError(f"{path}: {error}; delete it and get it again")


MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist_member(path: Path, member: str) -> bytes:
    """The unpacked idx file at `path`. Raises ValueError if it is damaged or another one."""
    packed = path.read_bytes()
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the file is damaged ({error})") from error
    return checked(member, content, MNIST_SHA256[member])


def read_full_mnist(find: Callable[[str], Path], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The publisher's idx files: 16 (images) or 8 (labels) bytes of header, then one byte a pixel or label."""
    arrays = []
    for kind, header in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8)):
        member = f"{'train' if part == 'train' else 't10k'}-{kind}"
        path = find(member + ".gz")
        try:
            content = mnist_member(path, member)
        except ValueError as error:
            raise advised(path, error) from error
        arrays.append(np.frombuffer(content, np.uint8, offset=header))
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


def cifar10_members(path: Path, members: Sequence[str]) -> list[bytes]:
    """Members of the binary archive at `path`, in order. Raises ValueError if it is damaged or one is missing.

    They are found by their own names: some mirrors packed them without the folder `cifar-10-batches-bin`.
    """
    contents = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file) as archive:
            for entry in archive:
                member = PurePosixPath(entry.name).name.removesuffix(".bin")
                if entry.isfile() and member in members:
                    contents[member] = archive.extractfile(entry).read()
    except FileNotFoundError:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"the file is damaged ({error})") from error
    if missing := [member for member in members if member not in contents]:
        raise ValueError(f"the archive lacks {', '.join(missing)}")
    return [checked(member, contents[member], CIFAR10_SHA256[member]) for member in members]


def read_full_cifar10(find: Callable[[str], Path], part: str) -> tuple[np.ndarray, np.ndarray]:
    """The publisher's binary archive: records of a label byte and 1,024 bytes each of red, green and blue."""
    path = find("cifar-10-binary.tar.gz")
    members = [m for m in CIFAR10_SHA256 if m.startswith("data" if part == "train" else "test")]
    try:
        contents = cifar10_members(path, members)
    except ValueError as error:
        raise advised(path, error) from error
    table = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, 3073)  # [N, 1 + 3 * 1024]
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
        check=lambda path, file: mnist_member(path, file.removesuffix(".gz")),
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
        check=lambda path, file: cifar10_members(path, list(CIFAR10_SHA256)),
    ),
}

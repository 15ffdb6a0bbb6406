"""Data: splits, validation of input, damaged files, whole sets from a folder and from a server."""

import gzip
import hashlib
import io
import shutil
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import loaded, random_images

from imgbook import data, sources

SIZES = {
    "mnist": {"train": 7207, "validation": 797, "test": 1996},
    "cifar10": {"train": 4500, "validation": 500, "test": 2000},
}
CASES = [(name, split) for name in SIZES for split in data.SPLITS]


# --- what is in the package -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "split"), CASES)
def test_quick_sizes_dtypes_and_names(name, split):
    dataset = loaded(name, split, "quick")
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    assert len(dataset) == SIZES[name][split] == len(dataset.labels)
    assert dataset.image_shape == dataset.images.shape[1:] == shape
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int32
    assert (dataset.name, dataset.split, dataset.num_classes) == (name, split, 10)
    assert dataset.images.min() == 0
    assert dataset.images.max() == 255


@pytest.mark.parametrize("name", SIZES)
def test_splits_are_disjoint(name):
    seen = [
        {image.tobytes() for image in loaded(name, split, "quick").images} for split in data.SPLITS
    ]
    assert sum(map(len, seen)) == sum(SIZES[name].values())  # all different within a split
    assert len(set.union(*seen)) == sum(map(len, seen))  # and between them


@pytest.mark.parametrize("name", SIZES)
def test_validation_and_test_are_the_last_of_each_class(name):
    parts = sources.SOURCES[name].read_embedded()
    images, labels = parts["train"]
    for c in range(10):
        own = images[labels == c]
        if name == "mnist":
            rest, test = np.split(own, [len(own) - len(own) // 5])
        else:
            rest, test = own, parts["test"][0][parts["test"][1] == c]
            assert (len(own), len(test)) == (500, 200)
        train, validation = np.split(rest, [len(rest) - len(rest) // 10])
        for split, expected in (("train", train), ("validation", validation), ("test", test)):
            dataset = loaded(name, split, "quick")
            np.testing.assert_array_equal(
                dataset.images[dataset.labels == c], expected, err_msg=f"{split}, class {c}"
            )


@pytest.mark.parametrize(("name", "split"), CASES)
def test_smoke_is_a_balanced_part_of_quick(name, split):
    small, whole = loaded(name, split, "smoke"), loaded(name, split, "quick")
    per_class = {"train": 32, "validation": 8, "test": 16}[split]
    np.testing.assert_array_equal(np.bincount(small.labels), [per_class] * 10)
    assert (
        np.bincount(small.labels[:25], minlength=10).tolist() == [3] * 5 + [2] * 5
    )  # so is any first part of it
    for c in range(10):
        np.testing.assert_array_equal(
            small.images[small.labels == c],
            whole.images[whole.labels == c][:per_class],
            err_msg=f"class {c}",
        )


def test_arrays_are_read_only_and_loading_is_reproducible():
    dataset = loaded("mnist", "test")
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 1
    assert data.load("mnist", "test", "smoke").content_hash == dataset.content_hash


def test_content_hash_follows_pixels_labels_and_shape():
    images, labels = random_images(6, (4, 6, 1)), np.arange(6) % 2
    base = data.Dataset.from_arrays(images, labels)
    assert (
        data.Dataset.from_arrays(images.copy(), labels.astype(np.uint8)).content_hash
        == base.content_hash
    )
    pixel, label = images.copy(), labels.copy()
    pixel[3, 2, 1, 0] ^= 1
    label[0] = 1
    changed = [
        (pixel, labels),
        (images, label),
        (images.reshape(6, 6, 4, 1), labels),
        (images[:5], labels[:5]),
    ]
    assert (
        len({base.content_hash, *(data.Dataset.from_arrays(*c).content_hash for c in changed)}) == 5
    )


def test_licences_name_each_embedded_file_and_sizes_are_small():
    text = (sources.EMBEDDED / "LICENSES.md").read_text()
    files = [f for f in sources.EMBEDDED.iterdir() if f.name != "LICENSES.md"]
    assert {f.name for f in files} == set(sources.EMBEDDED_SHA256)
    assert all(f.name in text for f in files)
    assert sum(f.stat().st_size for f in files) < 15e6
    assert max(f.stat().st_size for f in files) < 12 * 2**20


# --- your own images ------------------------------------------------------------------------------------------


def test_from_arrays_grey_without_labels():
    images = random_images(5, (7, 9))
    dataset = data.Dataset.from_arrays(images)
    assert dataset.images.shape == (5, 7, 9, 1)
    np.testing.assert_array_equal(dataset.images[..., 0], images)
    np.testing.assert_array_equal(dataset.labels, np.zeros(5))
    assert dataset.class_names == ("0",)
    assert (dataset.name, dataset.split) == ("custom", "train")
    images[:] = 0  # the data set holds a copy, and does not freeze the caller's array
    assert dataset.images.any()


def test_from_arrays_colour_with_names_and_subset():
    images, labels = random_images(6, (5, 4, 3)), np.array([2, 0, 1, 2, 0, 1], np.uint8)
    dataset = data.Dataset.from_arrays(
        images, labels, ["a", "b", "c", "d"], name="mine", split="test", licence="CC0"
    )
    assert dataset.num_classes == 4
    for part, expected in (
        (dataset.subset(np.array([4, 0])), [4, 0]),
        (dataset.subset(labels == 2, "validation"), [0, 3]),
    ):
        np.testing.assert_array_equal(part.images, images[expected])
        np.testing.assert_array_equal(part.labels, labels[expected])
        assert (part.class_names, part.name, part.licence) == (dataset.class_names, "mine", "CC0")
    assert dataset.subset(labels == 2, "validation").split == "validation"


GOOD = np.zeros((4, 8, 8, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "names", "error", "said"),
    [
        (np.zeros((4, 8), np.uint8), None, None, ValueError, r"\(4, 8\).*\[N, H, W, 3\]"),
        (
            np.zeros((4, 8, 8, 4), np.uint8),
            None,
            None,
            ValueError,
            r"\(4, 8, 8, 4\).*\[N, H, W, 1\]",
        ),
        (
            np.zeros((0, 8, 8, 1), np.uint8),
            None,
            None,
            ValueError,
            r"\(0, 8, 8, 1\).*none of them 0",
        ),
        (np.zeros((4, 8, 8), np.float32), None, None, TypeError, r"float32.*uint8.*0\.\.255"),
        (np.zeros((4, 8, 8), np.int64), None, None, TypeError, r"int64.*uint8"),
        (GOOD, np.zeros(3, int), None, ValueError, r"\(3,\).*\(4,\)"),
        (GOOD, np.zeros((4, 1), int), None, ValueError, r"\(4, 1\).*\(4,\)"),
        (GOOD, np.zeros(4), None, TypeError, r"float64.*integers"),
        (GOOD, [0, 1, 2, 3], ["a", "b"], ValueError, r"0\.\.3.*2 class names.*0\.\.1"),
        (GOOD, [0, -1, 0, 1], ["a", "b"], ValueError, r"-1\.\.1.*0\.\.1"),
        (GOOD, [0, -1, 0, 1], None, ValueError, r"-1\.\.1"),
    ],
)
def test_from_arrays_names_what_is_wrong_and_what_is_allowed(images, labels, names, error, said):
    with pytest.raises(error, match=said):
        data.Dataset.from_arrays(images, labels, names)


def test_from_arrays_rejects_an_unknown_split():
    with pytest.raises(ValueError, match=r"'tset'.*train, validation, test"):
        data.Dataset.from_arrays(GOOD, split="tset")


# --- wrong requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (("mnits", "train", "smoke"), "'mnits'.*mnist, cifar10.*from_arrays"),
        (("mnist", "tset", "smoke"), "'tset'.*train, validation, test"),
        (("mnist", "train", "small"), r"'small' \(argument.*smoke, quick, full"),
    ],
)
def test_load_names_what_is_unknown_and_what_is_allowed(request_, said):
    with pytest.raises(ValueError, match=said):
        data.load(*request_)


def test_load_names_a_wrong_preset_of_the_environment(monkeypatch):
    monkeypatch.setenv("IMGBOOK_PRESET", "fast")
    with pytest.raises(
        ValueError, match=r"'fast' \(environment variable IMGBOOK_PRESET\).*smoke, quick, full"
    ):
        data.load("mnist", "train")


def test_load_takes_the_preset_of_the_environment(monkeypatch):
    monkeypatch.setenv("IMGBOOK_PRESET", "smoke")
    assert len(data.load("mnist", "test")) == 160


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "mnist.npz"), ("cifar10", "cifar10-test.webp")]
)
@pytest.mark.parametrize("damage", ["flipped bit", "cut", "missing"])
def test_damaged_embedded_file_is_refused(monkeypatch, tmp_path, name, file, damage):
    folder = tmp_path / "embedded"
    shutil.copytree(sources.EMBEDDED, folder)
    content = bytearray((folder / file).read_bytes())
    if damage == "missing":
        (folder / file).unlink()
    elif damage == "cut":
        (folder / file).write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
    monkeypatch.setattr(sources, "EMBEDDED", folder)
    with pytest.raises(ValueError, match=f"{file} is missing or damaged.*install imgbook again"):
        data.load(name, "test", "smoke")


def test_official_rejects_unknown_part():
    with pytest.raises(ValueError, match=r"'validation'.*train, test"):
        sources.official("mnist", "validation")


# --- whole sets -----------------------------------------------------------------------------------------------

TRAIN_LABELS = np.repeat(np.arange(10), 10).astype(
    np.uint8
)  # ten of each class, in the order of the files
TEST_LABELS = np.arange(10)[::-1].repeat(2).astype(np.uint8)


def pixel_formula(n: int, height: int, width: int, channels: int, offset: int) -> np.ndarray:
    """Pixels that tell image, row, column and channel apart, written without a reshape."""
    i, r, c, ch = np.ogrid[:n, :height, :width, :channels]
    return ((31 * i + 7 * r + c + 83 * ch + offset) % 251).astype(np.uint8)


def fake_mnist(folder: Path) -> dict[str, str]:
    """The four idx files with few images; returns their hashes."""
    hashes = {}
    (folder / "mnist").mkdir(parents=True)
    for prefix, labels, offset in (("train", TRAIN_LABELS, 0), ("t10k", TEST_LABELS, 5)):
        n, images = len(labels), pixel_formula(len(labels), 28, 28, 1, offset)
        rows = b"".join(
            images[i, r, :, 0].tobytes() for i in range(n) for r in range(28)
        )  # row by row
        header = b"".join(v.to_bytes(4, "big") for v in (0x803, n, 28, 28))
        label_header = b"".join(v.to_bytes(4, "big") for v in (0x801, n))
        for member, content in (
            (f"{prefix}-images-idx3-ubyte", header + rows),
            (f"{prefix}-labels-idx1-ubyte", label_header + labels.tobytes()),
        ):
            (folder / "mnist" / f"{member}.gz").write_bytes(gzip.compress(content))
            hashes[member] = hashlib.sha256(content).hexdigest()
    return hashes


def fake_cifar10(folder: Path) -> dict[str, str]:
    """The archive of six binary files with few images; returns their hashes."""
    hashes, offset = {}, 0
    (folder / "cifar10").mkdir(parents=True)
    with tarfile.open(folder / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for member, labels in [
            (f"data_batch_{b + 1}", TRAIN_LABELS[20 * b :][:20]) for b in range(5)
        ] + [("test_batch", TEST_LABELS)]:
            first = 20 * int(member[-1]) - 20 if member[-1].isdigit() else 0
            offset = 0 if member != "test_batch" else 5
            images = pixel_formula(first + 20, 32, 32, 3, offset)[first:]
            content = b"".join(
                bytes([label])
                + b"".join(image[:, :, channel].tobytes() for channel in range(3))  # planes R, G, B
                for label, image in zip(labels, images, strict=True)
            )
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{member}.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            hashes[member] = hashlib.sha256(content).hexdigest()
    return hashes


@pytest.fixture
def whole_sets(monkeypatch, tmp_path) -> Path:
    """A folder with small stand-ins of both whole sets, whose hashes the package expects."""
    folder = tmp_path / "mirror"
    monkeypatch.setattr(sources, "MNIST_SHA256", fake_mnist(folder))
    monkeypatch.setattr(sources, "CIFAR10_SHA256", fake_cifar10(folder))
    monkeypatch.setattr(sources, "MIRRORS", dict.fromkeys(sources.MIRRORS, ()))  # no public ones
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path / "local"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


@pytest.fixture
def server(whole_sets):
    """An HTTP server of `whole_sets`: its URL, and the paths asked for so far."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith(
                "/broken"
            ):  # half of what was announced, then the connection ends
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"x" * 500)
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=whole_sets)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
        thread.join()


def check_whole(name: str) -> None:
    """Every pixel and label of the three splits of a stand-in."""
    shape = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}[name]
    images = pixel_formula(100, *shape, 0)
    last = np.arange(100) % 10 == 9  # ten of each class: the last of each is validation
    for split, expected, labels in (
        ("train", images[~last], TRAIN_LABELS[~last]),
        ("validation", images[last], TRAIN_LABELS[last]),
        ("test", pixel_formula(20, *shape, 5), TEST_LABELS),
    ):
        dataset = data.load(name, split, "full")
        np.testing.assert_array_equal(dataset.images, expected)
        np.testing.assert_array_equal(dataset.labels, labels)
        assert "official" in dataset.source


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("variable", ["IMGBOOK_DATA_MIRROR", "IMGBOOK_DATA_DIR"])
def test_full_from_a_folder(monkeypatch, whole_sets, name, variable):
    monkeypatch.setenv(variable, str(whole_sets))
    check_whole(name)


@pytest.mark.parametrize("name", SIZES)
def test_full_over_http_keeps_a_copy(monkeypatch, tmp_path, server, name):
    url, asked = server
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", url + "/")
    check_whole(name)
    files = sources.SOURCES[name].files
    assert sorted(asked) == sorted(f"/{name}/{file}" for file in files)  # each once
    assert {f.name for f in (tmp_path / "local" / name).iterdir()} == set(files)
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", "none")
    check_whole(name)  # without a server
    assert len(asked) == len(files)


@pytest.mark.parametrize("name", SIZES)
def test_full_from_public_mirrors_in_their_order(monkeypatch, tmp_path, server, name):
    url, asked = server
    monkeypatch.delenv("IMGBOOK_DATA_MIRROR")
    mirrors = {name: (f"{url}/gone/", f"{url}/{name}/", f"{url}/never/")}
    monkeypatch.setattr(sources, "MIRRORS", mirrors)
    check_whole(name)
    files = sources.SOURCES[name].files
    assert sorted(asked) == sorted(f"/{f}/{file}" for f in ("gone", name) for file in files)
    assert {f.name for f in (tmp_path / "local" / name).iterdir()} == set(files)


@pytest.mark.parametrize("own", ["folder", "server", "empty folder"])
def test_a_mirror_of_your_own_comes_before_public_ones(
    monkeypatch, tmp_path, whole_sets, server, own
):
    url, asked = server
    monkeypatch.setattr(sources, "MIRRORS", {"mnist": (f"{url}/mnist/",)})
    mirror = {"folder": whole_sets, "server": f"{url}/own", "empty folder": tmp_path}[own]
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", str(mirror))
    data.load("mnist", "test", "full")
    assert [path.split("/")[1] for path in asked] == {
        "folder": [],
        "server": ["own", "mnist"] * 2,  # the server has no such folder
        "empty folder": ["mnist"] * 2,
    }[own]


def test_a_mirror_with_another_content_is_left_and_named(monkeypatch, tmp_path, whole_sets, server):
    url, _ = server
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", url)
    shutil.copy(
        whole_sets / "mnist" / "train-labels-idx1-ubyte.gz",
        whole_sets / "mnist" / "t10k-labels-idx1-ubyte.gz",
    )
    with pytest.raises(FileNotFoundError, match=r"t10k-labels.*another content.*SHA-256"):
        data.load("mnist", "test", "full")
    kept = [f.name for f in (tmp_path / "local" / "mnist").iterdir()]
    assert kept == ["t10k-images-idx3-ubyte.gz"]


def test_an_archive_packed_without_its_folder_is_read(monkeypatch, whole_sets):
    path = whole_sets / "cifar10" / "cifar-10-binary.tar.gz"
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.removeprefix("cifar-10-batches-bin/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", str(whole_sets))
    check_whole("cifar10")


def test_public_mirrors_are_stated_and_the_slow_one_is_last(monkeypatch):
    monkeypatch.delenv("IMGBOOK_DATA_MIRROR")
    assert set(sources.MIRRORS) == set(sources.SOURCES)
    for name, source in sources.SOURCES.items():
        for file in source.files:
            found = sources.urls(name, file)
            assert len(found) > 1
            assert all(url.startswith("https://") and url.endswith("/" + file) for url in found)
    assert "toronto" in sources.urls("cifar10", "x")[-1]
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", "https://here.example/data")
    assert sources.urls("mnist", "x")[0] == "https://here.example/data/mnist/x"


@pytest.mark.parametrize("name", SIZES)
def test_full_without_data_names_the_ways_out(monkeypatch, tmp_path, name):
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError) as raised:
        data.load(name, "train", "full")
    message = str(raised.value)
    for part in (
        *sources.SOURCES[name].files,
        str(tmp_path / name),
        "IMGBOOK_DATA_MIRROR is none",
        "preset quick",
    ):
        assert part in message
    monkeypatch.setattr(sources, "MIRRORS", {name: ()})
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):  # says that it looked there too
        data.load(name, "train", "full")


@pytest.mark.parametrize("damage", ["cut", "flipped byte", "empty", "other content"])
@pytest.mark.parametrize("name", SIZES)
def test_damaged_whole_set_is_refused(monkeypatch, whole_sets, name, damage):
    path = (
        whole_sets
        / name
        / {"mnist": "train-images-idx3-ubyte.gz", "cifar10": "cifar-10-binary.tar.gz"}[name]
    )
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped byte":
        content[len(content) // 2] ^= 0xFF
    elif damage == "empty":
        content = b""
    else:  # whole, but other pixels than the published ones
        hashes = {"mnist": sources.MNIST_SHA256, "cifar10": sources.CIFAR10_SHA256}[name]
        hashes.update(dict.fromkeys(hashes, "0" * 64))
    path.write_bytes(content)
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", str(whole_sets))
    with pytest.raises(
        ValueError, match=rf"(?s){path.name}.*(damaged|SHA-256).*delete it and get it again"
    ):
        data.load(name, "train", "full")


def test_archive_without_a_member_is_refused(monkeypatch, whole_sets):
    path = whole_sets / "cifar10" / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", str(whole_sets))
    with pytest.raises(ValueError, match=r"data_batch_1.*delete it and get it again"):
        data.load("cifar10", "train", "full")


@pytest.mark.parametrize("way", ["nobody listens", "not there", "breaks off"])
def test_failed_download_says_so_and_leaves_no_file(monkeypatch, tmp_path, server, way):
    url, _ = server
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    url, reason = {
        "nobody listens": (closed, "refused"),
        "not there": (url + "/no-such-folder", "HTTP 404"),
        "breaks off": (url + "/broken", "after 500 bytes"),
    }[way]
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", url)
    with pytest.raises(
        FileNotFoundError, match=rf"(?s)could not be downloaded.*{reason}.*by hand"
    ) as raised:
        data.load("cifar10", "train", "full")
    assert f"{url}/cifar10/cifar-10-binary.tar.gz" in str(raised.value)
    assert not (tmp_path / "local" / "cifar10" / "cifar-10-binary.tar.gz").exists()

"""What the doctor says of a good installation, and of each thing that can be broken."""

import gzip
import hashlib
import re
import shutil
import time
from importlib import metadata
from pathlib import Path

import pytest

from imgbook import doctor, download, judge, records, sources


def only(monkeypatch, *names: str) -> None:
    """Run these checks alone."""
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in names})


def lines_of(monkeypatch, *names: str) -> list[str]:
    only(monkeypatch, *names)
    lines, ok = doctor.report()
    assert ok == all(line.startswith("OK   ") for line in lines)
    return lines


def test_this_installation_is_fine(monkeypatch):
    begin = time.monotonic()
    lines, ok = doctor.report()
    assert time.monotonic() - begin < 20  # some 3 s on an idle machine
    assert ok, "\n".join(line for line in lines if line.startswith("FAIL"))
    assert all(re.match(r"OK   \S", line) and "\n" not in line for line in lines)
    text = "\n".join(lines)
    needed = {
        re.match(r"[\w-]+", line)[0] for line in metadata.requires("imgbook") if "extra" not in line
    }
    for word in (*needed, "Python 3.", "jaxlib", "backend", *sources.EMBEDDED_SHA256, "product is right",
                 "mnist, whole: not here", "cifar10, whole: not here", "GB free", "vae", "judge",
                 "IMGBOOK_PRESET=smoke"):  # fmt: skip
        assert word in text


def test_a_broken_check_is_a_line_and_the_others_go_on(monkeypatch):
    def broken():
        yield True, "before"
        raise KeyError("in\nside")

    monkeypatch.setattr(doctor, "CHECKS", {"this": broken, "Python": doctor.check_python})
    lines, ok = doctor.report()
    assert not ok
    assert lines[:2] == ["OK   before", "FAIL this: KeyError: 'in\\nside'"]
    assert lines[2].startswith("OK   Python")


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor, "MINIMUM_PYTHON", (3, 99))
    (line,) = lines_of(monkeypatch, "Python")
    assert line.startswith("FAIL Python 3.")
    assert "needed: 3.99 or newer" in line


def test_packages_that_are_old_or_missing(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "optax":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "flax" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    failed = [line for line in lines_of(monkeypatch, "packages") if line.startswith("FAIL")]
    assert len(failed) == 2
    assert re.match(r"FAIL flax 0\.1 \(needed: >=.*pip install 'flax>=", failed[0])
    assert re.match(r"FAIL optax is not installed.*pip install 'optax>=", failed[1])


def test_a_package_that_is_not_installed_itself(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    (line,) = lines_of(monkeypatch, "packages")
    assert line.startswith("FAIL packages: PackageNotFoundError")
    assert "imgbook" in line


def test_no_device(monkeypatch):
    def devices():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr("jax.devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    (line,) = lines_of(monkeypatch, "devices")
    assert line.startswith("FAIL jax has no device")
    assert "backend 'cuda'" in line
    assert "JAX_PLATFORMS is 'cuda'" in line


def test_a_device_that_cannot_multiply(monkeypatch):
    monkeypatch.setattr("jax.jit", lambda f: lambda a: f(a) + (a == 4))
    (line,) = lines_of(monkeypatch, "arithmetic")
    assert line.startswith("FAIL a compiled matrix product is wrong; reinstall")


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_embedded_data(monkeypatch, tmp_path, damage):
    folder = tmp_path / "embedded"
    shutil.copytree(sources.EMBEDDED, folder)
    monkeypatch.setattr(sources, "EMBEDDED", folder)
    if damage == "missing":
        (folder / "mnist.npz").unlink()
    else:
        (folder / "mnist.npz").write_bytes(b"x")
    first, *others = lines_of(monkeypatch, "embedded data")
    assert re.match(r"FAIL .*mnist\.npz is missing or damaged; install imgbook again", first)
    assert [line[:5] for line in others] == ["OK   "] * 2


# --- whole sets -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    """A data folder with a stand-in of one of MNIST's four files, of which the package knows the hash."""
    content = b"pixels"
    hashes = dict(sources.MNIST_SHA256)
    hashes["t10k-labels-idx1-ubyte"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(sources, "MNIST_SHA256", hashes)
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    return tmp_path / "mnist"


def mnist_line(monkeypatch) -> str:
    return lines_of(monkeypatch, "whole data sets")[0]


@pytest.mark.parametrize(
    ("preset", "mirror", "found"),
    [
        (
            "quick",
            "none",
            "OK   mnist, whole: not here; preset quick does not need it; .*put it into",
        ),
        (
            "quick",
            "",
            "OK   mnist, whole: not here; preset quick does not need it; .*downloaded to",
        ),
        ("full", "none", "FAIL mnist, whole: not here; preset full needs it: put it into"),
        (
            "full",
            "",
            "OK   mnist, whole: not here; preset full needs it: downloaded to .* at first use",
        ),
    ],
)
def test_a_missing_whole_set(monkeypatch, folder, preset, mirror, found):
    monkeypatch.setenv("IMGBOOK_PRESET", preset)
    monkeypatch.setenv("IMGBOOK_DATA_MIRROR", mirror)
    shutil.rmtree(folder)
    line = mnist_line(monkeypatch)
    assert re.match(found, line), line
    assert str(folder) in line


def test_a_part_of_a_whole_set(monkeypatch, folder):
    part = download.part_file("https://here.example/x", folder / "train-images-idx3-ubyte.gz")
    part.write_bytes(b"x" * 3_200_000)
    line = mnist_line(monkeypatch)
    assert line.startswith("OK   mnist, whole: train-images-idx3-ubyte.gz, ")
    assert "t10k-labels" not in line
    assert "not here, 3.2 MB have come" in line


def test_a_whole_set_that_is_here(monkeypatch, folder):
    for member in sources.MNIST_SHA256:
        shutil.copy(folder / "t10k-labels-idx1-ubyte.gz", folder / f"{member}.gz.new")
        (folder / f"{member}.gz.new").rename(folder / f"{member}.gz")
    known = sources.MNIST_SHA256["t10k-labels-idx1-ubyte"]
    monkeypatch.setattr(sources, "MNIST_SHA256", dict.fromkeys(sources.MNIST_SHA256, known))
    assert mnist_line(monkeypatch) == f"OK   mnist, whole: here and undamaged ({folder})"


def test_a_damaged_whole_set(monkeypatch, folder):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-4])
    line = mnist_line(monkeypatch)
    assert re.match(rf"FAIL mnist, whole: {re.escape(str(path))}: .*damaged.*delete it", line)


# --- the data folder ------------------------------------------------------------------------------------------


def test_a_data_folder_that_is_not_there_yet(monkeypatch, tmp_path):
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path / "a" / "b"))
    (line,) = lines_of(monkeypatch, "data folder")
    assert line.startswith(f"OK   data folder {tmp_path / 'a' / 'b'}: not there yet, can be made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_data_folder_that_cannot_be_written_to(monkeypatch, tmp_path, inside):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path / "file" / inside))
    (line,) = lines_of(monkeypatch, "data folder")
    assert re.match(r"FAIL data folder .*cannot be written to .*set IMGBOOK_DATA_DIR", line)


def test_a_full_disk(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=10e6)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    (line,) = lines_of(monkeypatch, "data folder")
    assert re.match(r"FAIL .*0\.0 GB free; preset full needs", line)


# --- records, judge, environment ------------------------------------------------------------------------------


def test_damaged_and_missing_records(monkeypatch, tmp_path):
    shutil.copy(records.folder() / "vae.json", tmp_path)
    (tmp_path / "gan.json").write_text('{"name": "gan", "source_hash"')
    (tmp_path / "cnn.json").write_text('{"source_hash": "1"}')
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    lines = lines_of(monkeypatch, "result records")
    assert len(lines) == 2
    assert lines[0].startswith("FAIL result record cnn: ")
    assert lines[1].startswith("FAIL result record gan: ")
    for path in tmp_path.iterdir():
        path.unlink()
    (line,) = lines_of(monkeypatch, "result records")
    assert line.startswith("FAIL result records: none")


def test_damaged_weights_of_the_judge(monkeypatch, tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(b"no weights")
    monkeypatch.setattr(judge, "PATH", path)
    judge.load.cache_clear()
    try:
        (line,) = lines_of(monkeypatch, "weights of the judge")
    finally:
        judge.load.cache_clear()
    assert line.startswith("FAIL weights of the judge: ")
    assert "judge" in line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IMGBOOK_PRESTE", "full", "FAIL .*read by nothing; did you mean IMGBOOK_PRESET"),
        ("IMGBOOK_DATADIR", "/x", "FAIL .*did you mean IMGBOOK_DATA_DIR"),
        ("IMGBOOK_QQ", "1", "FAIL IMGBOOK_QQ=1 is read by nothing .there are IMGBOOK_DATA_DIR, "),
        ("IMGBOOK_PRESET", "fast", "FAIL IMGBOOK_PRESET=fast: allowed are smoke, quick, full"),
        ("IMGBOOK_PRESET", "full", "OK   IMGBOOK_PRESET=full$"),
        ("IMGBOOK_PRESET", "", "OK   IMGBOOK_PRESET=$"),
        ("IMGBOOK_STRICT", "true", "FAIL IMGBOOK_STRICT=true: allowed are 1 .* and 0"),
        ("IMGBOOK_STRICT", "1", "OK   IMGBOOK_STRICT=1$"),
        ("IMGBOOK_DATA_DIR", __file__, "FAIL .*is a file; allowed is a folder"),
        ("IMGBOOK_DATA_MIRROR", "/no/such/folder", "FAIL .*is no folder; allowed are .*none"),
        ("IMGBOOK_DATA_MIRROR", "https://here.example/x", "OK   IMGBOOK_DATA_MIRROR=https:"),
        ("IMGBOOK_DATA_MIRROR", str(Path(__file__).parent), "OK   "),
        ("IMGBOOK_PYTHON_3_13", "python3.13", "OK   .*for tests and scripts"),
    ],
)
def test_variables_of_the_environment(monkeypatch, name, value, said):
    for known in doctor.VARIABLES:
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(name, value)
    (line,) = lines_of(monkeypatch, "environment")
    assert re.match(said, line), line


def test_without_variables_the_preset_is_quick(monkeypatch):
    for known in doctor.VARIABLES:
        monkeypatch.delenv(known, raising=False)
    assert lines_of(monkeypatch, "environment")[0].endswith("so the preset is quick")


def test_with_a_wrong_preset_the_other_checks_still_run(monkeypatch):
    monkeypatch.setenv("IMGBOOK_PRESET", "fast")
    lines = lines_of(monkeypatch, "whole data sets", "environment")
    assert [line[:4] for line in lines if "PRESET" in line] == ["FAIL"]
    assert lines[0].startswith("OK   mnist, whole")


def test_nothing_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("IMGBOOK_DATA_DIR", str(tmp_path))
    lines_of(monkeypatch, "data folder", "whole data sets")
    assert list(tmp_path.iterdir()) == []

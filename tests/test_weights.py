"""Weights on disk: what is written, what is read, and what is refused."""

import hashlib
import json
import os
import shutil
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from imgbook import cnn, gan, training, weights

CONFIG = cnn.CNNConfig(image_shape=(8, 8, 1), num_classes=3, widths=(4,), hidden=5)
ABOUT = {
    "architecture": "a test: ü",
    "data": "none",
    "seed": 0,
    "versions": {"jax": "0"},
    "result": {"accuracy": 0.5, "small": 1e-05},
    "licence": "MIT",
}
LAYERS = ("convs.layers.0", "dense", "head")


def params(seed: int) -> nnx.State:
    return nnx.state(cnn.CNN(CONFIG, rngs=nnx.Rngs(seed)), nnx.Param)


def assert_same(found: object, expected: object) -> None:
    """Two trees of the same structure, the same to the last bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    named = weights.named(expected)
    for name, array in weights.named(found).items():
        assert array.dtype == named[name].dtype
        assert array.shape == named[name].shape
        assert np.asarray(array).tobytes() == np.asarray(named[name]).tobytes()


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    weights.save(path, params(0), ABOUT)
    return path


@pytest.fixture
def saved(once, tmp_path):
    """A copy that a test may damage."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(once.with_suffix(suffix), tmp_path)
    return tmp_path / once.name


def test_round_trip_is_bit_identical(saved):
    like = params(1)
    state, description = weights.load(saved, like)
    assert description == ABOUT
    assert_same(state, params(0))
    assert_same(like, params(1))  # `like` itself stays as it was


def test_files_are_what_others_read(saved):
    """The format, read by hand: a length, a JSON header, the arrays; and a JSON file with the hash of all that."""
    content = saved.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, start = json.loads(content[8 : 8 + length]), 8 + length
    assert json.loads(header.pop("__metadata__")["description"]) == ABOUT
    assert set(header) == {f"{layer}.{p}" for layer in LAYERS for p in ("kernel", "bias")}
    for name, array in weights.named(params(0)).items():
        begin, end = header[name]["data_offsets"]
        assert (header[name]["dtype"], tuple(header[name]["shape"])) == ("F32", array.shape)
        assert content[start + begin : start + end] == np.asarray(array).tobytes()
    about = json.loads(saved.with_suffix(".json").read_text())
    assert about == {**ABOUT, "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "uint8", "bool"])
def test_arrays_of_any_kind_come_back(tmp_path, dtype):
    shapes = {"scalar": (), "one": (1,), "empty": (0, 3), "matrix": (2, 3)}
    tree = {
        name: jnp.arange(np.prod(s, dtype=int)).reshape(s).astype(dtype)
        for name, s in shapes.items()
    }
    turned = {**tree, "turned": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}  # not contiguous
    weights.save(tmp_path / "a.safetensors", turned, ABOUT)
    assert_same(weights.load(tmp_path / "a.safetensors", turned)[0], turned)


def test_loaded_weights_run(saved):
    model = cnn.CNN(CONFIG, rngs=nnx.Rngs(1))
    graphdef, like, rest = nnx.split(model, nnx.Param, ...)
    state, _ = weights.load(str(saved), like)
    x = jnp.ones((2, 8, 8, 1))
    expected = cnn.CNN(CONFIG, rngs=nnx.Rngs(0))(x)
    np.testing.assert_array_equal(nnx.merge(graphdef, state, rest)(x), expected)
    assert not np.array_equal(model(x), expected)


# --- damage ---------------------------------------------------------------------------------------------------


def damaged(saved, suffix: str, content: bytes) -> str:
    """Write that into one of the files; returns the error that reading the pair then gives."""
    path = saved.with_suffix(suffix)
    original = path.read_bytes()
    assert content != original
    path.write_bytes(content)
    with pytest.raises(ValueError, match="get both files again, or train again") as raised:
        weights.read(saved)
    assert str(saved) in str(raised.value) or str(path) in str(raised.value)
    assert path.read_bytes() == content  # nothing is mended behind the reader's back
    path.write_bytes(original)
    return str(raised.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_flipped_bit_is_noticed(saved, suffix):
    content = saved.with_suffix(suffix).read_bytes()
    # All of the JSON, the header and some of the arrays of the other; another bit at each place.
    for i in [*range(min(len(content), 400)), *range(400, len(content), 37), len(content) - 1]:
        flipped = bytearray(content)
        flipped[i] ^= 1 << (i % 8)
        damaged(saved, suffix, bytes(flipped))


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_every_cut_is_noticed(saved, suffix):
    content = saved.with_suffix(suffix).read_bytes()
    for kept in [*range(0, len(content), 23), 7, 8, 9, len(content) - 1]:
        damaged(saved, suffix, content[:kept])
    damaged(saved, suffix, content + b"\0")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"accuracy": 0.5', '"accuracy": 0.9'),
        ('"accuracy": 0.5', '"accuracy": 0.50'),
        ("1e-05", "1E-05"),
        ('"seed": 0', '"seed": false'),
        ('"licence": "MIT",', '"licence": "MIT", "more": 1,'),
    ],
)
def test_an_edited_description_is_noticed(saved, old, new):
    text = saved.with_suffix(".json").read_text()
    assert text.count(old) == 1
    message = damaged(saved, ".json", text.replace(old, new).encode())
    assert "weights.json was changed: it is not the description in weights.safetensors" in message


def test_windows_line_ends_are_no_change(saved):
    """Git may give the JSON other line ends."""
    sidecar = saved.with_suffix(".json")
    sidecar.write_bytes(sidecar.read_bytes().replace(b"\n", b"\r\n"))
    assert weights.read(saved)[1] == ABOUT


def test_swapped_and_foreign_files_are_noticed(saved):
    other = saved.with_name("other.safetensors")
    weights.save(other, params(1), ABOUT)
    message = damaged(saved, ".safetensors", other.read_bytes())
    assert "weights.safetensors is damaged or weights.json is not its own" in message
    damaged(saved, ".json", other.with_suffix(".json").read_bytes())
    text = b"these are no weights at all"
    sha256 = hashlib.sha256(text).hexdigest()
    saved.with_suffix(".json").write_text(weights.sidecar_text(ABOUT, sha256))
    assert "is no weights file of this package" in damaged(saved, ".safetensors", text)
    for content in (b"[]", b"null", b"3", b"[" * 100_000, b"\xff\xfe"):
        assert "weights.json is damaged" in damaged(saved, ".json", content)


def test_weights_without_our_description_are_refused(tmp_path):
    from safetensors.numpy import save

    path = tmp_path / "bare.safetensors"
    for metadata in (None, {"format": "np"}, {"description": "no JSON"}, {"description": "[]"}):
        content = save({"a": np.ones(3, np.float32)}, metadata)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        path.with_suffix(".json").write_text(weights.sidecar_text(ABOUT, sha256))
        with pytest.raises(ValueError, match=r"bare.* get both files again, or train again"):
            weights.read(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_missing_file_is_named(saved, suffix):
    saved.with_suffix(suffix).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no weights file .*weights\{suffix}.*get both"):
        weights.load(saved, params(1))
    saved.with_suffix(suffix).mkdir()
    with pytest.raises(FileNotFoundError, match=rf"no weights file .*weights\{suffix}"):
        weights.load(saved, params(1))


@pytest.mark.parametrize(
    "name", ["weights", "weights.json", "weights.npz", "weights.safetensors.part"]
)
def test_other_ending_is_refused(tmp_path, name):
    for use in (lambda p: weights.save(p, params(0), ABOUT), lambda p: weights.load(p, params(0))):
        with pytest.raises(ValueError, match=rf"'{name}'; its name must end in \.safetensors"):
            use(tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- another model --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_classes": 4}, ["head.kernel: float32 (5, 3) in the file, float32 (5, 4) in this model"]),
        ({"hidden": 6}, ["dense.bias", "dense.kernel", "head.kernel"]),
        ({"image_shape": (8, 8, 3)}, ["convs.layers.0.kernel: float32 (3, 3, 1, 4) in the file"]),
        ({"widths": (5,)}, ["convs.layers.0.kernel", "convs.layers.0.bias", "dense.kernel"]),
        ({"widths": ()}, ["convs.layers.0.kernel: float32 (3, 3, 1, 4) in the file, nothing in this"]),
        ({"widths": (4, 4), "image_shape": (18, 18, 1)}, ["convs.layers.1.kernel: nothing in the file"]),
    ],
)  # fmt: skip
def test_other_architecture_is_refused_and_the_difference_named(saved, changes, named):
    config = cnn.CNNConfig(**{**vars(CONFIG), **changes})
    like = jax.eval_shape(lambda key: cnn.init(config, key)[1].params, jax.random.key(0))
    with pytest.raises(ValueError, match=r"weights.safetensors holds another model's weights") as e:
        weights.load(saved, like)
    assert all(name in str(e.value) for name in named), str(e.value)
    assert str(e.value).endswith("trained with, or another file.")


def test_wrong_dtype_is_refused(saved):
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params(1))
    with pytest.raises(ValueError, match=r"float32 \(4,\) in the file, bfloat16 \(4,\) in this"):
        weights.load(saved, half)


# --- writing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lacking", weights.REQUIRED)
def test_incomplete_description_is_refused(tmp_path, lacking):
    about = {key: value for key, value in ABOUT.items() if key != lacking}
    with pytest.raises(ValueError, match=rf"description of a.safetensors lacks {lacking}"):
        weights.save(tmp_path / "a.safetensors", params(0), about)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tree", "result", "error"),
    [
        ({"a": np.ones(2)}, {"accuracy": float("nan")}, ValueError),
        ({"a": np.ones(2)}, {"accuracy": np.float32(1)}, TypeError),
        ({"a": jax.random.key(0)}, {}, TypeError),
    ],
    ids=["nan", "no JSON", "key"],
)
def test_what_cannot_be_stored_leaves_the_old_files(saved, tree, result, error):
    with pytest.raises(error):
        weights.save(saved, tree, {**ABOUT, "result": result})
    assert_same(weights.load(saved, params(1))[0], params(0))
    assert len(list(saved.parent.iterdir())) == 2


@pytest.mark.parametrize("where", ["nowhere/a.safetensors", "file/a.safetensors", "b.safetensors"])
def test_unwritable_place_is_named(tmp_path, where):
    (tmp_path / "file").touch()
    (tmp_path / "b.json").mkdir()  # in the way of the second file
    (tmp_path / "b.safetensors").write_text("old")
    with pytest.raises(
        OSError, match=r"weights could not be written to .*safetensors.* Nothing"
    ) as e:
        weights.save(tmp_path / where, params(0), ABOUT)
    assert str(tmp_path / where) in str(e.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.json", "b.safetensors", "file"]
    assert (tmp_path / "b.safetensors").read_text() == "old"


def test_a_json_file_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(ValueError, match=r"a.json is there .* a.safetensors; choose another name"):
        weights.save(tmp_path / "a.safetensors", params(0), ABOUT)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "mine")]


@pytest.mark.parametrize("stopped_at", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_interrupted_write_leaves_the_old_pair(saved, monkeypatch, stopped_at, error):
    """Two files are written, then two are renamed; any of the four may be the last thing that happens."""
    calls = []

    def stop(original):
        def call(*args):
            calls.append(args)
            if len(calls) == stopped_at:
                raise error
            return original(*args)

        return call

    before = [saved.with_suffix(s).read_bytes() for s in (".safetensors", ".json")]
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_bytes", stop(type(saved).write_bytes))
        patched.setattr(os, "replace", stop(os.replace))
        with pytest.raises(type(error)):
            weights.save(saved, params(1), ABOUT)
    assert [saved.with_suffix(s).read_bytes() for s in (".safetensors", ".json")] == before
    assert len(list(saved.parent.iterdir())) == 2
    weights.save(saved, params(1), ABOUT)  # and it can be done again
    assert_same(weights.load(saved, params(0))[0], params(1))


# --- whole models ---------------------------------------------------------------------------------------------


def history(n: int = 7) -> training.History:
    curve = np.linspace(2, 1, n, dtype=np.float32)
    return training.History({"loss": curve, "accuracy": 1 / curve}, 1.5, 20.25, 3000.0)


def filled(seed: int, model: str = "cnn") -> tuple:
    """A training state of random numbers, keys among them."""
    config = {
        "cnn": CONFIG,
        "gan": gan.GANConfig(image_shape=(8, 8, 1), latent_dim=3, num_codes=2, width=2),
    }
    module = {"cnn": cnn, "gan": gan}[model]
    shapes = jax.eval_shape(lambda key: module.init(config[model], key)[1], jax.random.key(0))
    rng = np.random.default_rng(seed)

    def fill(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(seed)
        return rng.uniform(1, 9, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(fill, shapes)


def key_data(leaf: jax.Array) -> jax.Array:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


@pytest.mark.parametrize("model", ["cnn", "gan"])
def test_a_trained_model_comes_back_whole_with_its_history(tmp_path, model):
    """A state of one network and of two; what is not needed to use it, optimiser and keys, stays the caller's."""
    state, fresh = filled(0, model), filled(1, model)
    path = tmp_path / "model.safetensors"
    weights.save_model(path, state, history(), ABOUT)
    found, its_history, description = weights.load_model(path, fresh)
    assert_same(weights.inference(found), weights.inference(state))
    rest = (weights.with_weights(s, weights.inference(fresh)) for s in (found, fresh))
    assert_same(*(jax.tree.map(key_data, r) for r in rest))
    assert {**ABOUT, "seconds": 20.25}.items() <= description.items()
    assert vars(its_history).keys() == vars(history()).keys()
    for name, value in vars(history()).items():
        np.testing.assert_equal(getattr(its_history, name), value)


def test_the_packages_models_are_loaded_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, "TRAINED", tmp_path / "trained")
    state, fresh = filled(0), filled(1)
    with pytest.raises(FileNotFoundError, match=r"no trained model 'a' in the package.*: none"):
        weights.load_trained("a", fresh)
    files = weights.save_trained("a", state, history(), ABOUT)
    assert sorted(p.name for p in files) == ["a.json", "a.safetensors"]
    assert sorted(files) == sorted((tmp_path / "trained").iterdir())
    found, its_history = weights.load_trained("a", fresh)
    assert_same(found.params, state.params)
    assert its_history.seconds == 20.25
    assert (
        "weights of a, not trained here (recorded result: accuracy 0.5" in capsys.readouterr().err
    )
    with pytest.raises(FileNotFoundError, match=r"no trained model 'b' in the package.*: a$"):
        weights.load_trained("b", fresh)

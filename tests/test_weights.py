"""Weights on disk, and the judge that reads its own from the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import loaded, random_images
from flax import nnx

from imgbook import cnn, judge, training, weights

CONFIG = cnn.CNNConfig(image_shape=(8, 8, 1), num_classes=3, widths=(4,), hidden=5)


def params(seed: int, **changes: object) -> nnx.State:
    config = cnn.CNNConfig(**{**vars(CONFIG), **changes})
    return nnx.state(cnn.CNN(config, rngs=nnx.Rngs(seed)), nnx.Param)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(
        path, params(0), {"what": "a test: ü", "seed": 0, "nested": {"list": [1, 2.5, None]}}
    )
    return path


def test_round_trip_is_bit_identical(saved):
    like = params(1)
    before = weights.flatten(like)
    state, description = weights.load(saved, like)
    assert description == {"what": "a test: ü", "seed": 0, "nested": {"list": [1, 2.5, None]}}
    expected, found = weights.flatten(params(0)), weights.flatten(state)
    assert set(found) == {
        f"{layer}.{p}" for layer in ("convs.layers.0", "dense", "head") for p in ("kernel", "bias")
    }
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()
        assert np.array_equal(
            weights.flatten(like)[name], before[name]
        )  # `like` itself stays as it was
    assert jax.tree.structure(state) == jax.tree.structure(like)


def test_loaded_weights_run(saved):
    model = cnn.CNN(CONFIG, rngs=nnx.Rngs(1))
    graphdef, like, rest = nnx.split(model, nnx.Param, ...)
    state, _ = weights.load(saved, like)
    x = jnp.ones((2, 8, 8, 1))
    expected = cnn.CNN(CONFIG, rngs=nnx.Rngs(0))(x)
    np.testing.assert_array_equal(nnx.merge(graphdef, state, rest)(x), expected)
    assert not np.array_equal(model(x), expected)


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, -1])
def test_cut_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else kept])
    with pytest.raises(
        ValueError, match=r"weights.safetensors is no whole weights file.*get it again or retrain"
    ):
        weights.load(saved, params(1))


@pytest.mark.parametrize("byte", [0, 2, 7, 8])
def test_damaged_header_is_refused(saved, byte):
    """The first eight bytes are the header's length, the ninth is its opening brace."""
    content = bytearray(saved.read_bytes())
    content[byte] ^= 0x40
    saved.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights.safetensors is no whole weights file"):
        weights.load(saved, params(1))


def test_missing_or_foreign_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none.safetensors is no whole weights file"):
        weights.load(tmp_path / "none.safetensors", params(1))
    (tmp_path / "text.safetensors").write_text("these are no weights at all")
    with pytest.raises(ValueError, match=r"text.safetensors is no whole weights file"):
        weights.load(tmp_path / "text.safetensors", params(1))


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"num_classes": 4}, {"head.bias", "head.kernel"}),
        ({"hidden": 6}, {"dense.bias", "dense.kernel", "head.kernel"}),
        ({"image_shape": (8, 8, 3)}, {"convs.layers.0.kernel"}),
        ({"widths": (5,)}, {"convs.layers.0.kernel", "convs.layers.0.bias", "dense.kernel"}),
        ({"widths": ()}, {"convs.layers.0.kernel", "convs.layers.0.bias", "dense.kernel"}),
    ],
)
def test_other_architecture_is_refused_and_the_difference_named(saved, changes, differing):
    with pytest.raises(ValueError, match=r"another model's weights") as raised:
        weights.load(saved, params(1, **changes))
    assert set(str(raised.value).split("differ in ")[1].split(", ")) == differing


# --- the judge ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """560 digits of the package, 56 a class: none of them was in the judge's training set."""
    parts = [loaded("mnist", split) for split in ("train", "validation", "test")]
    return np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])


def test_judge_file_is_small_and_described():
    assert judge.PATH.stat().st_size < 1_000_000
    description = judge.load()[2]
    assert {
        "what",
        "data",
        "data_hash",
        "command",
        "seed",
        "date",
        "test_accuracy",
        "version",
    } <= set(description)
    assert description["test_accuracy"] > 0.985
    assert len(description["data_hash"]) == 64


def test_judge_recognises_digits_it_has_not_seen(digits):
    images, labels = digits
    p = judge.probabilities(images)
    assert p.shape == (560, 11)  # the last one: not a digit
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert (p.argmax(1) == labels).mean() > 0.97
    np.testing.assert_allclose(
        judge.probabilities(images[:20] / 255), p[:20], rtol=1e-3, atol=1e-5
    )  # floats too


def test_score_of_real_digits_is_high_and_balanced(digits):
    score = judge.score(digits[0])
    assert set(score) == {"recognised", "class_shares", "smallest_share", "classes"}
    assert 0.93 < score["recognised"] <= 1
    np.testing.assert_allclose(score["class_shares"], 0.1, atol=0.015)
    assert score["class_shares"].sum() == pytest.approx(1)
    assert score["smallest_share"] == pytest.approx(10 * score["class_shares"].min())
    assert score["classes"] == 10


def test_score_sees_a_lost_class_and_a_single_one(digits):
    images, labels = digits
    assert judge.score(images[labels != 4])["smallest_share"] < 0.2
    one = judge.score(images[labels == 1])
    assert one["class_shares"][1] > 0.95
    assert one["smallest_share"] == 0
    assert one["classes"] <= 3


def test_score_follows_from_the_probabilities(monkeypatch):
    p = np.full((6, 11), 0.001)
    for row, (c, value) in enumerate(
        [(2, 0.95), (2, 0.99), (7, 0.91), (7, 0.90), (0, 0.5), (10, 0.99)]
    ):
        p[row, c] = value  # three digits above 0.9, and one "not a digit"
    monkeypatch.setattr(judge, "probabilities", lambda _: p)
    score = judge.score(None)
    assert score["recognised"] == 3 / 6
    np.testing.assert_allclose(score["class_shares"], np.eye(10)[[2, 2, 7]].mean(0))
    assert (score["smallest_share"], score["classes"]) == (0, 2)
    monkeypatch.setattr(judge, "probabilities", lambda _: np.full((5, 11), 1 / 11))
    score = judge.score(None)  # nothing recognised: zeros, and no division by zero
    assert (score["recognised"], score["smallest_share"], score["classes"]) == (0, 0, 0)
    np.testing.assert_array_equal(score["class_shares"], np.zeros(10))


@pytest.mark.parametrize(
    "images",
    [
        np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 28, 28, 1)),
        random_images(100, (28, 28, 1)),
        random_images(100, (28, 28, 1)) // 128 * np.uint8(255),
    ],
    ids=["constant grey", "noise", "binary noise"],
)
def test_what_is_no_digit_is_not_recognised(images):
    score = judge.score(images)
    assert score["recognised"] < 0.05
    assert score["smallest_share"] == 0


@pytest.mark.parametrize("n", [9, 10, 1])
def test_non_digits_are_made_of_digits_by_thirds(n):
    digits = loaded("mnist", "train").images
    made = judge.non_digits(digits, n, seed=3)
    assert made.shape == (n, 28, 28, 1)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, judge.non_digits(digits, n, seed=3))
    assert not np.array_equal(made, judge.non_digits(digits, n, seed=4))
    if n == 9:  # the second third are permutations of the pixels of digits
        sorted_digits = {np.sort(d, axis=None).tobytes() for d in digits}
        shuffled = [np.sort(m, axis=None).tobytes() in sorted_digits for m in made]
        assert shuffled == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (random_images(2, (32, 32, 1)), r"\(32, 32, 1\).*\(28, 28, 1\)"),
        (random_images(2, (28, 28, 3)), r"\(28, 28, 3\).*\(28, 28, 1\)"),
        (random_images(2, (28, 28)), r"\(2, 28, 28\).*\[N, H, W, C\]"),
        (np.full((1, 28, 28, 1), -0.5), r"-0\.5.*\[0, 1\]"),
        (np.full((1, 28, 28, 1), 255.0), r"255.*\[0, 1\]"),
        (np.full((1, 28, 28, 1), np.nan), r"nan.*\[0, 1\]"),
    ],
)
def test_judge_refuses_other_images(images, said):
    with pytest.raises(ValueError, match=said):
        judge.probabilities(images)


def test_damaged_judge_file_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(judge.PATH.read_bytes()[:-10])
    monkeypatch.setattr(judge, "PATH", path)
    with pytest.raises(ValueError, match=r"judge.safetensors is no whole weights file"):
        judge.load.__wrapped__()


def test_judge_weights_fit_the_chapters_network():
    graphdef, state, _ = judge.load()
    assert training.as_module(graphdef, state)(jnp.zeros((1, 28, 28, 1))).shape == (1, 11)

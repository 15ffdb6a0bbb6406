"""The judge: its weights and answers, its temperature, and what it says of sets of images."""

import hashlib
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import loaded, losses, random_images
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from imgbook import experiment_runs, judge, staleness, training, weights

# Of the parameters; the logits are of ten test digits a class at preset smoke, in the order of the data.
SHA256 = "e0e498b61e2355eda350e7a99f778d6a6835c136e42f5febe1e80e60105c9646"
LOGITS = Path(__file__).parent / "data" / "judge-logits.txt"
MEASURES = {
    "recognised", "frechet", "kernel", "kernel_error", "precision", "recall", "smallest_share", "largest_share",
    "variation", "classifier_score",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    """560 digits of the package, 56 a class: none of them was in the judge's training set."""
    parts = [loaded("mnist", split) for split in ("train", "validation", "test")]
    return np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts])


@pytest.fixture(scope="module")
def seen(digits):
    return judge.opinion(digits[0])


def part(seen, chosen):
    """The opinion on some of the images."""
    return judge.Opinion(seen.features[chosen], seen.logits[chosen])


@pytest.fixture(scope="module")
def halves(digits, seen):
    """Opinions of two sets of 280 digits, 28 a class, and the labels of both."""
    turns = np.argsort(digits[1], kind="stable").reshape(10, 56)  # [class, its images]
    first, second = turns[:, ::2].ravel(), turns[:, 1::2].ravel()
    np.testing.assert_array_equal(digits[1][first], digits[1][second])
    return part(seen, first), part(seen, second), digits[1][first]


# --- the recorded judge -----------------------------------------------------------------------------------------


def test_judge_file_is_small_and_described():
    assert judge.PATH.stat().st_size < 1_000_000
    description = judge.load()[2]
    assert {*weights.REQUIRED, "data_hash", "command", "date", "imgbook"} <= set(description)
    result = description["result"]
    assert 0.993 <= result["test_accuracy"] <= 1
    assert 0.5 < result["temperature"] < 2
    assert result["test_confidence"] == pytest.approx(result["test_accuracy"], abs=0.005)
    assert {"jax", "flax", "optax", "numpy"} <= set(description["versions"])
    assert len(description["data_hash"]) == 64


def test_judge_has_the_same_weights_and_answers_everywhere():
    """To the last bit, and to a ten thousandth, with every supported version of JAX and Flax."""
    graphdef, state, _ = judge.load()
    sha = hashlib.sha256()
    for name, array in sorted(weights.named(state.params).items()):
        sha.update(name.encode() + np.asarray(array).tobytes())
    assert sha.hexdigest() == SHA256
    test = loaded("mnist", "test")
    assert np.bincount(test.labels[:100]).tolist() == [10] * 10
    _, logits = judge.outputs(graphdef, state, test.images[:100])
    expected = np.loadtxt(LOGITS)
    assert np.abs(logits - expected).max() < 1e-4 * np.abs(expected).max()


def test_judge_recognises_digits_it_has_not_seen(digits, seen):
    images, labels = digits
    p = seen.probabilities
    assert p.shape == (560, 10)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert (p.argmax(1) == labels).mean() > 0.98
    floats = judge.probabilities((images[:20] / 255).astype(np.float32))
    np.testing.assert_allclose(floats, p[:20], rtol=1e-3, atol=1e-6)


def test_judge_shares_nothing_with_the_chapters():
    used = set(staleness.modules(experiment_runs.run_judge))
    assert "judge" in used
    assert not used & {"cnn", "concepts", "gan", "gan_networks", "vae", "flow"}


def test_damaged_judge_file_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(judge.PATH.read_bytes()[:-10])
    shutil.copy(judge.PATH.with_suffix(".json"), tmp_path)
    monkeypatch.setattr(judge, "PATH", path)
    with pytest.raises(ValueError, match=r"judge.safetensors is damaged .* or train again"):
        judge.load.__wrapped__()


# --- network and training ---------------------------------------------------------------------------------------


def test_features_are_bounded_and_the_head_makes_logits_of_them(digits):
    graphdef, state, _ = judge.load()
    images = np.concatenate([digits[0][:20], random_images(20, (28, 28, 1))])
    features, logits = judge.outputs(graphdef, state, images, batch_size=7)
    assert features.shape == (40, judge.NUM_FEATURES) == (40, 64)
    assert logits.shape == (40, 10)
    assert np.abs(features).max() <= 1
    assert np.abs(features).max() > 0.5
    head = training.as_module(graphdef, state).head
    np.testing.assert_allclose(
        logits, features @ np.asarray(head.kernel[...]) + np.asarray(head.bias[...]),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    whole = judge.outputs(graphdef, state, images)
    np.testing.assert_allclose(features, whole[0], atol=1e-5)
    opinion, temperature = judge.opinion(images), judge.load()[2]["result"]["temperature"]
    np.testing.assert_allclose(opinion.features, whole[0], atol=1e-6)
    np.testing.assert_allclose(opinion.logits, whole[1] / temperature, rtol=1e-5, atol=1e-5)


def test_dropout_is_off_without_a_key_and_on_with_one(digits):
    graphdef, state, _ = judge.load()
    model, x = training.as_module(graphdef, state), judge.as_input(digits[0][:3])
    a, b = model(x), model(x, jax.random.key(0))
    np.testing.assert_array_equal(a, model(x))
    np.testing.assert_array_equal(b, model(x, jax.random.key(0)))
    assert not np.allclose(a, b)


def test_loss_of_one_batch_falls(digits):
    config = judge.JudgeConfig(batch_size=16, num_steps=20, dropout=0.0, shift=0)
    graphdef, state = judge.init(config, jax.random.key(0))
    batch = (digits[0][:16], digits[1][:16])
    values, state = losses(judge.make_train_step(graphdef, config), state, batch)
    assert int(state.step) == 20
    assert np.mean(values[-3:]) < 0.7 * values[0]


@pytest.mark.parametrize("count", [0, 9, 10, 560, 50_000])
def test_each_tenth_image_is_held_out(count):
    mask = judge.held_out(count)
    assert mask.shape == (count,)
    assert np.flatnonzero(mask).tolist() == list(range(9, count, 10))


# --- temperature ------------------------------------------------------------------------------------------------


def drawn(n: int = 20_000, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: calibrated by construction."""
    rng = np.random.default_rng(0)
    logits = scale * rng.standard_normal((n, 10))
    return logits, (softmax(logits, 1).cumsum(1) > rng.random((n, 1))).argmax(1)


def test_calibrated_logits_have_temperature_one_and_scaled_ones_the_scale():
    logits, labels = drawn()
    one = judge.calibrate(logits, labels)
    assert one == pytest.approx(1, abs=0.02)
    for scale in (0.1, 3.0, 20.0):
        assert judge.calibrate(scale * logits, labels) == pytest.approx(scale * one, rel=1e-9)
    moved = logits + np.random.default_rng(1).standard_normal((len(logits), 1)) * 100
    assert judge.calibrate(moved, labels) == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize(("scale", "right"), [(1.0, 0.9), (5.0, 0.99), (0.2, 0.6)])
def test_temperature_of_two_classes_in_closed_form(scale, right):
    """Logits (s, -s) that are right in a share a of cases: sigmoid(2 s / T) = a."""
    n = 1000
    labels = (np.arange(n) >= right * n).astype(int)
    logits = np.tile([[scale, -scale]], (n, 1))
    expected = 2 * scale / np.log(right / (1 - right))
    assert judge.calibrate(logits, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_temperature_is_scipys_minimum(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((300, 10)) * 6, rng.integers(0, 10, 300)
    logits[np.arange(300), labels] += rng.uniform(0, 12, 300)

    def loss(temperature):
        return -log_softmax(logits / temperature, 1)[np.arange(300), labels].mean()

    found = judge.calibrate(logits, labels)
    best = minimize_scalar(loss, bounds=(0.05, 50), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(best.x, rel=1e-4)
    assert loss(found) <= loss(best.x) + 1e-12


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((20, 10)), np.arange(20) % 10),
        (-10 * np.eye(10), np.arange(10)),  # always wrong
        (1e-6 * np.random.default_rng(0).standard_normal((50, 10)), np.arange(50) % 10),
        (10 * np.eye(10), np.arange(10)),  # always right
        (1e4 * np.eye(10), np.arange(10)),
        (1e5 * np.random.default_rng(0).standard_normal((50, 10)), np.arange(50) % 10),
    ],
    ids=["equal", "wrong", "untrained", "right", "sure", "large and wrong"],
)
def test_temperature_stays_within_its_bounds(logits, labels):
    assert 0.01 * (1 - 1e-9) <= judge.calibrate(logits, labels) <= 100 * (1 + 1e-9)


# --- what it says of a set --------------------------------------------------------------------------------------


def opinion_of(p: np.ndarray) -> judge.Opinion:
    return judge.Opinion(np.zeros((len(p), 2)), np.log(p))


def test_summary_by_hand():
    sure = [(2, 0.95), (2, 0.99), (7, 0.91), (7, 0.89), (0, 0.5)]  # three above 0.9
    p = np.stack([np.where(np.arange(10) == c, v, (1 - v) / 9) for c, v in sure])
    said = judge.summary(opinion_of(p))
    assert set(said) == {"recognised", "class_shares", "smallest_share", "classes"}
    assert said["recognised"] == 3 / 5
    np.testing.assert_allclose(said["class_shares"], np.eye(10)[[2, 2, 7]].mean(0))
    assert (said["smallest_share"], said["classes"]) == (0, 2)
    nothing = judge.summary(opinion_of(np.full((5, 10), 0.1)))  # zeros, no division by zero
    assert (nothing["recognised"], nothing["smallest_share"], nothing["classes"]) == (0, 0, 0)
    np.testing.assert_array_equal(nothing["class_shares"], np.zeros(10))


def test_score_of_real_digits_is_high_and_balanced(digits):
    score = judge.score(digits[0])
    assert 0.95 < score["recognised"] <= 1
    np.testing.assert_allclose(score["class_shares"], 0.1, atol=0.015)
    assert score["class_shares"].sum() == pytest.approx(1)
    assert score["smallest_share"] == pytest.approx(10 * score["class_shares"].min())
    assert score["classes"] == 10


@pytest.mark.parametrize(
    "images",
    [
        random_images(50, (28, 28, 1)),
        np.repeat(loaded("mnist", "test").images.mean(0, keepdims=True) / 255, 5, 0),
    ],
    ids=["noise", "mean image"],
)
def test_no_claim_is_made_about_what_is_no_digit(images):
    """It must call everything a digit; what it says of noise is a number like any other."""
    said = judge.score(images)
    assert 0 <= said["recognised"] <= 1
    assert said["class_shares"].sum() == pytest.approx(1 if said["recognised"] else 0)


def test_a_set_compared_with_itself(seen):
    said = judge.compare(seen, seen)
    assert set(said) == MEASURES
    assert all(isinstance(value, float) for value in said.values())
    assert said["frechet"] == pytest.approx(0, abs=1e-6)
    assert said["kernel"] <= 0  # unbiased, and the same images cannot be drawn twice
    assert (said["precision"], said["recall"], said["variation"]) == (1, 1, 0)
    assert (said["smallest_share"], said["largest_share"]) == (1, 1)
    assert said["recognised"] == judge.summary(seen)["recognised"]
    assert 9 < said["classifier_score"] <= 10


def test_sides_exchanged(halves):
    """Distances are symmetric; what is precision of the one is recall of the other."""
    all_digits, others, labels = halves
    seven = part(others, labels < 7)
    a, b = judge.compare(all_digits, seven), judge.compare(seven, all_digits)
    for name in ("frechet", "kernel", "kernel_error", "variation"):
        assert a[name] == pytest.approx(b[name], rel=1e-6)
    assert (a["precision"], a["recall"]) == (b["recall"], b["precision"])
    assert a["recall"] < a["precision"] - 0.1  # three digits are missing
    assert a["smallest_share"] == 0
    assert a["largest_share"] == pytest.approx(10 / 7, abs=0.15)
    assert a["variation"] == pytest.approx(0.3, abs=0.03)


def test_a_collapse_is_seen(halves):
    real, others, labels = halves
    even, ones = judge.compare(real, others), judge.compare(real, part(others, labels == 1))
    assert ones["recall"] < 0.3 * even["recall"]
    assert ones["frechet"] > 10 * even["frechet"]
    assert ones["kernel"] > even["kernel"] + 10 * even["kernel_error"]
    assert ones["smallest_share"] == 0
    assert ones["largest_share"] == pytest.approx(10, abs=1)
    assert ones["variation"] == pytest.approx(0.9, abs=0.03)
    assert ones["classifier_score"] < 1.2 < 9 < even["classifier_score"]


def test_a_class_that_the_real_set_lacks_is_no_division_by_zero(seen, digits):
    real = part(seen, digits[1] != 4)
    said = judge.compare(real, seen)
    assert all(np.isfinite(value) for value in said.values())
    assert said["largest_share"] > 10


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
    for function in (judge.opinion, judge.score, judge.probabilities):
        with pytest.raises(ValueError, match=said):
            function(images)

"""The order of images: epochs, what is left over, Poisson sampling; a step's batch depends on its number only."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from imgbook.training import batches

KEY = jax.random.key(0)


def drawn(stream, first: int, count: int) -> list[np.ndarray]:
    """The first array of the batches of steps first, ..., first + count - 1."""
    plan = stream.plan(first, count)
    entries = (jax.tree.map(lambda array, i=i: array[i], plan) for i in range(count))
    return [np.asarray(stream.draw(stream.data, entry)[0]) for entry in entries]


def epochs(batch_size: int, n: int, count: int, key: jax.Array = KEY) -> list[np.ndarray]:
    """The indices drawn in each of `count` epochs."""
    stream = iter(batches((np.arange(n),), batch_size, key))
    return [
        np.concatenate([b for (b,) in itertools.islice(stream, n // batch_size)])
        for _ in range(count)
    ]


@pytest.mark.parametrize(("batch_size", "n"), [(4, 12), (5, 12), (12, 12), (1, 7)])
def test_an_epoch_shows_every_image_at_most_once(batch_size, n):
    for order in epochs(batch_size, n, 3):
        assert len(order) == n // batch_size * batch_size
        assert len(set(order.tolist())) == len(order)
        assert set(order.tolist()) <= set(range(n))


def test_epochs_differ_and_all_images_are_seen_in_the_long_run():
    orders = epochs(16, 40, 8)
    assert len({o.tobytes() for o in orders}) == 8
    # 8 are left over each time, others each time.
    assert set(np.concatenate(orders).tolist()) == set(range(40))


def test_order_depends_on_the_key_only():
    np.testing.assert_array_equal(epochs(4, 20, 3), epochs(4, 20, 3))
    assert not np.array_equal(epochs(4, 20, 3), epochs(4, 20, 3, jax.random.key(1)))


def test_any_step_can_be_drawn_again_alone():
    """What a resumed run needs: the batch of step 17 is the same whatever was asked for before."""
    whole = drawn(batches((np.arange(50),), 8, KEY), 0, 40)
    stream = batches((np.arange(50),), 8, KEY)
    for first, count in ((17, 3), (0, 2), (35, 5), (11, 20)):
        np.testing.assert_array_equal(drawn(stream, first, count), whole[first : first + count])


def test_arrays_stay_together_and_keep_their_dtypes():
    images = np.arange(60, dtype=np.uint8).reshape(15, 2, 2, 1)
    labels = images[:, 0, 0, 0].astype(np.int32)
    for image, label in itertools.islice(batches((images, labels), 4, KEY), 7):
        assert (image.shape, image.dtype, label.dtype) == ((4, 2, 2, 1), np.uint8, np.int32)
        np.testing.assert_array_equal(image[:, 0, 0, 0], label)


def test_what_is_left_over_is_said():
    assert batches((np.arange(9207),), 64, KEY).note == (
        "9,207 images, 143 steps of 64 an epoch; 55 images are left over each epoch, others each time"
    )
    assert batches((np.arange(12),), 4, KEY).note == "12 images, 3 steps of 4 an epoch"


@pytest.mark.parametrize("poisson", [False, True])
@pytest.mark.parametrize("batch_size", [0, -1, 13])
def test_bad_batch_size_is_refused_at_once(batch_size, poisson):
    with pytest.raises(ValueError, match=f"{batch_size} with 12 images; allowed: 1 to 12"):
        batches((np.arange(12),), batch_size, KEY, poisson=poisson)


def test_different_lengths_are_refused_at_once():
    with pytest.raises(ValueError, match=r"\[12, 11\]"):
        batches((np.arange(12), np.arange(11)), 4, KEY)


# --- Poisson sampling -----------------------------------------------------------------------------------------


def test_poisson_sampling_draws_each_image_independently():
    """Over 400 batches: sizes are binomial, every image comes equally often, and two images come together by chance."""
    n, batch_size, steps = 30, 6, 400
    stream = batches((np.arange(n), np.arange(n) * 2), batch_size, KEY, poisson=True)
    indices, weights = stream.plan(0, steps)
    chosen = np.zeros((steps, n))
    for row, (index, weight) in enumerate(zip(indices, weights, strict=True)):
        picked = index[weight == 1]
        assert len(set(picked.tolist())) == len(picked)
        assert set(np.unique(weight)) <= {0.0, 1.0}
        chosen[row, picked] = 1
    q = batch_size / n
    sizes = chosen.sum(1)
    assert abs(sizes.mean() - n * q) < 4 * np.sqrt(n * q * (1 - q) / steps)
    assert stats.chisquare(chosen.sum(0)).pvalue > 1e-4
    assert 0.8 < sizes.var() / (n * q * (1 - q)) < 1.25
    together = (chosen[:, :15] * chosen[:, 15:]).mean()
    assert abs(together - q**2) < 4 * np.sqrt(q**2 / (steps * 15))


def test_a_poisson_batch_brings_its_weights():
    stream = batches((np.arange(40), -np.arange(40)), 8, KEY, poisson=True)
    for index, negative, weights in itertools.islice(stream, 5):
        assert len(index) == len(negative) == len(weights)
        np.testing.assert_array_equal(negative, -index)
        assert weights.dtype == np.float32
        size = int(weights.sum())
        np.testing.assert_array_equal(weights, [1] * size + [0] * (len(weights) - size))
    np.testing.assert_array_equal(drawn(stream, 3, 1)[0], drawn(stream, 0, 5)[3])


def test_a_poisson_batch_of_all_images_has_them_all():
    _, weights = batches((np.arange(9),), 9, KEY, poisson=True).plan(0, 4)
    np.testing.assert_array_equal(weights, np.ones((4, 9)))

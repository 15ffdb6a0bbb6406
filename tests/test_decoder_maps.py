"""Maps of a decoder, on a decoder whose slopes are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal
from jax.tree_util import Partial

from imgbook import cnn_sanity, decoder_maps

WEIGHTS = jnp.asarray(normal((3, 4, 5), seed=1))
CODES = jnp.asarray(normal((6, 3)))


def sigmoid_decoder(weights: jax.Array, z: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(jnp.einsum("nl,lhw->nhw", z, weights))


DECODE = Partial(sigmoid_decoder, WEIGHTS)


def test_slopes_of_a_known_decoder():
    """x = sigmoid(z . W) has dx / dz_l = x (1 - x) W_l: the image's own map is a factor of every latent's."""
    x = sigmoid_decoder(WEIGHTS, CODES)
    expected = (x * (1 - x))[:, None] * jnp.abs(WEIGHTS)
    np.testing.assert_allclose(decoder_maps.slopes(DECODE, CODES), expected, rtol=1e-4, atol=1e-6)
    factor = decoder_maps.of_the_image(x, 3)
    every = np.broadcast_to(np.abs(WEIGHTS), (6, 3, 4, 5))
    np.testing.assert_allclose(expected / factor, every, rtol=1e-4)


def test_small_moves_are_slopes_times_size():
    size = 1e-2
    found = decoder_maps.moves(DECODE, CODES, jnp.float32(size)) / size
    np.testing.assert_allclose(found, decoder_maps.slopes(DECODE, CODES), rtol=0.1, atol=2e-3)


def test_moves_by_hand():
    found = decoder_maps.moves(DECODE, CODES, jnp.float32(2.0))
    moved = CODES.at[:, 1].add(2.0)
    expected = jnp.abs(sigmoid_decoder(WEIGHTS, moved) - sigmoid_decoder(WEIGHTS, CODES))
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-4, atol=1e-6)


def test_controls_and_agreement():
    maps = decoder_maps.slopes(DECODE, CODES)
    same = decoder_maps.agreement(maps, maps, cnn_sanity.similarity)
    np.testing.assert_allclose(same, 1, rtol=1e-5)
    np.testing.assert_array_equal(decoder_maps.of_other_latents(maps)[:, 1], maps[:, 0])
    np.testing.assert_array_equal(decoder_maps.of_other_images(maps)[2], maps[1])
    wrong = decoder_maps.agreement(decoder_maps.of_other_latents(maps), maps, cnn_sanity.similarity)
    assert float(wrong.mean()) < 0.9


def test_errors():
    maps = jnp.ones((1, 1, 2, 2))
    with pytest.raises(ValueError, match="at least 2"):
        decoder_maps.of_other_latents(maps)
    with pytest.raises(ValueError, match="at least 2"):
        decoder_maps.of_other_images(maps)
    with pytest.raises(ValueError, match="expected one shape"):
        decoder_maps.agreement(maps, maps[0], cnn_sanity.similarity)

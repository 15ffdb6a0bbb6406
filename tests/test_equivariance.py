"""Shifts, circular convolution, equivariance and invariance, and the matrix of a convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import normal, random_images
from scipy.signal import convolve2d, correlate2d

from imgbook import equivariance, layers

EPS = 2e-6  # of a float32 sum of a few dozen terms, relative to the whole


def loops(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Circular cross-correlation by its definition, kernel centred at every stride-th pixel."""
    n, height, width, _ = x.shape
    kh, kw, _, b = kernel.shape
    y = np.zeros((n, height // stride, width // stride, b))
    for i, j, u, v in np.ndindex(height // stride, width // stride, kh, kw):
        row = (i * stride + u - (kh - 1) // 2) % height
        column = (j * stride + v - (kw - 1) // 2) % width
        y[:, i, j] += x[:, row, column] @ kernel[u, v]
    return y


def same(kernel: np.ndarray, stride: int = 1):
    """A convolution padded with zeros."""
    return jax.jit(
        lambda x: layers.conv(x, kernel, layers.window(x.shape[1:3], kernel.shape[:2], stride))
    )


# --- moving ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, 0), (0, -3), (-1, 4), (9, -8)])
def test_shift_around_the_torus_is_numpys_roll(dy, dx):
    images = random_images(3, (6, 5, 2))
    moved = equivariance.shift(images, dy, dx)
    np.testing.assert_array_equal(moved, np.roll(images, (dy, dx), (1, 2)))
    back = equivariance.shift(moved, -dy, -dx)
    np.testing.assert_array_equal(back, images)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, 1), (-1, -3), (4, -2), (7, 9)])
@pytest.mark.parametrize(("mode", "pad"), [("zeros", "constant"), ("edge", "edge")])
def test_shift_with_a_border_is_a_window_of_the_padded_image(dy, dx, mode, pad):
    images = 1 + random_images(2, (6, 5, 3)) // 2
    padded = np.pad(images, ((0, 0), (9, 9), (9, 9), (0, 0)), mode=pad)
    expected = padded[:, 9 - dy : 15 - dy, 9 - dx : 14 - dx]
    np.testing.assert_array_equal(equivariance.shift(images, dy, dx, mode), expected)


@pytest.mark.parametrize("mode", equivariance.MODES)
@pytest.mark.parametrize("make", [np.asarray, jnp.asarray])
def test_shift_keeps_dtype_shape_and_kind_of_array(mode, make):
    for dtype in (np.uint8, np.float32):
        images = make(np.ones((4, 5, 1), dtype))
        moved = equivariance.shift(images, 1, -1, mode)
        assert (moved.shape, moved.dtype) == (images.shape, dtype)
        assert isinstance(moved, jax.Array) == isinstance(images, jax.Array)


def test_shift_refuses_what_it_cannot_do():
    images = np.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match="mode 'mirror'; allowed: wrap, zeros, edge"):
        equivariance.shift(images, 1, 1, "mirror")
    with pytest.raises(ValueError, match=r"shape \(4, 4\); expected \[..., H, W, C\]"):
        equivariance.shift(images[0, :, :, 0], 1, 1)
    with pytest.raises(TypeError, match=r"\(0.5, 1\); expected whole numbers"):
        equivariance.shift(images, 0.5, 1)


# --- convolution on a torus -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 3), (2, 3), (4, 1), (5, 6)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_circular_convolution_is_its_definition(size, stride):
    x, kernel = normal((2, 6, 12, 2)), normal((*size, 2, 3), seed=1)
    found = equivariance.conv_circular(x, kernel, stride)
    expected = loops(x, kernel, stride)
    assert found.shape == (2, 6 // stride, 12 // stride, 3)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_circular_convolution_is_a_product_of_fourier_transforms():
    """Cross-correlation is the conjugate of the kernel's transform times the image's."""
    x, kernel = normal((8, 10)), normal((3, 5), seed=1)
    centred = np.zeros_like(x)
    centred[:3, :5] = kernel
    centred = np.roll(centred, (-1, -2), (0, 1))
    expected = np.fft.ifft2(np.fft.fft2(x) * np.conj(np.fft.fft2(centred))).real
    found = equivariance.conv_circular(x[None, :, :, None], kernel[:, :, None, None])
    np.testing.assert_allclose(found[0, :, :, 0], expected, atol=1e-5)


def test_the_adjoint_on_a_torus_has_the_kernel_turned():
    x, y, kernel = normal((1, 6, 7, 2)), normal((1, 6, 7, 3), 1), normal((3, 5, 2, 3), 2)
    turned = np.flip(kernel, (0, 1)).swapaxes(2, 3)
    left = np.vdot(equivariance.conv_circular(x, kernel), y)
    right = np.vdot(x, equivariance.conv_circular(y, turned))
    assert left == pytest.approx(right, rel=1e-4)


def test_circular_convolution_refuses_a_grid_that_does_not_close():
    x = jnp.zeros((1, 6, 8, 1))
    with pytest.raises(ValueError, match=r"stride 4, image \(6, 8\); the stride must divide"):
        equivariance.conv_circular(x, jnp.zeros((3, 3, 1, 1)), 4)
    with pytest.raises(ValueError, match=r"kernel \(7, 3\) is larger than image \(6, 8\)"):
        equivariance.conv_circular(x, jnp.zeros((7, 3, 1, 1)))


# --- equivariance ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_circular_layers_are_equivariant_at_multiples_of_their_stride_only(stride):
    x, kernel = normal((4, 12, 12, 2)), normal((3, 3, 2, 4), 1)
    shifts = [(0, d) for d in range(7)] + [(d, -d) for d in range(7)]

    @jax.jit
    def layer(x):
        return jax.nn.relu(equivariance.conv_circular(x, kernel, stride))

    @jax.jit
    def pool(x):
        return layers.max_pool(x, (stride, stride), (stride, stride))

    errors = equivariance.equivariance_error(layer, x, shifts, stride)
    multiple = np.array([dx % stride == 0 for _, dx in shifts])
    assert errors[multiple].max() < EPS
    assert errors[~multiple].min(initial=1) > 0.5  # of white noise, hardly anything is left
    pooled = equivariance.equivariance_error(pool, x, shifts, stride)
    assert pooled[multiple].max() == 0
    assert pooled[~multiple].min(initial=1) > 0.2


def test_zero_padding_breaks_equivariance_at_the_border_only():
    x, kernel = normal((4, 16, 16, 2)), normal((3, 3, 2, 4), 1)
    shifts = [(0, 1), (2, 0), (-3, 3)]
    whole = equivariance.equivariance_error(same(kernel), x, shifts)
    inner = equivariance.equivariance_error(
        same(kernel), x, shifts, margin=4
    )  # 3 + 1 of the kernel
    assert whole.min() > 0.1
    assert inner.max() < EPS
    for mode in ("zeros", "edge"):
        found = equivariance.equivariance_error(same(kernel), x, shifts, mode=mode, margin=4)
        assert found.max() < EPS


def test_equivariance_error_of_a_function_that_knows_places():
    """f multiplies column j by j + 1; one bright pixel in column 2 then gives 3 and, moved by d, 3 + d."""
    x = np.zeros((1, 4, 9, 1))
    x[0, 1, 2] = 1
    ramp = np.arange(1, 10).reshape(9, 1)
    found = equivariance.equivariance_error(lambda x: x * ramp, x, [(0, 0), (0, 1), (2, 4)])
    np.testing.assert_allclose(found, [0, 1 / 3, 4 / 3])


def test_a_half_step_is_given_the_better_of_its_neighbours():
    """Every second pixel of one bright row: moved by one pixel it is black, or where the next output was."""
    x = np.zeros((1, 8, 8, 1))
    x[0, :, 2] = 1

    def second(x):
        return x[:, ::2, ::2]

    def either(x):
        return x[:, ::2, ::2] + x[:, ::2, 1::2]

    shifts = [(0, 1), (0, 2), (1, 0)]
    found = equivariance.equivariance_error(second, x, shifts, 2)
    np.testing.assert_allclose(found, [1, 0, 0])  # up and down all rows are alike
    np.testing.assert_allclose(equivariance.equivariance_error(either, x, shifts, 2), [0, 0, 0])


def test_equivariance_error_refuses_what_says_nothing():
    x = np.zeros((1, 4, 4, 1))
    with pytest.raises(ValueError, match="gives zeros"):
        equivariance.equivariance_error(lambda x: x, x, [(0, 1)])
    with pytest.raises(ValueError, match="stride 0, margin 0; allowed: 1 or more"):
        equivariance.equivariance_error(lambda x: x, x, [(0, 1)], 0)
    with pytest.raises(ValueError, match=r"gives \(1, 4, 4, 1\).*2 x margin = 4"):
        equivariance.equivariance_error(lambda x: x, x, [(0, 1)], margin=2)
    with pytest.raises(ValueError, match=r"gives \(1, 16\); expected \[N, h, w, B\]"):
        equivariance.equivariance_error(lambda x: x.reshape(1, -1), x, [(0, 1)])


# --- invariance -----------------------------------------------------------------------------------------------


def test_a_sum_over_the_torus_is_invariant():
    images = random_images(20, (6, 6, 2))
    found = equivariance.invariance(
        lambda x: x.astype(np.float64).sum((1, 2)) / 1000, images, (1, 3), mode="wrap"
    )
    np.testing.assert_array_equal(found.kept, np.ones((2, 4)))
    np.testing.assert_allclose(found.change, np.zeros((2, 4)), atol=1e-12)


def test_invariance_of_a_classifier_of_left_and_right():
    """Class 0: the bright pixel is left of the middle. Of columns 0..7 moved right by d, d cross it."""
    images = np.zeros((8, 3, 8, 1), np.uint8)
    images[np.arange(8), 1, np.arange(8)] = 1
    a = np.log(3)  # a probability of 3/4 for the right side

    def logits(x):
        return a * np.stack([x[:, :, :4].sum((1, 2, 3)), x[:, :, 4:].sum((1, 2, 3))], 1)

    directions = ((0, 1), (0, -1), (1, 0))
    found = equivariance.invariance(logits, images, (0, 1, 2), directions, mode="wrap")
    crossing = np.array([[0, 0, 0], [2, 2, 0], [4, 4, 0]]) / 8  # around the torus, at two places
    np.testing.assert_allclose(found.kept, 1 - crossing)
    np.testing.assert_allclose(found.change, crossing / 2, atol=1e-12)  # from 3/4 to 1/4
    out = equivariance.invariance(logits, images, (1,), ((0, 1),), mode="zeros")
    # Column 3 crosses, to 1/4; column 7 leaves: logits (0, 0), a tie, taken for class 0, at 1/2.
    np.testing.assert_allclose([out.kept[0, 0], out.change[0, 0]], [6 / 8, (1 / 2 + 1 / 4) / 8])


def test_invariance_calls_the_classifier_once_and_keeps_pixels():
    calls = []

    def logits(x):
        calls.append((x.shape, x.dtype))
        return np.zeros((len(x), 3))

    equivariance.invariance(logits, random_images(5, (4, 4, 1)), (1, 2))
    assert calls == [((45, 4, 4, 1), np.uint8)]


def test_invariance_refuses_nothing_and_other_logits():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match="0 images, 1 distances, 4 directions; allowed: 1 or more"):
        equivariance.invariance(lambda x: x, images[:0], (1,))
    with pytest.raises(ValueError, match=r"logits \(10, 4, 4, 1\) of 10 images; expected \[N, K\]"):
        equivariance.invariance(lambda x: x, images, (1,))


# --- as a matrix ----------------------------------------------------------------------------------------------

WINDOWS = [
    ((5, 6), (3, 3), 1, "VALID"),
    ((5, 6), (2, 3), 1, "SAME"),
    ((7, 6), (3, 2), 2, "SAME"),
    ((6, 9), (2, 3), (2, 3), "VALID"),
    ((4, 5), (3, 3), 2, ((2, 0), (1, 2))),
]


@pytest.mark.parametrize("args", WINDOWS)
def test_matrix_times_image_is_convolution_and_its_transpose_the_transposed_one(args):
    window = layers.window(*args)
    kernel = normal((*window.kernel, 2, 3))
    matrix = equivariance.conv_matrix(kernel, window)
    x, y = normal((4, *window.image, 2), 1), normal((4, *window.output, 3), 2)
    forward = jax.jit(layers.conv, static_argnums=2)(x, kernel, window)
    backward = jax.jit(layers.conv_transpose, static_argnums=2)(y, kernel, window)
    np.testing.assert_allclose(x.reshape(4, -1) @ matrix.T, forward.reshape(4, -1), atol=1e-5)
    np.testing.assert_allclose(y.reshape(4, -1) @ matrix, backward.reshape(4, -1), atol=1e-5)


def test_matrix_by_loops():
    """Row (i, j) holds w[u, v] in column (i + u, j + v)."""
    kernel = normal((2, 3))
    expected = np.zeros((3, 3, 4, 5), np.float32)
    for i, j, u, v in np.ndindex(3, 3, 2, 3):
        expected[i, j, i + u, j + v] = kernel[u, v]
    window = layers.window((4, 5), (2, 3), 1, "VALID")
    found = equivariance.conv_matrix(kernel[:, :, None, None], window)
    np.testing.assert_array_equal(found, expected.reshape(9, 20))
    circular = equivariance.matrix_of(
        lambda x: equivariance.conv_circular(x, kernel[:, :, None, None]), (4, 5, 1)
    )
    assert (np.count_nonzero(circular, axis=0) == 6).all()  # circulant: each pixel is used alike
    assert (np.count_nonzero(circular, axis=1) == 6).all()


def test_matrix_is_doubly_block_toeplitz():
    window = layers.window((6, 7), (3, 2), 1, "SAME")
    matrix = equivariance.conv_matrix(normal((3, 2, 1, 1)), window).reshape(6, 7, 6, 7)
    np.testing.assert_array_equal(matrix[1:, :, 1:], matrix[:-1, :, :-1])  # blocks along diagonals
    np.testing.assert_array_equal(matrix[:, 1:, :, 1:], matrix[:, :-1, :, :-1])  # and within them


def test_cross_correlation_is_convolution_with_the_kernel_turned():
    x, kernel = normal((7, 9)), normal((3, 4), 1)
    window = layers.window(x.shape, kernel.shape, 1, "VALID")

    @jax.jit
    def ours(kernel):
        return layers.conv(x[None, :, :, None], kernel[:, :, None, None], window)[0, :, :, 0]

    np.testing.assert_allclose(ours(kernel), correlate2d(x, kernel, "valid"), atol=1e-5)
    np.testing.assert_allclose(
        ours(kernel[::-1, ::-1].copy()), convolve2d(x, kernel, "valid"), atol=1e-5
    )
    assert np.abs(ours(kernel) - convolve2d(x, kernel, "valid")).max() > 1


def test_matrices_of_a_torus_commute():
    """What is equivariant on the torus commutes with every shift, and so do two convolutions with one another."""

    def circular(kernel):
        return equivariance.matrix_of(lambda x: equivariance.conv_circular(x, kernel), (5, 4, 1))

    a, b = (circular(normal((3, 3, 1, 1), seed)) for seed in (0, 1))
    np.testing.assert_allclose(a @ b, b @ a, atol=1e-5)
    move = equivariance.matrix_of(lambda x: equivariance.shift(x, 2, 1), (5, 4, 1))
    np.testing.assert_array_equal(a @ move, move @ a)
    np.testing.assert_array_equal(move @ move.T, np.eye(20))
    padded = equivariance.matrix_of(same(normal((3, 3, 1, 1))), (5, 4, 1))
    assert np.abs(padded @ move - move @ padded).max() > 0.1


def test_shared_weights_of_a_small_window():
    found = equivariance.shared_weights(layers.window((2, 3), (2, 2), 1, "VALID"))
    np.testing.assert_array_equal(found, [[1, 2, 0, 3, 4, 0], [0, 1, 2, 0, 3, 4]])


@pytest.mark.parametrize("args", WINDOWS)
def test_counts_are_those_of_the_matrix(args):
    window = layers.window(*args)
    kernel = 1 + np.arange(np.prod(window.kernel) * 6).reshape(*window.kernel, 2, 3)
    matrix = equivariance.conv_matrix(kernel, window)
    found = equivariance.matrix_counts(window, 2, 3)
    assert found.entries == matrix.size
    assert found.nonzero == np.count_nonzero(matrix)
    assert found.weights == len(np.unique(matrix[matrix != 0]))


def test_matrix_refuses_a_bias_and_what_is_too_large():
    with pytest.raises(ValueError, match=r"not 0 at the image 0.*leave the bias out"):
        equivariance.matrix_of(lambda x: x + 1, (3, 3, 1))
    with pytest.raises(ValueError, match="9216 x 9216 entries; allowed: 20,000,000"):
        equivariance.matrix_of(lambda x: x, (96, 96, 1))

"""Chapter 4, arithmetic: sizes of convolutions and transposed convolutions, receptive fields, costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from imgbook.cnn_costs import (  # noqa: F401 - beside the sizes for those who use both
    LayerCost,
    check_integers,
    check_sizes,
    count_flops,
    count_parameters,
    layer_costs,
    program_flops,
)

Pair = tuple[int, int]
PADDINGS = "SAME", "VALID"


# --- sizes ----------------------------------------------------------------------------------------------------


def conv_output_size(
    n: int, kernel: int, stride: int = 1, padding: str | int = "SAME", dilation: int = 1
) -> int:
    """Pixels a side after a convolution of `n` pixels.

    SAME: n / stride, rounded up. VALID: no padding. An int p: p zeros on each side, so that the result is
    floor((n + 2 p - dilation (kernel - 1) - 1) / stride) + 1 (Dumoulin and Visin 2016, section 5.1). VALID is p = 0.

    Raises:
        TypeError: a size is no integer. ValueError: a size below 1, a negative or unknown padding, or a kernel that is
            larger than the padded image.
    """
    check_sizes(n=n, kernel=kernel, stride=stride, dilation=dilation)
    _check_padding(padding)
    if padding == "SAME":
        return -(-n // stride)
    zeros, reach = 0 if padding == "VALID" else padding, dilation * (kernel - 1) + 1
    if reach > n + 2 * zeros:
        raise ValueError(
            f"a kernel of {kernel} with dilation {dilation} spans {reach} pixels; n = {n} with padding {padding!r} "
            f"has {n + 2 * zeros}; allowed: at most that; give more padding, a smaller kernel or a larger image"
        )
    return (n + 2 * zeros - reach) // stride + 1


def conv_transpose_output_size(
    n: int,
    kernel: int,
    stride: int = 1,
    padding: str | int = "SAME",
    output_padding: int | None = None,
) -> int:
    """Pixels a side after a transposed convolution of `n` pixels, in one of two conventions.

    *Keras* (and Flax, without `output_padding`), padding by name: SAME gives n s, VALID gives n s + max(k - s, 0). With
    an `output_padding` o, SAME is (n - 1) s + k - 2 floor(k / 2) + o and VALID (n - 1) s + k + o.

    *PyTorch*, padding by number p, as of the convolution that is transposed: (n - 1) s - 2 p + k + o; None is o = 0.

    Without o, by name, and with every o from 0 to s - 1, by number, a convolution with the same kernel, stride and
    padding turns the result back into `n` pixels: s sizes do, and o says which one is meant (Dumoulin and Visin 2016,
    section 4.6).

    Raises:
        TypeError: a size is no integer. ValueError: a size below 1, a negative or unknown padding, an output padding
            outside 0 to s - 1, or a result below one pixel.
    """
    check_sizes(n=n, kernel=kernel, stride=stride)
    _check_padding(padding)
    if output_padding is not None:
        check_integers(output_padding=output_padding)
        if not 0 <= output_padding < stride:
            raise ValueError(
                f"output_padding = {output_padding}; allowed: 0 to stride - 1 = {stride - 1}, or None"
            )
    if output_padding is None and padding in PADDINGS:
        return n * stride + (0 if padding == "SAME" else max(kernel - stride, 0))
    cut = {"SAME": kernel // 2, "VALID": 0}.get(padding, padding)
    size = (n - 1) * stride - 2 * cut + kernel + (output_padding or 0)
    if size < 1:
        raise ValueError(
            f"n = {n}, kernel {kernel}, stride {stride}, padding {padding!r}, output_padding {output_padding} leave "
            f"{size} pixels; allowed: 1 or more; give less padding"
        )
    return size


def _check_padding(padding: str | int) -> None:
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ValueError(f"padding {padding!r}; allowed: SAME, VALID or a number of zeros")
        return
    check_integers(padding=padding)
    if padding < 0:
        raise ValueError(f"padding = {padding}; allowed: SAME, VALID or 0 or more zeros a side")


# --- receptive fields -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A window that moves over an image, of a convolution or of pooling; each size one number or (height, width).

    Errors as for `conv_output_size`.
    """

    kernel: int | Pair
    stride: int | Pair = 1
    padding: str | int | Pair = "SAME"
    dilation: int | Pair = 1

    def __post_init__(self) -> None:
        for axis in (0, 1):
            kernel, stride, padding, dilation = self.along(axis)
            check_sizes(kernel=kernel, stride=stride, dilation=dilation)
            _check_padding(padding)

    def along(self, axis: int) -> tuple[int, int, str | int, int]:
        """Kernel, stride, padding and dilation of one axis, 0 for rows and 1 for columns."""
        sizes = self.kernel, self.stride, self.padding, self.dilation
        return tuple(_pair(size)[axis] for size in sizes)

    def zeros_before(self, axis: int, n: int | None) -> int:
        """Zeros before the first of `n` pixels; SAME puts the odd one of an odd number after the last.

        Raises:
            ValueError: they depend on `n`, and `n` is None.
        """
        kernel, stride, padding, dilation = self.along(axis)
        if padding != "SAME":
            return 0 if padding == "VALID" else padding
        if stride == 1 or kernel == 1:
            return dilation * (kernel - 1) // 2
        if n is None:
            raise ValueError(
                f"the padding of {self} depends on the size of the image; give image=(height, width)"
            )
        last = (conv_output_size(n, kernel, stride) - 1) * stride  # where the last window begins
        return max(last + dilation * (kernel - 1) + 1 - n, 0) // 2


class ReceptiveField(NamedTuple):
    """What one output sees, in input pixels, (height, width) each: the size of the field; the stride, how far the
    fields of neighbours are apart; the offset, where the centre of output 0's field is (0: the first pixel's centre).
    """

    size: Pair
    stride: Pair
    offset: tuple[float, float]


def _pair(value: Any) -> tuple:
    """A number or a name as it is for both axes, or a pair of them."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return value, value
    if len(value) != 2:
        raise ValueError(f"{value!r} has {len(value)} entries; allowed: one, or (height, width)")
    return tuple(value)


def as_layers(layers: Sequence[Layer | tuple]) -> list[Layer]:
    """Layers and tuples (kernel, stride[, padding[, dilation]]) as layers; ValueError for anything else."""
    for layer in layers:
        if not isinstance(layer, Layer) and not (isinstance(layer, tuple) and 2 <= len(layer) <= 4):
            raise ValueError(
                f"layer {layer!r}; allowed: Layer(...), or (kernel, stride), with padding and dilation if needed"
            )
    return [layer if isinstance(layer, Layer) else Layer(*layer) for layer in layers]


def _image_sizes(layers: Sequence[Layer], axis: int, n: int) -> list[int]:
    """Pixels along an axis before each layer, and after the last."""
    check_sizes(image=n)
    sizes = [n]
    for layer in layers:
        sizes.append(conv_output_size(sizes[-1], *layer.along(axis)))
    return sizes


def receptive_field(layers: Sequence[Layer | tuple], image: Pair | None = None) -> ReceptiveField:
    """Size, stride and offset of the field of a stack of layers, each a `Layer` or (kernel, stride[, padding]).

    With J_l the product of the strides before layer l, the size is 1 + sum_l d_l (k_l - 1) J_l, the stride the product
    of all strides, and the offset sum_l (d_l (k_l - 1) / 2 - p_l) J_l (Araujo, Norris and Sim 2019). Fields at the edge
    reach over it: `field_of` says what is really seen.

    `image`, (height, width): needed by SAME with a stride above 1, whose zeros depend on it.

    Raises:
        ValueError: SAME with a stride above 1 and no image, an image too small for a kernel, or what is not a layer.
    """
    layers = as_layers(layers)
    found = []
    for axis in (0, 1):
        known = (
            [None] * len(layers)
            if image is None
            else _image_sizes(layers, axis, _pair(image)[axis])
        )
        size, jump, offset = 1, 1, 0.0
        for layer, n in zip(layers, known, strict=False):  # the sizes end with that of the output
            kernel, stride, _, dilation = layer.along(axis)
            size += dilation * (kernel - 1) * jump
            offset += (dilation * (kernel - 1) / 2 - layer.zeros_before(axis, n)) * jump
            jump *= stride
        found.append((size, jump, offset))
    return ReceptiveField(*zip(*found, strict=True))


def field_of(
    layers: Sequence[Layer | tuple], place: Pair, image: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """The rows and the columns of the image that the output at `place` (row, column) sees, sorted, without padding.

    They have gaps where dilation or a stride larger than a kernel leaves some. Errors as for `receptive_field`, and
    ValueError for a place outside the output.
    """
    layers = as_layers(layers)
    found = []
    for axis in (0, 1):
        *before, outputs = _image_sizes(layers, axis, _pair(image)[axis])
        start = _pair(place)[axis]
        check_integers(place=start)
        if not 0 <= start < outputs:
            raise ValueError(f"place {place}; allowed along axis {axis}: 0 to {outputs - 1}")
        seen = {start}
        for layer, n in zip(reversed(layers), reversed(before), strict=True):
            kernel, stride, _, dilation = layer.along(axis)
            first = -layer.zeros_before(axis, n)
            taps = {first + i * stride + j * dilation for i in seen for j in range(kernel)}
            seen = {tap for tap in taps if 0 <= tap < n}
        found.append(np.array(sorted(seen), int))
    return tuple(found)

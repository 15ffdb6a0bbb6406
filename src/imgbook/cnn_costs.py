"""Chapter 4, costs: the parameters of a network and the floating-point operations of its program."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core

from imgbook.weights import named

IMAGE = ""  # among the names of weights: what depends on the image


def check_integers(**values: object) -> None:
    """Raise TypeError, with its name, for a value that is no integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} = {value!r}; allowed: an integer")


def check_sizes(**sizes: int) -> None:
    """Raise TypeError or ValueError, with its name, for a size that is no integer or below 1."""
    check_integers(**sizes)
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} = {size}; allowed: 1 or more")


class LayerCost(NamedTuple):
    """A convolution or a dense layer: shapes of one image without the batch, parameters, and operations an image."""

    name: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    flops: int


def count_parameters(model_or_params: Any) -> int:
    """Numbers in the `nnx.Param` of a module, or in all arrays (or `jax.ShapeDtypeStruct`) of a pytree.

    Raises:
        TypeError: a leaf of the tree is no array.
    """
    if isinstance(model_or_params, nnx.Module):
        model_or_params = nnx.state(model_or_params, nnx.Param)
    leaves = jax.tree.leaves(model_or_params)
    for leaf in leaves:
        if not hasattr(leaf, "shape"):
            raise TypeError(f"{leaf!r} has no shape; allowed: a module, or a pytree of arrays")
    return sum(prod(leaf.shape) for leaf in leaves)


def count_flops(model: nnx.Module, image_shape: Sequence[int]) -> int:
    """Floating-point operations of `model(x)` for one image `[H, W, C]`, as `layer_costs` counts them."""
    return sum(layer.flops for layer in layer_costs(model, image_shape))


def layer_costs(model: nnx.Module, image_shape: Sequence[int]) -> list[LayerCost]:
    """The convolutions, transposed convolutions and dense layers of `model(x)`, in the order in which they run.

    `image_shape`: one image, (height, width, channels). The program of the model is traced, without computing anything
    (the model may be abstract, from `nnx.eval_shape`), and its products are counted by formula: a multiply and an add
    for each weight of the kernel at each place, 2 k^2 C_in C_out h w. There are h w places in the output, or, of a
    transposed convolution, in the input. Products with padding count too; biases, activations, pooling and
    normalisation do not.

    A layer's parameters are the `nnx.Param` beside its kernel, counted at its first use. Its name is empty where no
    weights take part.

    Raises:
        ValueError: an image shape that is not three sizes of 1 or more, or a product in a loop of unknown length.
    """
    shape = tuple(image_shape)
    if len(shape) != 3:
        raise ValueError(f"image_shape {shape}; allowed: (height, width, channels)")
    check_sizes(height=shape[0], width=shape[1], channels=shape[2])
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    program = jax.make_jaxpr(lambda p, r, x: nnx.merge(graphdef, p, r)(x))(params, rest, image)
    sizes = {name: prod(leaf.shape) for name, leaf in (named(params) | named(rest)).items()}
    left = list(named(params))  # not yet listed
    costs = []
    for product in _products(program.jaxpr, [frozenset([name]) for name in (*sizes, IMAGE)]):
        kernel = max(sorted(product.weights), key=sizes.get, default="")
        module = kernel.rpartition(".")[0]
        mine = [name for name in left if kernel and name.rpartition(".")[0] == module]
        left = [name for name in left if name not in mine]
        parameters = sum(sizes[name] for name in mine)
        costs.append(
            LayerCost(module or kernel, product.input, product.output, parameters, product.flops)
        )
    return costs


def program_flops(function: Callable, *arguments: Any) -> int:
    """Operations of any function, a training step for instance, counted as `layer_costs` does; arguments as for it."""
    program = jax.make_jaxpr(function)(*arguments)
    return _total(_products(program.jaxpr, [frozenset()] * len(program.jaxpr.invars)))


class _Product(NamedTuple):
    """A convolution or matrix product in a program: names of its weights, shapes of one image, operations."""

    weights: frozenset[str]
    input: tuple[int, ...]
    output: tuple[int, ...]
    flops: int


def _products(jaxpr: core.Jaxpr, inputs: Sequence[frozenset[str]]) -> Iterator[_Product]:
    """All products of a program, and of those that it calls; `inputs` says which weights each input comes from."""
    known, platform = dict(zip(jaxpr.invars, inputs, strict=True)), set()
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        variables = [v if isinstance(v, core.Var) else None for v in eqn.invars]  # no literals
        origins = [known.get(v, frozenset()) for v in variables]
        known.update(dict.fromkeys(eqn.outvars, frozenset().union(*origins)))
        if name == "platform_index":
            platform.update(eqn.outvars)
        elif name == "conv_general_dilated":
            yield _convolution(eqn, *origins)
        elif name == "dot_general":
            yield _dot(eqn, *origins)
        elif name == "cond":
            found = [list(_products(body, origins[1:])) for body in _bodies(eqn)]
            # The last branch by platform is XLA's own, which multiplies no padding of its own making.
            yield from found[-1] if variables[0] in platform else max(found, key=_total)
        else:
            yield from _called(eqn, origins)


def _called(eqn: core.JaxprEqn, origins: Sequence[frozenset[str]]) -> Iterator[_Product]:
    """The products of the programs that one line of a program calls, in a loop as often as it turns."""
    times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
    for body in _bodies(eqn):
        fits = len(body.invars) == len(origins)
        passed = origins if fits else [frozenset().union(*origins)] * len(body.invars)
        for product in _products(body, passed):
            if eqn.primitive.name == "while":
                raise ValueError(
                    "a product in a loop of unknown length has no fixed cost; give the loop a fixed number of turns"
                )
            yield product._replace(flops=times * product.flops)


def _bodies(eqn: core.JaxprEqn) -> list[core.Jaxpr]:
    """The programs among the parameters of one line of a program."""
    values = [v if isinstance(v, tuple) else (v,) for v in eqn.params.values()]
    kinds = core.Jaxpr, core.ClosedJaxpr
    return [getattr(v, "jaxpr", v) for group in values for v in group if isinstance(v, kinds)]


def _total(products: Iterable[_Product]) -> int:
    return sum(product.flops for product in products)


def _weights(*origins: frozenset[str]) -> frozenset[str]:
    """Of the factors of a product, the last that does not depend on the image."""
    return next((origin for origin in reversed(origins) if IMAGE not in origin), frozenset())


def _convolution(eqn: core.JaxprEqn, *origins: frozenset[str]) -> _Product:
    spec = eqn.params["dimension_numbers"]
    (x, kernel), y = (v.aval.shape for v in eqn.invars), eqn.outvars[0].aval.shape
    n, c, *axes = spec.lhs_spec
    before = tuple(x[i] for i in axes)
    after = tuple(y[i] for i in spec.out_spec[2:])
    places = min(prod(before), prod(after))
    flops = 2 * x[n] * places * prod(kernel)  # [k, k, C_in, C_out] in any order
    return _Product(_weights(*origins), (*before, x[c]), (*after, y[spec.out_spec[1]]), flops)


def _dot(eqn: core.JaxprEqn, *origins: frozenset[str]) -> _Product:
    (summed, _), _ = eqn.params["dimension_numbers"]
    x, y = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    flops = 2 * prod(y) * prod(x[i] for i in summed)
    weights = _weights(*origins)
    if origins[0] == weights and IMAGE in origins[1]:  # weights on the left
        x = eqn.invars[1].aval.shape
    return _Product(weights, _one(x), _one(y), flops)


def _one(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the axis of the batch, which has length 1 and comes first, but for transposed arrays."""
    at = shape.index(1) if 1 in shape else len(shape)
    return shape[:at] + shape[at + 1 :]

"""Data parallelism: one program for one device, for several, and for several processes on one host or many.

A run's devices are a mesh with one axis, the batch. A batch is divided over them; parameters are on each in full, or
divided too. Steps are written for the whole batch; XLA divides the program and inserts the communication, so that a
mean over the batch (a loss, BatchNorm's statistics) is over all of it, and random numbers are those of one device.
`imgbook.training.fit` takes the `Layout` made here.

Several processes run the same program with the same options, each with its own copy of the data (or one folder that
all can read), on computers of the same kind. What goes on between them: `imgbook.processes`.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from imgbook.processes import connect  # noqa: F401 - chapters call `parallel.connect`

AXIS = "batch"
DIVIDED_FROM = 4096  # numbers in an array from which on `shard_parameters` divides it: less is not worth a message


@dataclass(frozen=True)
class Layout:
    """How a run is laid out on devices.

    mesh: the devices, one axis. shard_parameters: divide large arrays of the state (parameters and the optimiser's
    moments) over the devices too, instead of a copy on each (ZeRO, Rajbhandari et al. 2020; FSDP): each device keeps
    1/N of them, and they are sent round whenever a layer needs them.
    """

    mesh: Mesh
    shard_parameters: bool = False

    @property
    def num_devices(self) -> int:
        return self.mesh.size

    @property
    def num_processes(self) -> int:
        """How many processes hold the devices."""
        return len({device.process_index for device in self.mesh.devices.flat})

    @property
    def leads(self) -> bool:
        """Whether this process writes files and shows progress; of several it is process 0."""
        return self.num_processes == 1 or jax.process_index() == 0

    @property
    def replicated(self) -> NamedSharding:
        """A copy on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def sharding(self, leaf: Any) -> NamedSharding:
        """Where an array of the state is.

        With `shard_parameters`, one of `DIVIDED_FROM` numbers or more is divided along its longest axis that the
        number of devices divides (the first of equals); all others, and keys, have a copy on each device.
        """
        shape, n = np.shape(leaf), self.num_devices
        axes = [axis for axis, length in enumerate(shape) if length % n == 0]
        if not self.shard_parameters or math.prod(shape) < DIVIDED_FROM or not axes:
            return self.replicated
        longest = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(self.mesh, PartitionSpec(*[None] * longest, AXIS))

    def shardings(self, state: Any) -> Any:
        """`sharding` of each array, in the structure of `state`."""
        return jax.tree.map(self.sharding, state)

    def place(self, state: Any) -> Any:
        """The state on its devices; in several processes all give the same. It may share memory with the one given."""
        return jax.tree.map(lambda leaf: _put(leaf, self.sharding(leaf)), state)

    def replicate(self, data: Any) -> Any:
        """A copy of all arrays on each device."""
        return jax.tree.map(lambda leaf: _put(leaf, self.replicated), data)

    def divide(self, batch: Any) -> Any:
        """Within a compiled step: each array of a batch divided along its first axis."""
        rows = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.tree.map(
            lambda a: jax.lax.with_sharding_constraint(a, rows) if a.ndim else a, batch
        )

    def gather(self, state: Any) -> Any:
        """The whole state on one device of this process, to go on with as if there were no others.

        In several processes all have to call it.
        """
        if self.num_processes == 1:
            return jax.device_put(state, self.mesh.devices.flat[0])
        whole = jax.jit(lambda s: s, out_shardings=self.replicated)(state)
        return jax.tree.map(_local, whole)

    def check_batch(self, batch: Any) -> None:
        """Raise ValueError unless the devices divide each array of a batch (of shapes) evenly."""
        n = self.num_devices
        for rows in {leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.shape}:
            if rows % n:
                fitting = [d for d in range(1, rows + 1) if rows % d == 0]
                near = [max(d for d in fitting if d < n), *[d for d in fitting if d > n][:1]]
                sizes = sorted({rows // n * n, rows // n * n + n} - {0})
                raise ValueError(
                    f"{n} devices do not divide a batch of {rows} images; allowed here: "
                    f"{' or '.join(map(str, near))} devices, or with {n} devices a batch of "
                    f"{' or '.join(map(str, sizes))}"
                )


def layout(devices: int | None = None, *, shard_parameters: bool = False) -> Layout:
    """The layout of `devices` devices of each process (all there are by default).

    Raises:
        ValueError: fewer than 1, or more than there are.
    """
    by_process: dict[int, list] = {}
    for device in sorted(jax.devices(), key=lambda d: (d.process_index, d.id)):
        by_process.setdefault(device.process_index, []).append(device)
    fewest = min(map(len, by_process.values()))
    n = max(map(len, by_process.values())) if devices is None else devices
    if not 1 <= n <= fewest:
        raise ValueError(
            f"{n} devices a process; allowed: 1 to {fewest}, as many as there are here. On a CPU more can be made, "
            "before JAX starts: parallel.virtual_devices(n)"
        )
    chosen = [device for of_process in by_process.values() for device in of_process[:n]]
    return Layout(Mesh(np.array(chosen), (AXIS,)), shard_parameters)


def divided(array: jax.Array) -> jax.Array:
    """Within a step that `fit` runs, divide an array `[N, ...]` over the devices as the batch is; elsewhere do nothing.

    For what a step makes for itself and never adds to a part of the batch, as a GAN its latents: XLA sees no reason to
    divide that, and each device would compute all of it.
    """
    if AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return array
    return jax.lax.with_sharding_constraint(array, PartitionSpec(AXIS))


def one_device() -> Layout:
    """The layout of JAX's default device alone."""
    (device,) = jnp.zeros(()).devices()
    return Layout(Mesh(np.array([device]), (AXIS,)))


def virtual_devices(n: int) -> None:
    """Make the CPU look like `n` devices, to try several out: they share its cores, so nothing gets faster.

    Raises:
        ValueError: JAX has started already, with fewer.
    """
    try:
        jax.config.update("jax_num_cpu_devices", n)
    except RuntimeError as error:
        if jax.local_device_count() < n:
            raise ValueError(
                f"{n} devices asked, but JAX has started with {jax.local_device_count()}; ask for them first of all, "
                "in a notebook after a restart"
            ) from error


def bytes_per_device(state: Any) -> dict[int, int]:
    """How many bytes of the arrays of a state each device of this process holds, by the device's id."""
    held: dict[int, int] = {}
    for leaf in jax.tree.leaves(state):
        for shard in key_data(leaf).addressable_shards:
            held[shard.device.id] = held.get(shard.device.id, 0) + shard.data.nbytes
    return held


def is_key(leaf: Any) -> bool:
    """Whether an array holds PRNG keys, which are no numbers."""
    return jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)


def key_data(leaf: Any) -> Any:
    """An array as it is, a PRNG key as its numbers."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def from_key_data(numbers: Any, like: Any) -> jax.Array:
    """The inverse of `key_data`, for a leaf such as `like`."""
    if not is_key(like):
        return jnp.asarray(numbers)
    return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(like))


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if is_key(leaf):  # always replicated
        wrap = jax.jit(partial(from_key_data, like=leaf), out_shardings=sharding)
        return wrap(_put(jax.random.key_data(leaf), sharding))
    array = np.asarray(leaf)  # device_put would send all of it round to see that it is the same
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _local(leaf: jax.Array) -> jax.Array:
    """This process's copy of a replicated array."""
    return from_key_data(key_data(leaf).addressable_data(0), leaf)

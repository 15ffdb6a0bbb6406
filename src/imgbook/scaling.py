"""The arithmetic of larger runs: parameters, operations, bytes, hours and cost, by formula; and what was measured.

Formulas count what matters at size, and say what they leave out. A multiply and an add are two operations (FLOP).
Bytes are those of float32, 4 a number. The measurements that the formulas are held against are a record,
`results/scaling.json`, which `benchmarks/scaling.py` alone writes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np

from imgbook import cnn, convolution, records, staleness, vae

COMMAND = "python benchmarks/scaling.py"
FLOAT = 4  # bytes of a float32
PARTS = ("ladder", "fusion", "batch_sizes", "memory", "flops", "decade", "devices", "sharding")
KEYS = ("command", "version", "source_hash", "versions", "device", "date", "seconds", *PARTS)


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies. `parameters` is a number of weights and biases; all others are of one image.

    multiply_adds: of the forward pass. passes: how often a training step does as much: forward, gradient by the
    weights and, except in the first layer, gradient by the input. outputs: numbers that it makes. patches: bytes that
    a convolution on a CPU copies its input into, see `imgbook.convolution`.
    """

    name: str
    multiply_adds: int
    passes: int
    parameters: int
    outputs: int
    patches: int = 0


def dense(name: str, inputs: int, outputs: int, passes: int = 3) -> Layer:
    """A dense layer with bias."""
    return Layer(name, inputs * outputs, passes, (inputs + 1) * outputs, outputs)


@singledispatch
def layers(config: Any) -> tuple[Layer, ...]:
    """The layers of the network that a `VAEConfig` or `CNNConfig` describes. Raises TypeError for another."""
    raise TypeError(f"layers of {type(config).__name__}; allowed: VAEConfig, CNNConfig")


@layers.register
def _(config: vae.VAEConfig) -> tuple[Layer, ...]:
    if config.network != "mlp" or config.num_classes:
        raise ValueError(f"layers of a VAE with {config}; allowed: network mlp, num_classes 0")
    pixels, hidden, latent = int(np.prod(config.image_shape)), config.hidden, config.latent_dim
    deeper = range(2, config.depth + 1)
    return (
        dense("encoder, hidden", pixels, hidden, passes=2),
        *(dense(f"encoder, hidden {i}", hidden, hidden) for i in deeper),
        dense("encoder, mean and log-variance", hidden, 2 * latent),
        dense("decoder, hidden", latent, hidden),
        *(dense(f"decoder, hidden {i}", hidden, hidden) for i in deeper),
        dense("decoder, logits", hidden, pixels),
    )


@layers.register
def _(config: cnn.CNNConfig) -> tuple[Layer, ...]:
    (height, width, channels), found = config.image_shape, []
    for i, features in enumerate(config.widths):
        window = convolution.window((height, width), (3, 3), 1, "VALID")
        places, (height, width) = int(np.prod(window.output)), (n // 2 for n in window.output)
        weights = 9 * channels * features
        outputs = (places + height * width) * features  # before and after pooling
        patches = convolution.patches_bytes(1, window, channels, FLOAT)
        found.append(Layer(f"convolution {i + 1}", places * weights, 3 if i else 2,
                           weights + features, outputs, patches))  # fmt: skip
        channels = features
    found.append(dense("dense", height * width * channels, config.hidden))
    return (*found, dense("head", config.hidden, config.num_classes))


def parameters(config: Any) -> int:
    """How many numbers are trained."""
    return sum(layer.parameters for layer in layers(config))


def step_flops(config: Any) -> int:
    """FLOP of one training step: products alone, for a batch of `config.batch_size` images.

    Left out: elementwise work, pooling, random numbers and the optimiser, which move bytes rather than compute.
    """
    return (
        sum(2 * layer.multiply_adds * layer.passes for layer in layers(config)) * config.batch_size
    )


def wider(config: Any, factor: float) -> Any:
    """A configuration of about `factor` times the parameters.

    The VAE has one width, in which its parameters are linear; the CNN's are quadratic in all of its widths together.
    """
    if isinstance(config, vae.VAEConfig):
        return replace(config, hidden=round(config.hidden * factor))
    root = factor**0.5
    widths = tuple(round(width * root) for width in config.widths)
    return replace(config, widths=widths, hidden=round(config.hidden * root))


@dataclass(frozen=True)
class Memory:
    """Bytes of a training run on one device, by what they are for."""

    parameters: int
    moments: int
    data: int
    gradients: int
    activations: int
    workspace: int

    @property
    def state(self) -> int:
        """What a checkpoint holds, and `shard_parameters` divides."""
        return self.parameters + self.moments

    @property
    def temporary(self) -> int:
        """What a step needs and gives back."""
        return self.gradients + self.activations + self.workspace

    @property
    def total(self) -> int:
        return self.state + self.data + self.temporary


def memory(config: Any, num_images: int, devices: int = 1, sharded: bool = False) -> Memory:
    """Bytes a device of a run on `num_images` uint8 images, with Adam, in float32.

    Adam keeps two moments a parameter. Activations are what a batch leaves behind for the backward pass (the input, the
    layers' outputs, random numbers), and as much again for their gradients. The batch is divided over the devices, the
    state only if `sharded`; gradients are counted whole. The workspace is a CPU's, for the largest patches.
    """
    numbers, batch = parameters(config), config.batch_size // devices
    pixels = int(np.prod(config.image_shape))
    kept = pixels + sum(layer.outputs for layer in layers(config))
    if isinstance(config, vae.VAEConfig):
        kept += pixels + config.latent_dim  # the noise of binarisation and of the latents
    patches = max(layer.patches for layer in layers(config)) * batch
    share = devices if sharded else 1
    return Memory(
        parameters=FLOAT * numbers // share,
        moments=2 * FLOAT * numbers // share,
        data=pixels * num_images,
        gradients=FLOAT * numbers,
        activations=2 * FLOAT * kept * batch,
        workspace=min(patches, int(convolution.CACHED)),
    )


def all_reduce_bytes(config: Any) -> int:
    """Bytes of the gradients that the devices add up in every step, whatever the batch: one number a parameter."""
    return FLOAT * parameters(config)


def ring_bytes(config: Any, devices: int) -> float:
    """Bytes that each device sends in a step if the gradients are added up along a ring: 2 (N - 1) / N of them."""
    return 2 * (devices - 1) / devices * all_reduce_bytes(config)


def run_flops(config: Any, images_seen: float) -> float:
    """FLOP of a run that shows the network `images_seen` images: images times epochs."""
    return step_flops(config) / config.batch_size * images_seen


def hours(flops: float, flops_per_second: float, devices: int = 1) -> float:
    """Hours of `devices` devices, each of a *sustained* rate, with nothing lost between them.

    Raises:
        ValueError: a rate that is not positive, or no device.
    """
    if flops_per_second <= 0 or devices < 1:
        raise ValueError(
            f"{flops_per_second:g} FLOP/s on {devices} devices; allowed: a positive rate, 1 device or more"
        )
    return flops / flops_per_second / devices / 3600


def cost(device_hours: float, price_an_hour: float) -> float:
    """What hours of a device cost, in the currency of the price."""
    return device_hours * price_an_hour


def bytes_text(n: float) -> str:
    """Bytes in words: "9.8 MB" (powers of 1,000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n) < 999.5 or unit == "TB":
            break
        n /= 1000
    return f"{n:.3g} {unit}"


def hours_text(value: float) -> str:
    """Hours in the unit that suits: seconds, minutes, hours, days or years."""
    seconds = 3600 * value
    units = (("s", 1, 100), ("min", 60, 6000), ("h", 3600, 2e5), ("days", 86_400, 6e7))
    unit, size, _ = next((u for u in units if seconds < u[2]), ("years", 31_557_600, 0))
    return f"{seconds / size:,.{1 if seconds / size < 10 else 0}f} {unit}"


# --- the record -----------------------------------------------------------------------------------------------


def measured() -> None:
    """Names by its imports what the benchmark runs of this package: the record's `source_hash` is made of these."""
    from imgbook import cnn, gan, parallel, roofline, training, vae  # noqa: F401


def source_hash() -> str:
    """The hash of all sources that the measured runs import, see `imgbook.staleness`."""
    return staleness.source_hash(measured)


def load() -> dict:
    """The record of `benchmarks/scaling.py`.

    Raises:
        FileNotFoundError: there is none. ValueError: it is no whole record.
    """
    path = records.folder() / "scaling.json"
    if not path.exists():
        raise FileNotFoundError(f"no record 'scaling'; write it with: {COMMAND}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"record 'scaling' is damaged ({error}); write it with: {COMMAND}"
        ) from error
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise ValueError(f"record 'scaling' lacks {', '.join(missing)}; write it with: {COMMAND}")
    return record


def stale(record: Mapping) -> str:
    """Why a record is stale and what to do; "" if it is not."""
    if record["source_hash"] == source_hash():
        return ""
    return f"record 'scaling' is stale: {records.SOURCES_CHANGED}; record anew with: {record['command']}"


def note(record: Mapping) -> str:
    """When, where and by which command a record was made, as a sentence; and whether it is stale."""
    made = f"Recorded by `{record['command']}` on {record['date']}, {record['device']}."
    return made + (" The sources have changed since." if stale(record) else "")


def config_of(entry: Mapping) -> Any:
    """The configuration that an entry of the record was measured with."""
    config_class = {"cnn": cnn.CNNConfig, "vae": vae.VAEConfig}[entry["model"]]
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["config"].items()}
    return config_class(**fields)


def sustained(record: Mapping, model: str, case: str = "1x") -> float:
    """FLOP/s that a recorded training run kept up: its FLOP by formula over its (median) seconds."""
    entry = next(e for e in record["decade"] if (e["model"], e["case"]) == (model, case))
    return run_flops(config_of(entry), entry["images_seen"]) / float(np.median(entry["seconds"]))


def median_and_range(values: list[float]) -> tuple[float, float, float]:
    """Median, minimum and maximum."""
    return float(np.median(values)), min(values), max(values)


def growth(differences: list[float], losses: list[float]) -> np.ndarray:
    """|difference| / |loss| of each step; NaN where it is exactly zero, which a log axis does not have."""
    relative = np.abs(differences) / np.abs(losses)
    return np.where(relative > 0, relative, np.nan)

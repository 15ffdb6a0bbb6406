"""The arithmetic of larger runs against independent counts, the roofline on known operations, record and pictures."""

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import random_images

from imgbook import (
    cnn,
    gan,
    parallel,
    records,
    roofline,
    scaling,
    scaling_figures,
    staleness,
    training,
    vae,
)

KEY = jax.random.key(0)
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SMALL = {
    "cnn": cnn.CNNConfig(image_shape=(12, 10, 3), widths=(8, 12), hidden=24, batch_size=8),
    "vae": vae.VAEConfig(image_shape=(12, 10, 1), hidden=64, latent_dim=5, batch_size=8),
}
MODULES = {"cnn": cnn, "vae": vae}


def built(name, config=None, n=32):
    """State, step and batches of a small model on noise."""
    config = config or SMALL[name]
    graphdef, state = MODULES[name].init(config, KEY)
    arrays = (random_images(n, config.image_shape),)
    arrays += (np.arange(n) % 10,) if name == "cnn" else ()
    batches = training.batches(arrays, config.batch_size, KEY)
    return state, MODULES[name].make_train_step(graphdef, config), batches


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/scaling.py as a module."""
    spec = importlib.util.spec_from_file_location("scaling_benchmark", BENCHMARKS / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


# --- formulas -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("factor", [1, 3])
def test_parameters_are_those_of_the_module(name, factor):
    config = scaling.wider(SMALL[name], factor)
    _, state = MODULES[name].init(config, KEY)
    assert scaling.parameters(config) == sum(a.size for a in jax.tree.leaves(state.params))


@pytest.mark.parametrize("config", [cnn.CNNConfig(), vae.VAEConfig()])
def test_wider_scales_the_parameters(config):
    ratio = scaling.parameters(scaling.wider(config, 10)) / scaling.parameters(config)
    assert ratio == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_flops_are_those_that_xla_counts_less_the_elementwise_work(name, benchmark):
    config = replace(scaling.wider(SMALL[name], 4), batch_size=128)
    with benchmark.stock_layers():
        state, step, batches = built(name, config, n=128)
        analysis = step.lower(state, next(iter(batches))).compile().cost_analysis()
    counted = (analysis[0] if isinstance(analysis, list) else analysis)["flops"]
    assert 0.8 * counted < scaling.step_flops(config) < counted


def test_flops_by_hand():
    config = vae.VAEConfig(image_shape=(2, 2, 1), hidden=3, latent_dim=1, batch_size=5)
    products = 2 * (4 * 3) + 3 * (3 * 2) + 3 * (1 * 3) + 3 * (3 * 4)  # passes, multiply-adds
    assert scaling.step_flops(config) == 2 * 5 * products
    assert scaling.run_flops(config, 1000) == 2 * 1000 * products


@pytest.mark.parametrize("name", SMALL)
def test_memory_is_what_the_program_takes(name):
    """Exactly for the state, the data and the order of batches; within a factor of two for what a step needs."""
    config = replace(SMALL[name], batch_size=128)
    state, step, batches = built(name, config, n=128)
    program, _ = training.compile_loop(step, state, batches)
    expected, found = scaling.memory(config, 128), program.memory_analysis()
    floats = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert sum(a.nbytes for a in floats) == expected.state
    plan = training.STEPS_A_CALL * config.batch_size * 4
    taken = expected.state + expected.data + plan
    assert taken == pytest.approx(found.argument_size_in_bytes, abs=2000)
    assert 0.5 < expected.temporary / found.temp_size_in_bytes < 2


def test_memory_of_more_devices():
    config = replace(SMALL["vae"], hidden=4096)
    one, copied, divided = (
        scaling.memory(config, 100, *how) for how in ((1,), (4, False), (4, True))
    )
    assert copied.state == one.state
    assert copied.activations == one.activations / 4
    assert divided.state == one.state / 4
    assert one.total == one.state + one.data + one.temporary


def test_sharded_bytes_are_those_of_the_layout():
    """On one device here; the mesh of four is described only, which is all that dividing depends on."""
    config = replace(SMALL["vae"], image_shape=(28, 28, 1), hidden=1024)
    _, state = vae.init(config, KEY)
    layout = parallel.Layout(jax.sharding.AbstractMesh((4,), (parallel.AXIS,)), True)
    leaves = [a for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)]
    held = sum(4 * np.prod(layout.sharding(a).shard_shape(a.shape), dtype=int) for a in leaves)
    assert held == pytest.approx(scaling.memory(config, 0, 4, sharded=True).state, rel=0.02)


def test_communication():
    config = SMALL["cnn"]
    assert scaling.all_reduce_bytes(config) == 4 * scaling.parameters(config)
    assert scaling.ring_bytes(config, 1) == 0
    assert scaling.ring_bytes(config, 4) == 1.5 * scaling.all_reduce_bytes(config)


def test_hours_and_cost():
    assert scaling.hours(7.2e15, 1e12) == 2
    assert scaling.hours(7.2e15, 1e12, devices=4) == 0.5
    assert scaling.cost(2, 1.5) == 3
    for bad in ((1e12, 0), (1e12, 1e9, 0)):
        with pytest.raises(ValueError, match="allowed: a positive rate, 1 device or more"):
            scaling.hours(*bad)


def test_unknown_configuration_is_refused():
    with pytest.raises(TypeError, match="GANConfig; allowed: VAEConfig, CNNConfig"):
        scaling.parameters(gan.GANConfig())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5 / 3600, "5.0 s"),
        (1, "60 min"),
        (30, "30 h"),
        (24 * 30, "30 days"),
        (24 * 3653, "10 years"),
    ],
)
def test_hours_in_words(value, text):
    assert scaling.hours_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (9_789_888, "9.79 MB"), (4e10, "40 GB"), (5e15, "5e+03 TB")]
)
def test_bytes_in_words(value, text):
    assert scaling.bytes_text(value) == text


# --- roofline -------------------------------------------------------------------------------------------------


def test_roof():
    np.testing.assert_allclose(roofline.roof([1, 10, 100], 50, 10), [10, 50, 50])


def test_flops_and_bytes_of_known_operations():
    product = roofline.square_product(6)
    assert (product.flops, product.bytes) == (2 * 216, 4 * 3 * 36)
    conv = roofline.convolution(5, 2, 3, batch=4)
    assert conv.flops == 2 * 4 * 9 * 9 * 2 * 3  # images, places, kernel, channels
    assert conv.bytes == 4 * (4 * 25 * 2 + 9 * 2 * 3 + 4 * 9 * 3)
    fused, apart = roofline.chains(100)
    assert fused.flops == apart.flops == 600
    assert apart.bytes == 6 * fused.bytes == 6 * 800


def test_operations_compute_what_they_say():
    x = jnp.asarray([-1.0, 0.1, 2.0])
    np.testing.assert_allclose(roofline.chain(x), ((np.maximum(x + 0.1, 0) / 2 - 0.2) ** 2) + 1)
    y = roofline.normalisation((8, 3, 3, 2))
    z = y.body(5 * y.carry + 3)
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(z.std((0, 1, 2)), 1, rtol=1e-3)
    _, pooled = roofline.pooling((1, 4, 4, 1)).body((jnp.zeros(()), None))
    assert pooled.shape == (1, 2, 2, 1)


def test_time_grows_with_the_work():
    """Nothing is left out by the compiler: a thousand times the numbers take longer, in a loop and call by call."""
    effort = dict(seconds=0.005, repeats=3)
    for make in (roofline.triad, lambda n: roofline.chains(n)[1]):
        small, large = (roofline.measure(make(n), **effort) for n in (2**12, 2**22))
        assert large.seconds > 3 * small.seconds
    point = roofline.measure(roofline.dense(16, 32, 8), **effort)
    assert point.rate == point.flops / point.seconds > 0


def test_machine():
    points = [roofline.Point("a", "memory", 10, 5, 2), roofline.Point("b", "memory", 9, 5, 1)]
    peak, memory, cache = roofline.machine(points, 2**14, seconds=0.002, repeats=1)
    assert peak == 9
    assert memory > 0 < cache


# --- the record -----------------------------------------------------------------------------------------------


@pytest.fixture
def made():
    """A small record of the form that the benchmark writes."""
    config = asdict(SMALL["vae"])
    times = {"operation by operation": [9.0, 11.0], "steps in one compiled loop": [2.0, 2.5]}
    loss, others = [2.0, 1.0, 0.5], ("2", "4", "8", "two processes")
    run = {
        "loss": loss,
        "differences": {n: [0.0, 1e-7, -2e-7] for n in others},
        "milliseconds": dict.fromkeys(("1", *others), 3.0),
    }
    held = {"copied": {"1": 80.0, "2": 80.0}, "divided": {"1": 80.0, "2": 40.0}}
    return {
        **dict.fromkeys(scaling.KEYS, ""),
        "command": scaling.COMMAND, "source_hash": scaling.source_hash(), "date": "2026-01-01",
        "ladder": {m: {"batch_size": 8, "milliseconds": times} for m in ("cnn", "gan", "vae")},
        "batch_sizes": {m: {"16": [1.0, 2.0], "32": [1.5, 2.5]} for m in ("cnn", "vae")},
        "devices": {m: {"float32": run, "float64": run} for m in ("cnn", "gan")},
        "sharding": {"config": config, "bytes": held},
        "decade": [{"model": "vae", "case": "1x", "config": config, "images_seen": 80, "seconds": [3.0, 2.0, 1.0]}],
    }  # fmt: skip


def test_record_is_read_or_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no record 'scaling'.*benchmarks/scaling.py"):
        scaling.load()
    path = tmp_path / "scaling.json"
    path.write_text(json.dumps(made))
    assert scaling.load() == json.loads(json.dumps(made))
    path.write_text(json.dumps({k: v for k, v in made.items() if k != "decade"}))
    with pytest.raises(ValueError, match="lacks decade"):
        scaling.load()
    path.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        scaling.load()


def test_stale_record_is_named(made):
    assert scaling.stale(made) == ""
    assert "changed" not in scaling.note(made)
    made["source_hash"] = "0" * 64
    assert scaling.COMMAND in scaling.stale(made)
    assert scaling.note(made).endswith("The sources have changed since.")


def test_source_hash_is_over_what_runs():
    found = staleness.modules(scaling.measured)
    assert {"training", "parallel", "processes", "layers", "convolution", "cnn", "roofline"} <= set(
        found
    )
    assert not {"scaling", "scaling_figures", "plotting", "pages"} & set(found)


def test_the_book_s_record_is_whole_and_current():
    record = scaling.load()
    assert not scaling.stale(record), scaling.stale(record)
    for entry in record["flops"]:
        formula = scaling.step_flops(scaling.config_of(entry))
        assert formula == pytest.approx(entry["flops"], rel=0.06)
    for entry in record["memory"]:
        config = scaling.config_of(entry)
        assert scaling.memory(config, entry["num_images"]).state == entry["state"]
    assert record["all_reduce_bytes"] == scaling.all_reduce_bytes(cnn.CNNConfig())
    for by_type in record["devices"].values():
        first = {t: max(max(np.abs(d[:10])) for d in run["differences"].values())
                 for t, run in by_type.items()}  # fmt: skip
        assert first["float64"] < 1e-6 * first["float32"]


def test_rates_of_the_record(made):
    config = scaling.config_of(made["decade"][0])
    assert config == SMALL["vae"]
    assert scaling.sustained(made, "vae") == scaling.run_flops(config, 80) / 2
    assert scaling_figures.images_per_second(8, [4.0, 2.0, 1.0]) == (4000, 2000, 8000)
    np.testing.assert_equal(scaling.growth([0.0, -1.0], [2.0, 4.0]), [np.nan, 0.25])


def test_bytes_that_a_program_adds_up(benchmark):
    text = (
        "%a = f32[3,4]{1,0} all-reduce(f32[3,4] %x), channel_id=1\n"
        "%b = (f32[10]{0}, f32[]) all-reduce(f32[10] %y, f32[] %z)\n%c = f32[99]{0} add(%all-reduce)\n"
    )
    assert benchmark.all_reduced(text) == 4 * (12 + 10)


def test_half_precision_step_learns(benchmark):
    config = SMALL["cnn"]
    graphdef, state = cnn.init(config, KEY)
    step = jax.jit(benchmark.half_step(graphdef, replace(config, num_steps=10)))
    batch = random_images(8, config.image_shape), np.arange(8)
    losses = []
    for _ in range(10):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    assert {a.dtype for a in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


# --- pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ladder", "batch_sizes", "curves", "differences", "sharding", "roofline"]
)
def test_pictures_name_their_axes(name, made):
    draw = getattr(scaling_figures, f"draw_{name}")
    arguments = {
        "sharding": (made, {how: {1: 80.0, 2: 40.0} for how in ("copied", "divided")}),
        "roofline": ([roofline.Point("a", "convolution", 10, 5, 2e-9)], 5e9, 1e9, 3e9),
    }.get(name, (made,))
    fig = draw(*arguments)
    axes = SimpleNamespace(
        x=[a.get_xlabel() for a in fig.axes], y=[a.get_ylabel() for a in fig.axes]
    )
    assert all(axes.x)
    assert axes.y[0] or [t.get_text() for t in fig.axes[0].get_yticklabels()] == list(
        made["ladder"]["cnn"]["milliseconds"]
    )
    fig.canvas.draw()
    plt.close(fig)

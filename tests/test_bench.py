"""The benchmark against other frameworks: what it counts, what it checks before it times, its record and pictures.

PyTorch and Keras are not here; what is checked of them, `make bench` checks before it times anything.
"""

import json
import math
import sys
from pathlib import Path

import bench
import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from flax import nnx
from frameworks import jax_networks, jax_steps, measure, processes, work, worker
from jax.extend import core

from imgbook import plotting, speed, staleness, training

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
BATCH = 4


def arrays(model: str, n: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (32, 32, 3) if model == "cnn" else (28, 28, 1)
    images = rng.integers(0, 256, (n, *shape)).astype(np.uint8)
    return {"images": images, "labels": rng.integers(0, 10, n)}


# --- FLOPs by formula -----------------------------------------------------------------------------------------


def products(jaxpr: core.Jaxpr, edges: bool) -> float:
    """FLOPs of the matrix products and convolutions of a program; with `edges` products with padding count too."""
    total = 0.0
    for eqn in jaxpr.eqns:
        out = eqn.outvars[0].aval.shape
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(shape[i] for i in contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            total += convolution_flops(eqn, edges)
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += products(inner, edges)
    return total


def convolution_flops(eqn: core.JaxprEqn, edges: bool) -> float:
    """Zeros that a dilation puts between pixels do not count."""
    lhs, rhs, out = eqn.params["dimension_numbers"]
    x, kernel, y = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
    total = 2 * y[out[0]] * y[out[1]] * kernel[rhs[1]]
    for i, (low, _) in enumerate(eqn.params["padding"]):
        dilation = eqn.params["lhs_dilation"][i]
        at = np.arange(y[out[2 + i]])[:, None] * eqn.params["window_strides"][i] - low
        at = at + np.arange(kernel[rhs[2 + i]]) * eqn.params["rhs_dilation"][i]
        inside = (at >= 0) & (at <= (x[lhs[2 + i]] - 1) * dilation) & (at % dilation == 0)
        total *= at.size / dilation if edges else inside.sum()
    return total


@pytest.mark.parametrize("model", ["cnn", "vae"])
def test_flops_are_those_of_the_gradient_program(model):
    net = jax_networks.build(model, "naive")[""]
    graphdef, params, rest = nnx.split(net, nnx.Param, ...)
    data = tuple(a[:BATCH] for a in jax_steps.inputs(model, arrays(model)))

    def loss(params):
        net = nnx.merge(graphdef, params, rest)
        noise = work.noise(model, BATCH, 0)
        return jax_networks.LOSSES[model](net, data, noise, jax.random.key(0))

    program = jax.make_jaxpr(jax.grad(loss))(params)
    assert products(program.jaxpr, edges=False) == work.flops(model) * BATCH


def test_flops_of_the_gan_are_those_of_both_turns():
    runner = jax_steps.Runner("gan", "naive", arrays("gan"), BATCH)
    states, graphdefs = {}, {}
    for prefix, net in runner.nets.items():
        graphdefs[prefix], states[prefix] = training.init_state(
            net, jax_steps.optimizer("gan"), jax.random.key(0)
        )
    batch = tuple(a[:BATCH] for a in runner.data)
    program = jax.make_jaxpr(
        lambda s: jax_steps.engine_step(graphdefs, jax_steps.optimizer("gan"), "gan", s, batch)
    )(states)
    assert products(program.jaxpr, edges=True) == work.flops("gan") * BATCH


# --- the check ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checks():
    """The numerical check of both variants of every model, by the code that is timed."""
    found = {}
    for model in work.MODELS:
        found[model] = {}
        for variant in ("engine", "naive"):
            runner = jax_steps.Runner(model, variant, arrays(model), BATCH)
            if variant == "engine":
                runner.run(3)  # the check must not depend on what was done before
            found[model][variant] = worker.check(runner, model, 16, BATCH)
    return found


@pytest.mark.parametrize("model", work.MODELS)
def test_engine_and_naive_compute_the_same(checks, model):
    measure.compare(model, checks[model])
    for found in checks[model].values():
        names = measure.quantities(model)
        assert {kind: len(values) for kind, values in found.items()} == {
            kind: len(words) for kind, words in names.items()
        }
        assert np.all(np.isfinite(found["first"]))
        assert min(found["first"]) > 0
        # The steps did something, or the comparison after them would be empty.
        assert abs(found["after"][0] / found["first"][0] - 1) > 0.01


@pytest.mark.parametrize(
    ("kind", "place", "words"),
    [
        ("first", 0, "discriminator's loss: "),
        ("first", 3, "generator's gradient norm: "),
        ("after", 1, "generator's loss after 3 steps: "),
    ],
)
@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_variant_that_computes_something_else_stops_the_benchmark(
    checks, kind, place, words, factor
):
    wrong = json.loads(json.dumps(checks["gan"]))
    wrong["naive"][kind][place] *= factor
    with pytest.raises(measure.CheckFailed, match=f"(?s)gan: not the same.*naive, {words}"):
        measure.compare("gan", wrong)


def test_every_framework_sees_each_image_once_an_epoch_in_a_new_order():
    epochs = [np.concatenate([work.rows(10, 3, 3 * e + i) for i in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == 9
        assert set(epoch) <= set(range(10))
    assert list(epochs[0]) != list(epochs[1])


# --- workers --------------------------------------------------------------------------------------------------

FAKE = """
import json, os, sys
def answer(result): print(json.dumps(result), flush=True)
answer({"ready": True})
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "die":
        print("the last words", file=sys.stderr, flush=True)
        os._exit(3)
    if command["do"] == "hang":
        import time; time.sleep(60)
    answer({"error": "ValueError: no"} if command["do"] == "fail" else {"seconds": command["n"] * 0.5})
"""


@pytest.fixture
def fake(tmp_path):
    command = [sys.executable, "-c", FAKE]
    with processes.Process("cnn", "fake", tmp_path / "data.npz", command) as process:
        yield process


def test_a_worker_answers_and_is_gone_at_the_end(fake):
    turn, n = measure.timed_run(fake, "main", seconds=2.0)
    assert n == 4
    assert turn() == pytest.approx(500)
    fake.__exit__()
    assert fake.process.returncode is not None


def test_a_worker_that_dies_is_reported_with_its_last_words(fake):
    with pytest.raises(processes.WorkerError, match=r"(?s)cnn, fake: died \(exit code 3\).*last words"):  # fmt: skip
        fake.ask("die")
    with pytest.raises(processes.WorkerError, match="cnn, fake: died"):
        fake.ask("run", n=1)


def test_a_worker_that_fails_or_hangs_is_reported(fake):
    with pytest.raises(processes.WorkerError, match="cnn, fake: ValueError: no"):
        fake.ask("fail")
    with pytest.raises(processes.WorkerError, match=r"cnn, fake: no answer in 0\.5 s"):
        fake.ask("hang", time_limit=0.5)


def test_a_worker_that_cannot_start_is_reported(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such framework')"]
    with (
        pytest.raises(processes.WorkerError, match=r"(?s)died.*no such framework"),
        processes.Process("cnn", "fake", tmp_path / "data.npz", command),
    ):
        pass


def test_a_real_worker_times_a_product(tmp_path):
    with processes.Process("product", "numpy", tmp_path / "data.npz") as process:
        process.ask("make", name="", batch_size=0)
        assert 0 < process.ask("run", n=1)["seconds"] < 60


def test_settings_of_the_caller_do_not_reach_the_workers(tmp_path):
    caller = {"PATH": "p", "JAX_COMPILATION_CACHE_DIR": "warm", "OMP_NUM_THREADS": "1"}
    given = processes.environment(tmp_path, caller)
    assert given["PATH"] == "p"
    assert not {"JAX_COMPILATION_CACHE_DIR", "OMP_NUM_THREADS"} & set(given)


def test_without_a_compiler_the_compiled_variant_is_skipped_with_its_reason(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "C++ compiler" in measure.skipped()["compile"]


# --- statistics and curves ------------------------------------------------------------------------------------


def test_turns_rotate():
    order = []
    runs = {name: lambda name=name: order.append(name) or len(order) for name in "abc"}
    times = measure.take_turns(runs, repeats=3, pause=0)
    assert "".join(order) == "abcbcacab"
    assert times == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


def test_exponent_is_the_slope_and_its_spread():
    sizes = [10, 100, 1000]
    slope, slopes = measure.exponent(sizes, [[0.1 * s, 0.5 * s, 0.1 * s**1.1] for s in sizes])
    assert slopes == pytest.approx([1.0, 1.0, 1.1])
    assert slope == pytest.approx(1.1)  # of the medians


# --- record, table, pictures ----------------------------------------------------------------------------------


def example_run() -> dict:
    """A run as `bench.run` makes it."""

    def entry(speed: float) -> dict:
        return {
            "ms": [64e3 / speed],
            "images_per_second": {"median": speed, "min": 0.9 * speed, "max": 1.2 * speed},
            "fraction_of_peak": speed / 1e4,
            "compile_seconds": 2.0,
            "peak_MB": 500.0,
            "base_MB": None,
        }

    variants = {v: entry(1000 + 500 * i) for i, v in enumerate(measure.VARIANTS)}
    curve = {"16": [5.0], "64": [20.0], "256": [80.0]}
    model = {
        "variants": variants,
        "batch_curve": {"engine": curve, "keras": curve},
        "epochs": {"images": [640, 6400], "seconds": [[1.0], [10.0]], "exponent": 1.0},
    }
    short = {**model, "variants": {k: v for k, v in variants.items() if k != "channels_last"}}
    models = {"cnn": model, "gan": model, "vae": short}
    about = {"date": "2026-01-01", "device": "a CPU", "command": "make bench"}
    return {"models": models, "repeats": 7, **about}


def test_the_record_keeps_the_last_two_runs(tmp_path):
    path = tmp_path / "bench.json"
    for number in range(3):
        bench.keep({"number": number, "ms": [1 / 3]}, path)
    assert speed.load(path) == [{"number": 2, "ms": [0.3333333]}, {"number": 1, "ms": [0.3333333]}]


def test_a_damaged_record_stops_the_benchmark_before_it_begins(tmp_path, monkeypatch):
    path = tmp_path / "bench.json"
    path.write_text("{")
    monkeypatch.setattr(sys, "argv", ["bench.py", "--output", str(path)])
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match=r"bench\.json is damaged"):
        bench.main()
    assert path.read_text() == "{"


def test_a_record_that_is_missing_or_damaged_is_named_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"bench\.json.*make bench"):
        speed.load(tmp_path / "bench.json")
    (tmp_path / "bench.json").write_text('{"runs": ')
    with pytest.raises(ValueError, match=r"damaged.*make bench"):
        speed.load(tmp_path / "bench.json")


def test_readme_gets_table_and_picture(tmp_path):
    (tmp_path / "results").mkdir()
    bench.keep(example_run(), tmp_path / "results" / "bench.json")
    readme, picture = tmp_path / "README.md", tmp_path / "bench.svg"
    readme.write_text("before\n")
    with pytest.raises(SystemExit, match=r"README\.md has no"):
        bench.write_readme(tmp_path, picture)
    assert readme.read_text() == "before\n"
    readme.write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
    bench.write_readme(tmp_path, picture)
    once, drawn = readme.read_text(), picture.read_bytes()
    bench.write_readme(tmp_path, picture)
    assert (readme.read_text(), picture.read_bytes()) == (once, drawn)
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    assert "| this book | 1,000 (900 to 1,200) |" in once
    assert "| PyTorch, channels last | 2,500 (2,250 to 3,000) | 2,500 (2,250 to 3,000) | - |" in once  # fmt: skip


def test_figures_name_their_axes_and_show_every_variant():
    with plt.rc_context(plotting.STYLE):
        bars, costs = speed.draw_speeds(example_run()), speed.draw_costs(example_run())
        bars.canvas.draw(), costs.canvas.draw()
        shown = [len(ax.patches) for ax in bars.axes]
        assert shown == [7, 7, 6]
        assert "images a second" in bars.axes[-1].get_xlabel()
        assert [t.get_text() for t in bars.axes[0].texts][:2] == ["1,000 (10%)", "1,500 (15%)"]
        for ax in costs.axes:
            assert ax.get_xlabel()
            assert ax.get_ylabel()
            assert ax.get_xscale() == ax.get_yscale() == "log"
        legend = [t.get_text() for t in costs.axes[1].get_legend().get_texts()]
        assert legend[0] == "CNN: exponent 1.00"
        for fig in (bars, costs):
            texts = [t for t in fig.findobj(plt.Text) if t.get_text()]
            assert fig.get_figwidth() <= 7
            assert min(t.get_fontsize() for t in texts) >= 10
        plt.close("all")


def test_cost_table_leaves_out_what_was_not_measured():
    header, rows = speed.cost_table(example_run(), "cnn")
    assert rows[0] == ("this book", "64.00", "10%", "2.0", "500", "-")
    assert all(len(row) == len(header) for row in rows)


def test_record_is_current():
    runs = speed.load()
    assert len(runs) == bench.RUNS_KEPT, "run make bench again: two runs are reported"
    assert runs[0]["source_hash"] == bench.source_hash(), "run make bench again"
    for run in runs:
        assert run["repeats"] >= 5
        assert set(run["models"]) == set(work.MODELS)
    assert speed.with_curves(runs) in runs


def test_two_runs_are_compared_by_the_ratio_to_the_fastest_of_other_frameworks():
    runs = speed.load()
    header, rows = speed.compare(*runs)
    for row, (model, result) in zip(rows, runs[0]["models"].items(), strict=True):
        ours, name, theirs = speed.against_fastest(result)
        medians = {v: r["images_per_second"]["median"] for v, r in result["variants"].items()}
        assert (ours, theirs) == (medians["engine"], medians[name])
        assert theirs == max(m for v, m in medians.items() if v not in ("engine", "naive"))
        assert row[0] == speed.MODELS[model]
        assert len(row) == len(header)
        assert float(row[2]) == pytest.approx(ours / theirs, abs=0.005)


def test_a_record_without_curves_says_how_to_get_them():
    bare = {"models": {"cnn": {}}}
    whole = {"models": {"cnn": {"epochs": {}}}}
    assert speed.with_curves([bare, whole]) is whole
    with pytest.raises(ValueError, match="make bench"):
        speed.with_curves([bare])


def test_the_hash_covers_every_program_of_the_benchmark():
    """Also those that cannot be imported here."""
    names = staleness.modules(bench._programs, BENCHMARKS / "frameworks")
    assert set(names) == {path.stem for path in (BENCHMARKS / "frameworks").glob("*.py")}
    assert {"layers", "convolution", "training"} <= set(staleness.modules(bench._engine))
    assert not {"cnn", "gan", "vae"} & set(staleness.modules(bench._engine))

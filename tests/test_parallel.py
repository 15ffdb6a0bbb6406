"""Several devices and several processes: the same numbers as one device's, the work divided, and no end without a word.

Devices are virtual ones, processes real ones that talk over the loopback interface. This file is also the program that
they run: `python test_parallel.py FUNCTION ARGUMENTS`, with the results as JSON.
"""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import loaded, random_images

from imgbook import checkpoints, cli, data, files, parallel, processes, runs
from imgbook.checkpoints import Checkpoints

LONG, EVERY = 250, 25  # steps of a run that is disturbed, and between its checkpoints
LIMIT = 300  # seconds until a process that hangs is killed, on however busy a machine
BATCH = 40  # a number that no other size in these networks has
STEPS = {"float32": 10, "float64": 50}
ALLOWED = {"float32": 1e-5, "float64": 1e-9}
MODELS = ("cnn", "gan", "vae")


def layouts(model: str, dtype: str) -> list[tuple[int, bool]]:
    """Numbers of devices, and whether the parameters are divided. (Two processes have 2 and 4 devices, see below.)"""
    some = [(2, False), (4, False)] if model == "vae" else []  # the quickest to compile
    return [(1, False), *(([*some, (8, False)]) if dtype == "float32" else []), (8, True)]


# --- what the processes run -----------------------------------------------------------------------------------


def small(model: str):
    """Module, data and hyperparameters of a small network with all that the chapter's has."""
    sizes = {
        "cnn": dict(widths=(8, 16), hidden=512, shift=1),
        "gan": dict(width=16, latent_dim=16, num_codes=8),
        "vae": dict(hidden=96, latent_dim=8),
    }
    shape = (12, 12, 3) if model == "cnn" else (12, 12, 1)
    images, labels = random_images(200, shape), np.arange(200) % 10
    names = tuple("abcdefghij")
    dataset = data.Dataset.from_arrays(images, labels, names, name="noise")
    module = runs.chapter(model)
    changes = dict(batch_size=BATCH, num_steps=100, **sizes[model])
    return module, dataset, module.config_for(dataset, "smoke", **changes)


@functools.cache
def prepared(model: str, dtype: str):
    """Structure, initial state and step: traced once for all numbers of devices."""
    module, _, config = small(model)
    graphdef, state = module.init(config, jax.random.key(0))
    return graphdef, state, module.make_train_step(graphdef, config)


def fit(model: str, dtype: str, layout, num_steps: int | None = None, **options):
    """Structure, state and history of a run as the chapter's `train` does it, the state cast to `dtype`."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    module, dataset, config = small(model)
    graphdef, state, step = prepared(model, dtype)
    # A copy, since the run consumes it.
    cast = lambda a: jnp.array(a, dtype if jnp.issubdtype(a.dtype, jnp.floating) else None)  # noqa: E731
    state = jax.tree.map(cast, state)
    arrays = (dataset.images, dataset.labels) if model == "cnn" else (dataset.images,)
    stream = module.training.batches(arrays, config.batch_size, jax.random.key(1))
    state, history = module.training.fit(
        state, step, stream, num_steps or STEPS[dtype], layout=layout, progress=False, **options
    )
    return graphdef, state, history


def columns(history) -> dict:
    """Metrics as lists; their type beside them."""
    return {name: [*map(float, v), str(v.dtype)] for name, v in history.metrics.items()}


def devices(folder: str) -> dict:
    """All that is tried out with several devices in one process."""
    parallel.virtual_devices(8)
    found: dict = {"losses": {}, "bytes": {}, "errors": []}
    for dtype in STEPS:
        for model in MODELS:
            for n, divided in layouts(model, dtype):
                layout = parallel.layout(n, shard_parameters=divided)
                seen = {}

                def look(number, state, seen=seen):
                    large = [a for a in jax.tree.leaves(state) if a.size >= parallel.DIVIDED_FROM]
                    seen.update(parallel.bytes_per_device(large))

                graphdef, state, history = fit(model, dtype, layout, callback=look)
                found["losses"][f"{model} {dtype} {n} {divided}"] = columns(history)
                found["bytes"][f"{model} {dtype} {n} {divided}"] = sorted(seen.values())
                if dtype == "float32" and divided and model == "gan":
                    module = small(model)[0]
                    latents = jax.random.normal(jax.random.key(2), (5, 16))
                    found["sample"] = module.sample(graphdef, state, latents).shape
                    found["on"] = [len(leaf.devices()) for leaf in jax.tree.leaves(state)]
    jax.config.update("jax_enable_x64", False)
    for n in (3, 9, 0):
        try:
            fit("vae", "float32", parallel.layout(n), checkpoints=Checkpoints(folder + "/none"))
        except ValueError as error:
            found["errors"].append(str(error))
    found["made"] = os.path.exists(folder + "/none")
    for n, steps in ((8, 4), (2, 7), (1, 10)):
        kept = Checkpoints(folder + "/run", every=3, resume=True)
        layout = parallel.layout(n, shard_parameters=n > 1)
        resumed = fit("vae", "float32", layout, steps, checkpoints=kept)[2]
    found["resumed"] = columns(resumed)
    found["programs"] = {model: program(model, 8) for model in MODELS}
    found["poisson"] = poisson(8)
    return found


def program(model: str, n: int) -> str:
    """The text of the compiled loop on n devices."""
    jax.config.update("jax_enable_x64", False)
    module, dataset, config = small(model)
    _, state, step = prepared(model, "float32")
    arrays = (dataset.images, dataset.labels) if model == "cnn" else (dataset.images,)
    stream = module.training.batches(arrays, config.batch_size, jax.random.key(1))
    return module.training.compile_loop(step, state, stream, parallel.layout(n))[0].as_text()


def poisson(n: int) -> list[list[float]]:
    """Weighted sums of Poisson batches, on one and on n devices."""
    from imgbook import training

    def step(state, batch):
        x, weights = batch
        return state + 1, {"sum": jnp.vdot(x, weights), "count": weights.sum()}

    stream = training.batches(
        (np.arange(100.0, dtype=np.float32),), 8, jax.random.key(0), poisson=True
    )
    return [
        training.fit(jnp.int32(0), step, stream, 5, layout=parallel.layout(k), progress=False)[1]
        .metrics["sum"]
        .tolist()
        for k in (1, n)
    ]


def member(port: str, process: str, devices: str) -> dict:
    """One of two processes: the same runs as above."""
    parallel.virtual_devices(int(devices))
    parallel.connect(f"127.0.0.1:{port}", 2, int(process), timeout_seconds=30)
    divided = devices == "2"
    layout = parallel.layout(shard_parameters=divided)
    models = {"1": ("vae", "gan"), "2": ("cnn", "cnn")}[devices]
    found = {f"{m} {t}": columns(fit(m, t, layout)[2]) for m, t in zip(models, STEPS, strict=True)}
    processes.finish()
    return found


def victim(port: str, process: str, devices: str, how: str, heartbeat: str, mark: str) -> dict:
    """One of two processes, of which process 1 does not survive step 3."""
    parallel.virtual_devices(int(devices))
    parallel.connect(
        f"127.0.0.1:{port}", 2, int(process), timeout_seconds=30, heartbeat_seconds=int(heartbeat)
    )

    def end(number, state):
        if process == "1" and number == 3:
            Path(mark).touch()
            if how == "raise":
                raise ZeroDivisionError("a bug")
            os.kill(os.getpid(), getattr(signal, how))

    fit("vae", "float32", parallel.layout(), 10**6, callback=end, callback_every=1)
    return {}


def alone(port: str) -> dict:
    """Process 0 of two, to which nobody comes."""
    parallel.connect(f"127.0.0.1:{port}", 2, 0, timeout_seconds=2)
    return {}


if __name__ == "__main__":
    result = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(result))
    sys.exit()


# --- starting them --------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """This run's own, compilation cache and all, and no accelerator."""
    return {**os.environ, "JAX_PLATFORMS": "cpu"}


@contextmanager
def started(*commands: list) -> Iterator[list[subprocess.Popen]]:
    """Processes, at whose end none is left."""
    running = [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )
        for words in commands
    ]  # fmt: skip
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def ends(*commands: list, then: Callable | None = None) -> list[tuple[int, str, str, float]]:
    """Exit code, stdout, stderr of each process, and seconds from `then(processes)` until all had ended."""
    with started(*commands) as running:
        if then:
            then(running)
        began = time.monotonic()
        said = [process.communicate(timeout=LIMIT) for process in running]
        seconds = time.monotonic() - began
        return [(p.returncode, *both, seconds) for p, both in zip(running, said, strict=True)]


def call(*words: object) -> list:
    """The command that runs a function of this file."""
    return [__file__, *words]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def results(ended: list) -> list[dict]:
    for code, _, said, _ in ended:
        assert code == 0, said[-3000:]
    return [json.loads(out) for _, out, _, _ in ended]


def compare(one: dict, other: dict, dtype: str) -> None:
    """Metrics agree, relative to max(1, |value|), as far as the type allows."""
    assert one.keys() == other.keys()
    for name in one:
        assert one[name][-1] == other[name][-1] == ("float32" if name == "accuracy" else dtype)
        a, b = np.array(one[name][:-1]), np.array(other[name][:-1])
        assert len(a) == len(b) == STEPS[dtype]
        assert np.max(np.abs(a - b) / np.maximum(1, np.abs(a))) <= ALLOWED[dtype], name


# --- several devices ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> dict:
    """What `devices` found."""
    return results(ends(call("devices", tmp_path_factory.mktemp("many"))))[0]


@pytest.mark.parametrize("dtype", STEPS)
@pytest.mark.parametrize("model", MODELS)
def test_losses_do_not_depend_on_the_number_of_devices(many, model, dtype):
    one = many["losses"][f"{model} {dtype} 1 False"]
    assert len(set(one[min(one)])) > 5  # it learns, or at least moves
    for n, divided in layouts(model, dtype)[1:]:
        compare(one, many["losses"][f"{model} {dtype} {n} {divided}"], dtype)


@pytest.mark.parametrize("model", MODELS)
def test_divided_parameters_take_an_eighth_of_the_memory(many, model):
    """Those of many numbers, with their two moments of Adam; small ones are not divided."""
    whole, divided = (many["bytes"][f"{model} float32 8 {d}"] for d in (False, True))
    assert len(whole) == len(divided) == 8
    assert len(set(whole)) == len(set(divided)) == 1
    assert many["bytes"][f"{model} float32 1 False"] == whole[:1]
    assert 8 * divided[0] == whole[0] > 0


def test_the_state_of_a_divided_run_is_whole_and_samples(many):
    assert set(many["on"]) == {1}
    assert many["sample"] == [5, 12, 12, 1]


@pytest.mark.parametrize("model", MODELS)
def test_the_program_of_a_device_computes_its_share(many, model):
    """No array of numbers in it has a row for each image of the batch, and none is collected."""
    text = many["programs"][model]
    assert "all-reduce" in text
    assert not re.findall(rf"(?:f32|u8|pred)\[(?:\d+,)*{BATCH}(?:,\d+)*\]", text)
    assert re.search(rf"f32\[{BATCH // 8},", text)
    assert "all-gather" not in text
    assert "all-to-all" not in text


def test_devices_that_do_not_divide_the_batch_are_refused_before_any_work(many):
    three, nine, none = many["errors"]
    assert three == (
        "3 devices do not divide a batch of 40 images; allowed here: 2 or 4 devices, or with 3 devices a batch of "
        "39 or 42"
    )
    assert nine.startswith("9 devices a process; allowed: 1 to 8")
    assert none.startswith("0 devices a process; allowed: 1 to 8")
    assert not many["made"]


def test_a_run_goes_on_with_another_number_of_devices(many):
    compare(many["losses"]["vae float32 1 False"], many["resumed"], "float32")


def test_poisson_batches_are_divided(many):
    np.testing.assert_allclose(*many["poisson"])


def test_more_devices_than_there_are_is_one_line_and_code_two():
    n = jax.device_count()
    result = CliRunner().invoke(cli.main, ["train", "vae", "--devices", "64"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: 64 devices asked, but JAX has started with {n}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--coordinator", "127.0.0.1:1"], "belong together: give all three"),
        (["--processes", "2", "--process-id", "0"], "belong together: give all three"),
        (["--process-id", "0"], "belong together: give all three"),
        (["--coordinator", "a:1", "--processes", "2", "--process-id", "2"], "allowed: 0 to 1"),
        (["--coordinator", "here", "--processes", "2", "--process-id", "1"], "expected HOST:PORT"),
        (["--coordinator", "a:x", "--processes", "2", "--process-id", "1"], "expected HOST:PORT"),
        (["--shard-parameters"], "--shard-parameters needs several devices"),
        (["--devices", "0"], "0 is not in the range"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words, said):
    result = CliRunner().invoke(cli.main, ["train", "vae", *words])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


# --- several processes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2])
def test_two_processes_compute_what_one_does(many, devices):
    port = free_port()
    both = results(ends(*(call("member", port, i, devices) for i in range(2))))
    assert both[0] == both[1]
    for name, found in both[0].items():
        compare(many["losses"][f"{name} 1 False"], found, name.split()[1])


def train(port: int, process: int, *words: object) -> list:
    """The command line of one of two processes; only process 0 can write."""
    folder = ["--checkpoint-dir", f"run{'' if process == 0 else '-elsewhere'}"]
    several = ["--coordinator", f"127.0.0.1:{port}", "--processes", 2, "--process-id", process]
    return ["-m", "imgbook", "train", "vae", *folder, "--checkpoint-every", EVERY, *several, *words]


def saved() -> int:
    """The last step of which there is a whole checkpoint."""
    return max((int(path.parent.name) for path in Path("run").glob("*/" + files.SEAL)), default=0)


def signal_after_a_checkpoint(number: int) -> Callable:
    """Send process 1 a signal when there is a new checkpoint."""

    def send(running):
        before, begin = saved(), time.monotonic()
        while saved() == before and time.monotonic() < begin + LIMIT:
            time.sleep(0.02)
        running[1].send_signal(number)

    return send


def test_the_command_line_interrupted_killed_and_resumed(monkeypatch, tmp_path):
    """Nothing is lost: after Ctrl-C in one process and SIGKILL of one, the rest gives what an undisturbed run gives."""
    monkeypatch.chdir(tmp_path)
    port, words = free_port(), ("--steps", LONG)
    interrupted = ends(
        *(train(port, i, *words) for i in range(2)), then=signal_after_a_checkpoint(signal.SIGINT)
    )
    for code, _, said, seconds in interrupted:
        assert code == 130, said
        assert re.search(rf"^error: interrupted after \d+ of {LONG} steps$", said, re.M)
        assert seconds < 20
    (_, out, shown, _), (_, nothing, quiet, _) = interrupted
    assert "step/s" in shown
    assert "step/s" not in quiet
    assert nothing == ""
    line = json.loads(out)
    assert line["steps"] == saved()
    assert not Path("run-elsewhere").exists()

    port = free_port()
    survivor, victim = ends(
        *(train(port, i, *words, "--resume") for i in range(2)),
        then=signal_after_a_checkpoint(signal.SIGKILL),
    )
    assert (victim[0], victim[1]) == (-signal.SIGKILL, "")
    assert (survivor[0], survivor[1]) == (1, ""), survivor[2]
    assert survivor[3] < 10
    (said,) = re.findall("^error: process 0 .*", survivor[2], re.M)
    assert "process 0 of 2 lost another one" in said
    assert "--resume), to go on from the last checkpoint in run" in said
    assert line["steps"] < saved() < LONG

    words = ["--checkpoint-dir", "run", "--checkpoint-every", EVERY, *words, "--resume"]
    ((code, out, said, _),) = ends(["-m", "imgbook", "train", "vae", *words])
    assert code == 0, said
    assert json.loads(out)["steps"] == LONG
    description = checkpoints.description("run")
    _, step, metrics = checkpoints.restore("run", runs.fresh("vae", description, Path("run"))[1])
    assert step == LONG
    _, history = runs.train("vae", loaded("mnist", "train"), "smoke", 0, LONG)
    for name, values in history.metrics.items():
        np.testing.assert_allclose(metrics[name][:20], values[:20], rtol=1e-5)
        np.testing.assert_allclose(metrics[name], values, rtol=1e-2)


def test_processes_with_other_options_do_not_begin(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    port = free_port()
    commands = [train(port, 0, "--steps", 5), train(port, 1, "--steps", 6, "--seed", 1)]
    for code, out, said, seconds in ends(*commands):
        assert (code, out) == (2, "")
        assert seconds < 40
        (line,) = re.findall("^error: .*", said, re.M)
        assert "process 1 was started with other options" in line
        assert "config.num_steps: 6 there, 5 in process 0; seed: 1 there, 0 in process 0" in line
    assert not list(tmp_path.glob("run*/*"))


def test_without_process_0_a_process_says_so():
    port, began = free_port(), time.monotonic()
    with pytest.raises(ConnectionError, match=f"no process 0 at 127.0.0.1:{port} within 1 s"):
        parallel.connect(f"127.0.0.1:{port}", 2, 1, timeout_seconds=1)
    assert time.monotonic() - began < 3


def test_a_port_in_use_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port {port}: Address already in use; choose"):
            parallel.connect(f"127.0.0.1:{port}", 2, 0, timeout_seconds=1)


def test_too_few_processes():
    ((code, _, said, seconds),) = ends(call("alone", free_port()))
    assert code == 1
    assert "not all of 2 processes came to 127.0.0.1:" in said
    assert "within 2 s; start them all" in said
    assert seconds < 20


def wait_for(mark: Path) -> Callable:
    def wait(_):
        begin = time.monotonic()
        while not mark.exists() and time.monotonic() < begin + LIMIT:
            time.sleep(0.02)

    return wait


@pytest.mark.parametrize(
    ("devices", "how", "heartbeat", "limit"),
    [(1, "SIGKILL", 20, 10), (1, "raise", 20, 10), (2, "SIGKILL", 3, 20)],
)
def test_one_process_does_not_survive_another(tmp_path, devices, how, heartbeat, limit):
    """Nor does it wait: an exception ends the others too. With several devices a process only JAX notices."""
    port, mark = free_port(), tmp_path / "now"
    commands = (call("victim", port, i, devices, how, heartbeat, mark) for i in range(2))
    survivor, victim = ends(*commands, then=wait_for(mark))
    assert survivor[0] != 0
    assert survivor[3] < limit
    said = survivor[2]
    if devices == 1:
        assert "ProcessLost: process 0 of 2 lost another one" in said
        assert "No checkpoints were kept." in said
    else:  # sometimes Python is told after all
        assert re.search("process 0 of 2 (was ended, not by itself|lost another one)", said)
    assert victim[0] == (-signal.SIGKILL if how == "SIGKILL" else 1)
    assert ("ZeroDivisionError: a bug" in victim[2]) == (how == "raise")

"""Checkpoints: a killed run resumes to the same bits; what is damaged, foreign or impossible is refused and said."""

import errno
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import kill_runs
import numpy as np
import optax
import pytest
from conftest import interrupt_at
from flax import nnx

from imgbook import files, training
from imgbook.checkpoints import CheckpointError, Checkpoints, as_numpy, restore

STEPS = 24
DESCRIBE = {"model": "linear", "learning_rate": 0.01, "shape": (4, 3), "seed": 0}


class Net(nnx.Module):
    """With trained weights of two dtypes, running averages and a random step: all that a state may hold."""

    def __init__(self, outputs: int, rngs: nnx.Rngs):
        self.dense = nnx.Linear(4, outputs, rngs=rngs)
        self.half = nnx.Linear(outputs, outputs, param_dtype=jnp.bfloat16, rngs=rngs)
        self.norm = nnx.BatchNorm(outputs, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.half(self.dense(x)))


def setup(outputs: int = 3, bad_step: int = 0, metric: str = "loss"):
    """A fresh state, its step (whose weights are not finite from `bad_step` on) and batches."""
    tx = optax.adam(1e-2)
    graphdef, state = training.init_state(Net(outputs, nnx.Rngs(0)), tx, jax.random.key(5))

    def loss_fn(params, stats, x):
        model = nnx.merge(graphdef, params, jax.tree.map(lambda a: a, stats))
        return (model(x) ** 2).mean() - model.dense.kernel[...].sum(), nnx.state(
            model, nnx.Not(nnx.Param)
        )

    def step(state, batch):
        x = batch[0] + jax.random.normal(jax.random.fold_in(state.key, state.step), batch[0].shape)
        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.stats, x
        )
        spoil = jnp.where((bad_step > 0) & (state.step + 1 >= bad_step), jnp.nan, 1.0)
        grads = jax.tree.map(lambda g: g * spoil.astype(g.dtype), grads)
        return state.updated(grads, tx, stats), {metric: loss, "rows": jnp.float32(len(x))}

    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    return state, step, training.batches((x,), 8, jax.random.key(1))


def train(folder, num_steps=STEPS, every=5, describe=DESCRIBE, callback=None, **options):
    changes = {
        name: options.pop(name) for name in ("outputs", "bad_step", "metric") if name in options
    }
    kept = Checkpoints(folder, every=every, describe=describe, **options) if folder else None
    return training.fit(
        *setup(**changes), num_steps, checkpoints=kept, progress=False, callback=callback, callback_every=1
    )  # fmt: skip


class Killed(BaseException):
    pass


def killed_at(step: int):
    def callback(number, state):
        if number == step:
            raise Killed

    return callback


def killed(folder: Path, step: int, **options) -> None:
    with pytest.raises(Killed):
        train(folder, callback=killed_at(step), **options)


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def same_bits(one, other) -> None:
    (state, history), (other_state, other_history) = one, other
    arrays, others = as_numpy(state), as_numpy(other_state)
    assert arrays.keys() == others.keys()
    for name, array in [*arrays.items(), *history.metrics.items()]:
        there = others[name] if name in others else other_history.metrics[name]
        assert array.dtype == there.dtype, name
        assert array.tobytes() == there.tobytes(), name


@pytest.fixture(scope="module")
def whole():
    """A run that nobody disturbs and that keeps no checkpoints."""
    return train(None)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """Checkpoints at steps 5, 10 and 12 of a run that was killed; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("stored") / "run"
    killed(folder, 13, every=5)
    killed(folder, 13, every=12, resume=True)
    assert steps_in(folder) == [5, 10, 12]
    return folder


@pytest.fixture
def copied(stored, tmp_path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "run"))


# --- saving and resuming --------------------------------------------------------------------------------------


def test_saves_every_k_steps_and_at_the_end_and_keeps_the_last(tmp_path, whole):
    same_bits(train(tmp_path, every=5, keep=3), whole)
    assert steps_in(tmp_path) == [15, 20, 24]
    assert all(path.name.isdigit() for path in tmp_path.iterdir())


@pytest.mark.parametrize("at", [1, 4, 5, 6, 17, 23])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, whole, at):
    killed(tmp_path, at)
    assert steps_in(tmp_path) == [5, 10, 15, 20][: at // 5][-3:]
    same_bits(train(tmp_path, resume=True), whole)


def test_killed_many_times_and_with_another_period(tmp_path, whole):
    for at, every in ((3, 2), (7, 3), (7, 2), (19, 4)):
        killed(tmp_path, at, every=every, resume=True)
    same_bits(train(tmp_path, every=100, resume=True), whole)


def test_resuming_a_finished_run_returns_it(tmp_path, whole):
    train(tmp_path)
    called = []
    again = train(tmp_path, resume=True, callback=lambda i, s: called.append(i))
    same_bits(again, whole)
    assert called == []


def test_an_interrupted_run_is_saved_where_it_stopped(tmp_path, whole):
    _, history = train(tmp_path, callback=interrupt_at(7), every=100)
    assert len(history.metrics["loss"]) == 7
    assert steps_in(tmp_path) == [7]
    same_bits(train(tmp_path, resume=True), whole)


def test_three_kills_by_signal_at_random_moments():
    report = kill_runs.run(kills=3, seed=0)
    assert report.found == report.expected
    assert report.expected["steps"] == kill_runs.NUM_STEPS
    assert max(report.at) > 0  # at least one kill came after something had been saved


def test_restore_gives_state_step_and_metrics(stored, whole):
    state, step, metrics = restore(stored, setup()[0], DESCRIBE)
    assert step == 12
    assert int(state.step) == 12
    assert list(metrics) == ["loss", "rows"]
    np.testing.assert_array_equal(metrics["loss"], whole[1].metrics["loss"][:12])
    assert jnp.issubdtype(state.key.dtype, jax.dtypes.prng_key)
    with pytest.raises(FileNotFoundError, match="no folder"):
        restore(stored / "missing", setup()[0])
    with pytest.raises(FileNotFoundError, match="no whole checkpoint; train with it first"):
        restore(stored / "5" / "about", setup()[0])


# --- refused, and nothing overwritten -------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {},
            r"already holds checkpoints, the last at step 12\. Resume .*--resume.* or choose another",
        ),
        (
            {"resume": True, "describe": {**DESCRIBE, "learning_rate": 0.02}},
            r"another run's \(learning_rate: 0\.01 there, 0\.02 here\)",
        ),
        (
            {"resume": True, "describe": {"model": "linear"}},
            "learning_rate: 0.01 there, 'nothing' here",
        ),
        (
            {"resume": True, "outputs": 5},
            r"params\.dense\.bias: float32 \(3,\) in the file, float32 \(5,\) in this .* \d+ more",
        ),
        ({"resume": True, "num_steps": 11}, "is at step 12, beyond num_steps = 11"),
        ({"resume": True, "metric": "cost"}, r"metrics loss, rows; this run's are cost, rows"),
    ],
)
def test_another_run_is_refused_and_nothing_overwritten(copied, options, message):
    before = contents(copied)
    with pytest.raises(ValueError, match=message):
        train(copied, **options)
    assert contents(copied) == before


@pytest.mark.parametrize(("name", "value"), [("every", 0), ("keep", 0), ("every", -1)])
def test_impossible_options_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}; allowed: 1 or more"):
        Checkpoints("anywhere", **{name: value})


def test_a_folder_that_cannot_be_written_to_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    called = []
    with pytest.raises(OSError, match=r"cannot write into .*file"):
        train(tmp_path / "file", callback=lambda i, s: called.append(i))
    with pytest.raises(OSError, match="cannot write into"):
        train(tmp_path / "file" / "below", callback=lambda i, s: called.append(i))
    assert called == []
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    """As the probe file finds it (a superuser may write anywhere, so the error is made here)."""

    def refused(self, data):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", refused)
    with pytest.raises(PermissionError, match=r"cannot write into .*Permission denied"):
        train(tmp_path / "run")


# --- failures on the way --------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, monkeypatch, whole):
    usage = shutil.disk_usage(tmp_path)
    free = iter([usage, usage])  # room for two checkpoints
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: next(free, usage._replace(free=10)))
    with pytest.raises(CheckpointError, match=r"could not save step 15 .*0 MB are free.*last checkpoint is step 10 in") as caught:  # fmt: skip  # noqa: E501
        train(tmp_path)
    assert int(caught.value.state.step) == 15
    np.testing.assert_array_equal(
        caught.value.history.metrics["loss"], whole[1].metrics["loss"][:15]
    )
    assert steps_in(tmp_path) == [5, 10]
    monkeypatch.undo()
    same_bits(train(tmp_path, resume=True), whole)


def test_a_write_that_fails_half_way_leaves_the_last_checkpoint_whole(tmp_path, whole):
    """In a process whose files may not grow beyond a limit, as on a disk that fills up while Orbax writes."""
    resource = pytest.importorskip("resource")
    killed(tmp_path / "run", 6)
    code = f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        sys.path.insert(0, {str(Path(kill_runs.__file__).parent)!r})
        import test_checkpoints as t
        state, step, stream = t.setup()
        def limit(number, state):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, {resource.RLIM_INFINITY}))
        options = t.Checkpoints(sys.argv[1], every=5, resume=True, describe=t.DESCRIBE)
        try:
            t.training.fit(state, step, stream, t.STEPS, checkpoints=options, progress=False, callback=limit)
        except t.CheckpointError as error:
            print(error, int(error.state.step))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")],
        capture_output=True,
        text=True,
    )
    assert "could not save step 10 to" in done.stdout, done.stderr[-2000:]
    assert "the last checkpoint is step 5" in done.stdout
    same_bits(train(tmp_path / "run", resume=True), whole)


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path):
    """The loss of step 10 is still finite, the weights after it are not."""
    message = r"is not finite at step 10; the last checkpoint is step 5 in .*learning rate"
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path, bad_step=10)
    assert steps_in(tmp_path) == [5]


def test_a_loss_that_is_not_finite_names_the_last_checkpoint(tmp_path):
    message = r"loss = nan at step 9; the last checkpoint is step 5 in .*learning rate"
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path, bad_step=8)
    assert steps_in(tmp_path) == [5]


# --- damage ---------------------------------------------------------------------------------------------------


def all_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def outcome(folder: Path) -> str:
    """What became of a damaged newest checkpoint (12): "same" if what is read is what was saved, else its message."""
    state, _, _ = setup()
    try:
        state, step, metrics = restore(folder, state, DESCRIBE)
    except ValueError as error:
        return str(error)
    return f"step {step}, {kill_runs.digest(as_numpy(state) | metrics)}"


def damaged_ways(content: bytes):
    """A file's content with a bit flipped in every fifth of it, and cut off at several lengths; None: no file."""
    for fifth in range(5):
        flipped = bytearray(content)
        flipped[int((fifth + 0.5) / 5 * len(content))] ^= 0x10
        yield bytes(flipped)
    for part in (0.0, 0.5, 0.99):
        yield content[: int(part * len(content))]
    yield None


def test_flipped_bits_and_cut_or_missing_files_are_never_taken_for_whole(copied, capsys):
    assert outcome(copied).startswith("step 12,")
    shutil.copytree(copied, copied.parent / "older", ignore=shutil.ignore_patterns("12"))
    older = outcome(copied.parent / "older")
    assert older.startswith("step 10,")
    damages = 0
    for file in all_files(copied / "12"):
        content = file.read_bytes()
        for damaged in damaged_ways(content):
            if damaged is None:
                file.unlink()
            else:
                file.write_bytes(damaged)
            assert files.damage(copied / "12"), (file, damaged)
            damages += 1
        assert outcome(copied) == older, file
        file.write_bytes(content)
    assert damages > 50
    assert outcome(copied).startswith("step 12,")
    err = capsys.readouterr().err
    assert re.search(r"12 is damaged \(arrays/.* has changed\); trying an older one", err)
    assert "12 is unfinished; trying an older one" in err
    assert "Traceback" not in err


def test_a_file_too_many_is_noticed(copied):
    (copied / "12" / "arrays" / "more").write_text("x")
    assert files.damage(copied / "12") == "damaged (arrays/more has changed)"


def test_a_run_killed_before_its_first_checkpoint_was_sealed_starts_again(tmp_path, whole):
    killed(tmp_path, 6)
    (tmp_path / "5" / files.SEAL).unlink()  # as if killed after Orbax and before the seal
    same_bits(train(tmp_path, resume=True), whole)
    assert (tmp_path / "5.unfinished").is_dir()


def test_a_run_goes_on_from_before_the_damage_and_keeps_what_was_damaged(copied, whole, capsys):
    for file in all_files(copied / "12"):
        file.write_bytes(b"?")
    same_bits(train(copied, resume=True, every=12, keep=5), whole)
    assert (copied / "12.damaged").is_dir()
    assert steps_in(copied) == [5, 10, 12, 24]
    err = capsys.readouterr().err
    assert "12 is damaged" in err
    assert "trying an older one" in err
    assert f"resuming {copied} after step 10" in err


def test_a_folder_with_nothing_whole_is_refused_and_left_alone(copied):
    for file in all_files(copied):
        file.write_bytes(b"?")
    before = contents(copied)
    with pytest.raises(ValueError, match=r"no checkpoint in .* is whole \(there are 12, 10, 5\)"):
        train(copied, resume=True)
    assert contents(copied) == before


def test_the_old_checkpoint_goes_only_when_the_new_one_is_sealed(tmp_path, whole, monkeypatch):
    """With one kept, a kill between Orbax's last write and the seal must not leave nothing whole."""
    train_one = dict(keep=1, resume=True)
    killed(tmp_path, 6, keep=1)
    assert steps_in(tmp_path) == [5]
    seal = files.seal

    def kill(folder):
        raise Killed

    monkeypatch.setattr(files, "seal", kill)
    with pytest.raises(Killed):
        train(tmp_path, **train_one)
    assert steps_in(tmp_path) == [5, 10]
    monkeypatch.setattr(files, "seal", seal)
    same_bits(train(tmp_path, **train_one), whole)
    assert steps_in(tmp_path) == [24]

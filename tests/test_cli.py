"""The command line: what it prints and writes, its exit codes, and the examples of its help."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import NO_DATA, loaded, random_images
from PIL import Image

from imgbook import (
    cli,
    cnn,
    console,
    experiment_runs,
    experiments,
    gan,
    judge,
    outputs,
    records,
    runs,
    training,
    vae,
    weights,
)
from imgbook.checkpoints import CheckpointError

COMMANDS = {name: command for name, command in cli.main.commands.items()}
SMALL = {
    "cnn": dict(widths=(4,), hidden=8, num_steps=3),
    "gan": dict(width=4, latent_dim=5, num_codes=2, num_steps=3),
    "vae": dict(hidden=8, latent_dim=2, num_steps=3),
}


@pytest.fixture(autouse=True)
def in_a_folder(monkeypatch, tmp_path):
    """Each test in an empty folder; programs compiled in this process are not kept in the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "prepare", lambda: None)


def run(*words: object):
    return CliRunner().invoke(cli.main, [str(word) for word in words])


def line_of(result) -> dict:
    """The one line of results."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def save_weights(
    model: str, path: str = "weights.safetensors", data: str = "mnist", called: str | None = None
) -> None:
    """Weights of a small model that was never trained, described as `train` does."""
    dataset, module = loaded(data, "train"), runs.chapter(model)
    config = module.config_for(dataset, "smoke", **SMALL[model])
    _, state = module.init(config, jax.random.key(0))
    about = runs.describe(model, config, called or data, dataset.content_hash, "smoke", 0)
    history = training.History(metrics={"loss": np.ones(3, np.float32)}, seconds=1.0)
    about = runs.describe_weights(about, 3, result={"loss": 1.0}, licence="x", command="a test")
    weights.save_model(Path(path), state, history, about)


def class_folders(folder: str, counts: dict[str, int]) -> None:
    """Noisy pictures of one colour a class."""
    for i, (name, count) in enumerate(counts.items()):
        Path(folder, name).mkdir(parents=True)
        for j, noise in enumerate(random_images(count, (20, 30, 3), seed=i) // 2):
            noise[..., i % 3] += 100
            Image.fromarray(noise).save(Path(folder, name, f"{j}.png"))


# --- wrong usage and input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "dcgan"], "'dcgan' is not one of 'gan', 'cnn', 'vae'"),
        (["train"], "Missing argument"),
        ([], "no command; allowed: train, sample, evaluate, record, equivalent, doctor"),
        (["draw"], "No such command 'draw'"),
        (["train", "vae", "--preset", "tiny"], "unknown preset 'tiny' (argument preset); allowed: smoke"),
        (["train", "vae", "--data", "photos"], "no folder 'photos'; allowed: mnist, cifar10, or a"),
        (["train", "vae", "--size", 48], "--size is for folders"),
        (["train", "vae", "--steps", 0], "0 is not in the range x>=1"),
        (["train", "vae", "--seed", -1], "-1 is not in the range"),
        (["train", "vae", "--seed", 2**32], "4294967296 is not in the range"),
        (["train", "vae", "--resume"], "--resume and --checkpoint-every need --checkpoint-dir"),
        (["train", "vae", "--checkpoint-every", 5], "need --checkpoint-dir"),
        (["train", "vae", "--weights", "none/a.safetensors"], "there is no folder none"),
        (["train", "vae", "--weights", "a.npz"], "its name must end in .safetensors"),
        (["train", "vae", "--weights", "old.safetensors"], "old.safetensors is there already"),
        (["train", "vae", "--checkpoint-dir", "file.txt/run"], "cannot write into file.txt/run"),
        (["sample", "vae", "--out", "file.txt"], "file.txt is there already"),
        (["sample", "vae", "--out", "file.txt/grid.png"], "there is no folder file.txt"),
        (["sample", "vae", "--weights", "none.safetensors"], "no weights file none.safetensors"),
        (["sample", "vae", "--checkpoint-dir", "none"], "none; train with checkpoints there"),
        (["sample", "vae", "--weights", "a", "--checkpoint-dir", "b"], "give one of the two"),
        (["sample", "gan", "--weights", "vae.safetensors"], "vae.safetensors holds vae; expected gan"),
        (["sample", "vae", "--weights", "vae.safetensors", "--data", "mnist"], "are for cnn"),
        (["sample", "vae", "--n", 0], "0 is not in the range"),
        (["evaluate", "cnn", "--weights", "vae.safetensors"], "holds vae; expected cnn"),
        (["evaluate", "vae", "--weights", "vae.safetensors", "--data", "cifar10"], "(32, 32, 3)"),
        (["record", "dcgan"], "unknown experiment 'dcgan'; allowed: concepts, gan"),
        (["record", "vae", "--preset", "tiny"], "unknown preset 'tiny'"),
        (["record", "vae", "--seeds", "zero"], "'zero' is not a valid integer"),
        (["record", "vae", "--seeds", 0, -1], "-1 is not in the range"),
        (["record", "vae", "--results", "file.txt"], "cannot write into file.txt"),
        (["equivalent", "dcgan", "--reason", "why"], "no result record 'dcgan'; there are: c"),
        (["equivalent", "gan"], "Missing option '--reason'"),
        (["equivalent", "gan", "--reason", " "], "the reason is empty"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_code_two(words, said):
    Path("file.txt").write_text("kept")
    Path("old.safetensors").write_text("kept")
    save_weights("vae", "vae.safetensors")
    before = sorted(Path().rglob("*"))
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert result.stdout == ""
    assert sorted(Path().rglob("*")) == before
    assert Path("file.txt").read_text() == Path("old.safetensors").read_text() == "kept"


def test_preset_of_the_environment_is_checked_too(monkeypatch):
    monkeypatch.setenv("IMGBOOK_PRESET", "tiny")
    result = run("train", "vae")
    assert result.exit_code == 2
    assert "unknown preset 'tiny' (environment variable IMGBOOK_PRESET)" in result.stderr


@pytest.mark.parametrize("words", [["train", "cnn"], ["record", "vae", "--results", "."]])
def test_a_folder_that_cannot_be_written_to_is_refused_before_training(monkeypatch, words):
    """Permissions say nothing to an administrator, so writing itself is made to fail."""

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(console.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(experiments, "record", lambda *_: pytest.fail("recorded"))
    result = run(*words, *(["--weights", "a.safetensors"] if words[0] == "train" else []))
    assert result.exit_code == 2
    assert re.search("cannot write into .*: Permission denied", result.stderr)


def test_a_class_without_images_is_named():
    class_folders("photos", {"cats": 12, "dogs": 12})
    Path("photos", "empty").mkdir()
    result = run("train", "cnn", "--data", "photos")
    assert result.exit_code == 2
    assert "empty" in result.stderr


def test_a_model_of_ones_own_images_asks_for_them():
    """Even if their folder is called like a data set."""
    save_weights("vae", data="mnist", called="folder mnist")
    result = run("evaluate", "vae", "--weights", "weights.safetensors")
    assert result.exit_code == 2
    assert "trained on images from a folder mnist: give its path with --data" in result.stderr
    class_folders("mnist", {"cats": 12, "dogs": 12})
    assert runs.load_data("./mnist", "test", "smoke", 8).name == "folder mnist"


def test_without_weights_in_the_package_the_way_to_some_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("imgbook.weights.TRAINED", tmp_path)
    result = run("sample", "vae")
    assert result.exit_code == 2
    assert "the package holds no weights of vae on mnist; give --weights or" in result.stderr
    assert "python -m imgbook train vae --data mnist --weights vae.safetensors" in result.stderr


def test_weights_of_the_package_are_the_default(monkeypatch, tmp_path):
    monkeypatch.setattr("imgbook.weights.TRAINED", tmp_path)
    save_weights("cnn", "cnn-mnist.safetensors")
    assert line_of(run("evaluate", "cnn"))["data"] == "mnist"
    assert "no weights of cnn on cifar10" in run("evaluate", "cnn", "--data", "cifar10").stderr


# --- runs that fail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FloatingPointError("loss = nan at step 3"), 1),
        (CheckpointError("could not save step 4 to run"), 1),
        (OSError(28, "No space left on device"), 1),
        (ValueError("7 images in a batch of 5"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_can_go_wrong_has_its_exit_code(monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(vae, "train", fail)
    result = run("train", "vae", "--preset", "smoke")
    assert result.exit_code == code
    said = result.stderr.lstrip()  # click ends the line in which a terminal shows ^C
    assert said.startswith("error: ")
    assert (str(error) or "interrupted") in said
    assert said.count("\n") == 1
    assert result.stdout == ""


def test_a_bug_is_not_hidden(monkeypatch):
    monkeypatch.setattr(vae, "train", lambda *_, **__: 1 + "1")
    assert isinstance(run("train", "vae", "--preset", "smoke").exception, TypeError)


def stopped_training(dataset, config, key, **options):
    """A training that the user stopped after 2 steps."""
    graphdef, state = vae.init(config, key)
    return graphdef, state, training.History(metrics={"loss": np.float32([3, 2])}, seconds=1.0)


def test_an_interrupted_training_keeps_what_there_is(monkeypatch):
    monkeypatch.setattr(vae, "train", stopped_training)
    result = run("train", "vae", "--weights", "vae.safetensors")
    assert result.exit_code == 130
    assert result.stderr == "error: interrupted after 2 of 4 steps\n"
    line = json.loads(result.stdout)
    assert (line["steps"], line["metrics"]) == (2, {"loss": 2.0})
    assert line["files"] == ["vae.safetensors", "vae.json"]
    assert line_of(run("sample", "vae", "--weights", "vae.safetensors"))["steps"] == 2


def test_ctrl_c_stops_a_training(tmp_path):
    command = [sys.executable, "-m", "imgbook", "train", "vae", "--steps", "1000000"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    begin, said = time.monotonic(), ""
    while "step/s" not in said and time.monotonic() < begin + 60:
        said += process.stderr.read(1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert re.search(r"error: interrupted after \d+ of 1000000 steps\n$", stderr)
    assert 0 < json.loads(stdout)["steps"] < 1_000_000
    assert "Traceback" not in stderr


# --- what commands give ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", runs.MODELS)
def test_train_calls_the_chapter_with_its_options(monkeypatch, model):
    """The same function as in the notebook, with the chapter's hyperparameters for these data."""
    called = []

    def train(dataset, config, key, **options):
        called.append((dataset, config, key, options))
        return None, None, training.History({"loss": np.float32([3, 2, 1])}, 2.0, 1.0, 96.0)

    monkeypatch.setattr(runs.chapter(model), "train", train)
    line = line_of(run(
        "train", model, "--data", "cifar10", "--seed", 7, "--steps", 3, "--checkpoint-dir", "run",
        "--checkpoint-every", 2, "--resume",
    ))  # fmt: skip
    ((dataset, config, key, options),) = called
    assert (dataset.name, dataset.split, len(dataset)) == ("cifar10", "train", 320)
    assert config == runs.chapter(model).config_for(dataset, "smoke", num_steps=3)
    assert jax.random.key_data(key).tolist() == jax.random.key_data(jax.random.key(7)).tolist()
    saved = options.pop("checkpoints")
    assert (saved.folder, saved.every, saved.resume) == (Path("run"), 2, True)
    assert saved.describe["config.num_steps"] == 3
    assert saved.describe["data_hash"] == dataset.content_hash
    assert options == {}
    assert line == {
        "command": f"python -m imgbook train {model} --data cifar10 --seed 7 --steps 3 "
        "--checkpoint-dir run --checkpoint-every 2 --resume",
        "model": model,
        "data": "cifar10",
        "preset": "smoke",
        "seed": 7,
        "steps": 3,
        "metrics": {"loss": 1.0},
        "seconds": 1.0,
        "images_per_second": 96.0,
        "compile_seconds": 2.0,
        "device": records.describe_device(),
        "versions": records.versions(),
        "files": ["run"],
    }


def picture(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("model", ["gan", "vae"])
def test_sample_writes_the_models_own_pixels(model):
    save_weights(model)
    line = line_of(run("sample", model, "--weights", "weights.safetensors", "--n", 5, "--seed", 3))
    assert (line["seed"], line["steps"], line["files"]) == (3, 3, ["grid.png"])
    grid = picture("grid.png")
    assert grid.shape == (2 * 30 + 2, 3 * 30 + 2, 3)  # two rows of three, gaps of two pixels
    assert (grid[:2] == 255).all()
    restored = runs.from_weights(model, Path("weights.safetensors"))
    images, columns = outputs.sample(restored, jax.random.key(3), 5)
    assert columns == 3
    second = np.rint(images[1, :, :, 0] * 255)
    np.testing.assert_array_equal(grid[2:30, 32:60, 0], second)
    assert line_of(run("sample", model, "--weights", "weights.safetensors", "--n", 5, "--seed", 3,
                       "--out", "twice.png", "--scale", 2))["files"] == ["twice.png"]  # fmt: skip
    np.testing.assert_array_equal(picture("twice.png")[::2, 1::2], grid)


def test_the_grid_of_a_cnn_has_a_row_a_class_and_begins_with_the_most_confident(monkeypatch):
    save_weights("cnn")
    test = loaded("mnist", "test")
    logits = np.zeros((len(test), 10), np.float32)
    logits[:, 3] = 1
    logits[[5, 7, 9], [6, 6, 6]] = 2, 9, 4
    monkeypatch.setattr(cnn, "predict", lambda *_: logits)
    line = line_of(run("sample", "cnn", "--weights", "weights.safetensors", "--n", 40))
    assert line["data"] == "mnist"
    grid = picture("grid.png")
    assert grid.shape == (10 * 30 + 2, 4 * 30 + 2, 3)
    cells = grid[2:, 2:].reshape(10, 30, 4, 30, 3)[:, :28, :, :28, 0].swapaxes(1, 2)
    np.testing.assert_array_equal(cells[6, :3], test.images[[7, 9, 5], :, :, 0])
    assert (cells[6, 3] == 255).all()  # no fourth image in that class
    assert (cells[0] == 255).all()


def test_evaluate_a_cnn():
    save_weights("cnn")
    line = line_of(run("evaluate", "cnn", "--weights", "weights.safetensors"))
    model, test = runs.from_weights("cnn", Path("weights.safetensors")), loaded("mnist", "test")
    logits = cnn.predict(model.graphdef, model.state, test.images)
    assert line["metrics"]["accuracy"] == cnn.accuracy(logits, test.labels)
    expected = float(cnn.cross_entropy(logits, test.labels))
    assert line["metrics"]["cross_entropy"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "data"), [("vae", "mnist"), ("gan", "mnist"), ("vae", "cifar10")]
)
def test_only_digits_are_judged(monkeypatch, model, data):
    monkeypatch.setattr("imgbook.vae_runs.judged", lambda *_: {"recognised": 0.5})
    monkeypatch.setattr("imgbook.gan_runs.measures", lambda *_: {"frechet": 3.0})
    save_weights(model, data=data)
    line = line_of(run("evaluate", model, "--weights", "weights.safetensors"))
    digits = data == "mnist"
    parts = {"negative_elbo", "reconstruction", "kl", "bits_per_dim"}
    bound = parts if model == "vae" else set()
    judged = {"recognised"} if model == "vae" else {"frechet"}
    assert set(line["metrics"]) == bound | (judged if digits else set())
    assert line["note"] == ("" if digits else "there is no judge for images of cifar10: it knows digits")  # fmt: skip


def test_evaluation_of_a_recorded_model_repeats_its_record(monkeypatch):
    """Same keys as in the experiment: what the package's weights were recorded with comes out again."""
    config = gan.config_for(loaded("mnist", "train"), "smoke", **SMALL["gan"])
    graphdefs, state = gan.init(config, jax.random.key(1))
    history = training.History(metrics={"loss": np.ones(3)}, seconds=1.0)
    monkeypatch.setattr(gan, "config_for", lambda *_, **__: config)
    monkeypatch.setattr(gan, "train", lambda *_, **__: (graphdefs, state, history))
    recorded, _ = experiment_runs.run_gan("mnist", "smoke", 5)
    model = runs.Model(graphdefs, state, config, {"model": "gan", "data": "mnist"}, 3)
    found, _note = outputs.evaluate(model, loaded("mnist", "test"), "smoke", 5)
    assert set(recorded) - set(found) == {"floor", "real", "seconds"}  # nothing of the samples
    assert found == {name: recorded[name] for name in found}


def test_evaluation_of_a_recorded_vae_repeats_its_record(monkeypatch):
    config = vae.config_for(loaded("mnist", "train"), "smoke", **SMALL["vae"])
    graphdef, state = vae.init(config, jax.random.key(1))
    history = training.History(metrics={"loss": np.ones(3)}, seconds=1.0)
    monkeypatch.setattr(vae, "config_for", lambda *_, **__: config)
    monkeypatch.setattr(vae, "train", lambda *_, **__: (graphdef, state, history))
    recorded, _ = experiment_runs.run_vae("mnist", "smoke", 5)
    model = runs.Model(graphdef, state, config, {"model": "vae", "data": "mnist"}, 3)
    found, note = outputs.evaluate(model, loaded("mnist", "test"), "smoke", 5)
    assert note == ""
    assert set(found) - set(recorded) == {"bits_per_dim"}
    assert {"negative_elbo", "recognised", "frechet"} < set(found)
    assert {name: recorded[name] for name in found if name != "bits_per_dim"} == {
        name: value for name, value in found.items() if name != "bits_per_dim"
    }
    assert note == ""
    assert outputs.evaluate(model, loaded("mnist", "test"), "smoke", 6)[0] != found


def test_recording_keeps_the_weights_of_the_chapters_model(monkeypatch, tmp_path):
    """What `load_trained` gives a page, and what `sample` and `evaluate` take without options."""
    monkeypatch.setattr("imgbook.weights.TRAINED", tmp_path / "trained")
    config = vae.config_for(loaded("mnist", "train"), "smoke", **SMALL["vae"])
    _, state = vae.init(config, jax.random.key(1))
    history = training.History(metrics={"loss": np.ones(3, np.float32)}, seconds=1.5)
    made = {"name": "vae", "preset": "quick", "data_hash": "d" * 64, "command": "the command"}
    files = experiments.keep_weights(made, {"kl": 2.0}, (state, history, config))
    assert sorted(path.name for path in files) == ["vae.json", "vae.safetensors"]
    about = json.loads((tmp_path / "trained" / "vae.json").read_text())
    assert (about["seed"], about["preset"], about["result"]) == (0, "quick", {"kl": 2.0})
    assert (about["command"], about["steps"]) == ("the command", 3)
    assert about["licence"] == "MIT (weights); data: CC BY-SA 3.0, Yann LeCun and Corinna Cortes"
    found, kept = weights.load_trained("vae", vae.init(config, jax.random.key(2))[1])
    jax.tree.map(np.testing.assert_array_equal, found.params, state.params)
    assert kept.seconds == 1.5
    assert line_of(run("sample", "vae"))["steps"] == 3


def test_recording_the_judge_replaces_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(judge, "PATH", tmp_path / "judge.safetensors")
    config = judge.config_for("smoke")
    _, state = judge.init(config, jax.random.key(1))
    made = {"name": "judge-full", "preset": "full", "data_hash": "d" * 64, "command": "the command"}
    judge.load.cache_clear()
    try:
        experiments.keep_weights(made, {"test_accuracy": 0.5}, (state, training.History(), config))
        _, found, about = judge.load()
    finally:
        judge.load.cache_clear()
    jax.tree.map(np.testing.assert_array_equal, found.params, state.params)
    assert about["result"] == {"test_accuracy": 0.5}
    assert about["data"].startswith("official MNIST training digits 10,001 to 60,000")


# --- help and its examples ------------------------------------------------------------------------------------


def test_help_is_quick_and_imports_no_jax():
    code = "import sys; from imgbook import cli; cli.main.commands; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    done = subprocess.run([sys.executable, "-m", "imgbook", "train", "--help"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert "Usage: python -m imgbook train" in done.stdout


def test_help_names_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)


def examples() -> list[list[str]]:
    """The words of every command shown in a help, in order."""
    shown = "\n".join(run(name, "--help").stdout for name in COMMANDS)
    lines = re.findall(r"python -m imgbook ((?:train|sample|evaluate|record|equivalent|doctor) .*)|"
                       r"python -m imgbook (doctor)$", shown, re.M)  # fmt: skip
    return [shlex.split(line or doctor) for line, doctor in lines]


# All in one process: an import of jax takes seconds.
RUN_ALL = """
import json, sys, pathlib
from click.testing import CliRunner
from imgbook import cli, records, staleness
results = pathlib.Path("results").absolute()
records.folder = lambda: results
done = []
for words in json.loads(sys.argv[1]):
    if words[0] == "equivalent":  # of a record that is stale
        CliRunner().invoke(cli.main, ["record", words[1], "--seeds", "0", "--results", "results"])
        record = {**records.load(words[1] + "-smoke"), "source_hash": "0" * 64, "name": words[1]}
        records.write(record)
    result = CliRunner().invoke(cli.main, words)
    done.append((result.exit_code, result.stdout, result.stderr))
print(json.dumps(done))
"""


def test_examples_of_the_help_work(tmp_path):
    class_folders("photos", {"cats": 60, "dogs": 60})
    shown = examples()
    assert {words[0] for words in shown} == set(COMMANDS)
    environment = {**os.environ, "IMGBOOK_DATA_DIR": str(NO_DATA)}
    done = subprocess.run([sys.executable, "-c", RUN_ALL, json.dumps(shown)],
                          capture_output=True, text=True, env=environment, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words, (code, stdout, stderr) in zip(shown, json.loads(done.stdout), strict=True):
        if words[0] == "doctor":
            continue  # says what is wrong with this machine, if anything is
        assert code == 0, f"{shlex.join(words)}: {stderr}"
        assert stdout.count("\n") == 1
        line = json.loads(stdout)
        assert line["command"].startswith(f"python -m imgbook {words[0]} {words[1]}")
        assert all(Path(file).exists() for file in line["files"])
        assert line["files"] or words[0] in ("evaluate", "record")
    assert picture("classes.png").shape[0] == 2 * 50 + 2


def test_doctor_prints_its_lines(monkeypatch):
    for ok in (True, False):
        monkeypatch.setattr("imgbook.doctor.report", lambda ok=ok: (["OK   a", "FAIL b"], ok))
        result = run("doctor")
        assert result.exit_code == (0 if ok else 1)
        assert result.stdout == "OK   a\nFAIL b\n"

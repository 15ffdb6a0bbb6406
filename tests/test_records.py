"""Result records: what they hold, when they are stale, their bands, and what the pages say of them; presets."""

import builtins
import datetime
import dis
import json
import os
import subprocess
import sys
import time
from types import CodeType, SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import loaded

import imgbook
from imgbook import experiments, pages, presets, records, staleness, vae

SEEDS = [0, 1, 2, 3, 4]
ACCURACY = [0.71, 0.74, 0.69, 0.73, 0.72]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty results folder of its own."""
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    return tmp_path


def write(name="demo", seeds=SEEDS, seconds=None, **values):
    return records.write(records.new(
        name,
        command=f"python -m imgbook record {name}",
        preset="quick",
        source_hash="s" * 64,
        data_hash="d" * 64,
        judge_hash="",
        seeds=seeds,
        seconds=seconds or [1.2345] * len(seeds),
        values=values or {"accuracy": ACCURACY, "loss": [1.0, 1.1, 0.9, 1.05, 0.95]},
        smoke={"net/loss": np.asarray([2.5, 1.25], np.float32)},
    ))  # fmt: skip


# --- writing and reading --------------------------------------------------------------------------------------


def test_round_trip(folder):
    path = write()
    assert path == folder / "demo.json"
    record = records.load("demo")
    assert set(record) == {*records.KEYS, *records.REPEAT_KEYS}
    assert record["smoke"] == {"net/loss": [2.5, 1.25]}
    assert record["equivalents"] == []
    assert record["values"]["accuracy"] == ACCURACY
    assert record["seeds"] == SEEDS
    assert record["seconds"] == [1.23] * 5
    assert record["version"] == imgbook.__version__
    assert {"python", "jax", "flax", "optax", "numpy"} <= set(record["versions"])
    assert "cores" in record["device"]


def test_missing_record_lists_the_known_ones(folder):
    with pytest.raises(FileNotFoundError, match=r"'demo'; there are: none.*record demo"):
        records.load("demo")
    write("b")
    write("a")
    with pytest.raises(FileNotFoundError, match=r"there are: a, b\."):
        records.load("demo")


def test_incomplete_record_names_what_it_lacks(folder):
    path = write()
    record = json.loads(path.read_text())
    del record["seeds"], record["device"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="'demo' lacks seeds, device"):
        records.load("demo")


def test_damaged_record_is_named(folder):
    path = write()
    path.write_text(path.read_text()[:-100])
    assert records.names() == ["demo"]
    with pytest.raises(ValueError, match="'demo' is damaged"):
        records.load("demo")


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": [*ACCURACY[:4], np.nan]},
        {"accuracy": [*ACCURACY[:4], np.inf]},
        {"accuracy": ACCURACY[:4]},
        {"seconds": [1.0, 2.0]},
        {"seconds": [1.0, 2.0, 3.0, 4.0, np.nan]},
    ],
)
def test_a_value_that_is_missing_or_not_finite_is_not_written(folder, changes):
    key = next(iter(changes))
    with pytest.raises(
        ValueError, match=f"'demo': {key} = .* one finite value for each of the seeds"
    ):
        write(**changes)
    assert not list(folder.iterdir())


def test_a_failed_write_leaves_the_old_record(monkeypatch, folder):
    path = write()
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(accuracy=SEEDS)
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]


def test_times_of_the_build_are_no_record(folder):
    write()
    (folder / "build.json").write_text("{}")
    assert records.names() == ["demo"]


# --- the hash of the sources ----------------------------------------------------------------------------------

PACKAGE = {
    "__init__": '__version__ = "1"',
    "a": "from typing import TYPE_CHECKING\nfrom demo import b\nif TYPE_CHECKING:\n    import demo.figures",
    "b": 'def f():\n    """Say."""\n    from .c import g  # late\n    return g() if True else f"a{1}{2}"',
    "c": "import os\nimport demo.d as d, json\nfrom demo import something",
    "d": "",
    "figures": "from demo import e",
    "e": "x = 1",
}


def run_a():
    from demo import a

    return a


def run_d():
    import demo.d

    return demo.d


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    for name, text in PACKAGE.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_modules_are_those_that_a_run_imports(package):
    assert staleness.modules(run_a, package) == ["__init__", "a", "b", "c", "d"]
    assert staleness.modules(run_d, package) == ["__init__", "d"]
    assert staleness.modules(package_free, package) == ["__init__"]


def package_free():
    import os

    return os


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("d", "x = 1", True),
        ("d", "# a comment", False),
        ("d", '"""A docstring."""', False),
        ("b", PACKAGE["b"].replace("Say", "Tell"), False),
        ("b", PACKAGE["b"].replace("  # late", "\n"), False),
        ("b", PACKAGE["b"].replace("True", "False"), True),
        ("b", PACKAGE["b"].replace("{2}", "{3}"), True),
        ("b", PACKAGE["b"].replace("{1}{2}", "{1}b{2}"), True),
        ("__init__", '__version__ = "2"', False),
        ("__init__", "setting = 2", True),
        ("figures", "x = 1", False),
        ("e", "x = 2", False),
    ],
)
def test_source_hash_follows_what_runs(package, name, text, changes):
    before = staleness.source_hash(run_a, package)
    (package / f"{name}.py").write_text(text)
    assert (staleness.source_hash(run_a, package) != before) is changes


def test_source_hash_follows_the_run_and_names_of_modules(package):
    before = staleness.source_hash(run_d, package)
    assert before != staleness.source_hash(package_free, package)
    (package / "d.py").rename(package / "d2.py")
    assert staleness.source_hash(run_d, package) != before


def globals_of(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    return own.union(*map(globals_of, inner))


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_a_run_uses_nothing_that_its_hash_leaves_out(name):
    """Its own text and modules are hashed; the module it stands in is not."""
    run = experiments.EXPERIMENTS[name].run
    assert globals_of(run.__code__) <= set(dir(builtins))
    found = staleness.modules(run)
    others = {"experiments", "cli", "__main__", "pages", "plotting", "records"}
    assert not {"experiment_runs", *others} & set(found)
    assert ("flow" in found) == (name == "flow")


# Of the variants of one run only the first: they differ in their hyperparameters alone, see test_fast.
RUNS = list(
    {
        experiment.run: name for name, experiment in reversed(experiments.EXPERIMENTS.items())
    }.values()
)

# Runs recording commands at preset smoke; before each, forgets all modules but the command line's own.
RECORD_ALL = """
import json, sys
from click.testing import CliRunner
import imgbook
from imgbook import cli, experiments

own = {"cli", "console", "experiment_runs", "experiments", "outputs", "records", "runs", "staleness"}
done = {}
for name in sys.argv[2:]:
    for module in [m for m in sys.modules if m.startswith("imgbook.") and m[8:] not in own]:
        del sys.modules[module]
        delattr(imgbook, module[8:])
    words = ["record", name, "--preset", "smoke", "--seeds", "0", "--results", sys.argv[1]]
    result = CliRunner().invoke(cli.main, words)
    loaded = [m[8:] for m in sys.modules if m.startswith("imgbook.") and m[8:] not in own]
    done[name] = result.exit_code, result.stdout, result.stderr[-500:], loaded
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Records at preset smoke: folder, and exit code, stdout, stderr and loaded modules by name."""
    results = tmp_path_factory.mktemp("results")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("IMGBOOK_")},
        "IMGBOOK_DATA_DIR": str(results / "none"),
        "IMGBOOK_DATA_MIRROR": "none",
    }
    done = subprocess.run(
        [sys.executable, "-c", RECORD_ALL, str(results), *RUNS],
        capture_output=True, text=True, timeout=600, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return results, json.loads(done.stdout)


@pytest.mark.parametrize("name", RUNS)
def test_each_recording_command_writes_a_whole_record(monkeypatch, recorded, name):
    results, done = recorded
    code, stdout, stderr, loaded = done[name]
    assert code == 0, stderr
    line = json.loads(stdout)
    assert line["files"] == [str(results / f"{name}-smoke.json")]
    monkeypatch.setattr(records, "folder", lambda: results)
    record = records.load(f"{name}-smoke")
    assert set(record) == {*records.KEYS, *records.REPEAT_KEYS}
    assert record["command"] == f"python -m imgbook record {name} --preset smoke --seeds 0"
    assert line["metrics"] == record["values"]
    for measure, values in record["values"].items():
        kept = record["smoke"].get(f"values/{measure}")  # preset smoke, seed 0: the same run
        assert kept == (None if measure.endswith("seconds") else values)
    others = ("values/", "smoke/")
    steps = {len(v) for k, v in record["smoke"].items() if not k.startswith(others)}
    assert steps == {60 if name == "flow" else 4}
    assert all(np.isfinite(v).all() for v in record["smoke"].values())
    assert records.freshness(record) == ("fresh", "")
    assert set(loaded) <= set(staleness.modules(experiments.EXPERIMENTS[name].run))


# --- stale records --------------------------------------------------------------------------------------------


def outcome(seed: int, *losses: float, steps: int | None = None) -> tuple:
    history = SimpleNamespace(metrics={"loss": np.asarray(losses)}, seconds=0.5)
    config = SimpleNamespace(num_steps=steps or len(losses))
    return {"measure": 10.0 + seed}, {"net": (None, history, config)}


def first_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0, 0.0)


def renamed_run(data_name, preset, seed):
    losses = 2.0, 1.0, 0.0
    return outcome(seed, *losses)


def rounded_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0 + 5e-7, 5e-10)


def other_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0 + 5e-6, 1.0)


def near_zero_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0, 5e-9)


def longer_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0, 0.0, 0.0)


def nan_run(data_name, preset, seed):
    return outcome(seed, 2.0, np.nan, 0.0)


def interrupted_run(data_name, preset, seed):
    return outcome(seed, 2.0, 1.0, steps=3)


@pytest.fixture
def made(monkeypatch, folder):
    """A record of `first_run`; call it with another run to change the sources."""

    def change(run, **fields):
        monkeypatch.setitem(
            experiments.EXPERIMENTS, "vae", experiments.Experiment(run, "mnist", **fields)
        )

    monkeypatch.setattr(experiments, "keep_weights", lambda *_: [])
    change(first_run)
    experiments.record("vae", "quick", [0, 1], "python -m imgbook record vae --seeds 0 1")
    return change


def test_a_record_is_fresh_until_what_it_ran_changes(made):
    record = records.load("vae")
    assert record["smoke"]["net/loss"] == [2.0, 1.0, 0.0]
    assert record["smoke"]["values/measure"] == [10.0]
    assert record["smoke"]["quick/num_steps"] == [vae.VAEConfig().num_steps]
    assert record["smoke"]["quick/image_shape"] == [28, 28, 1]
    assert records.freshness(record) == ("fresh", "")
    assert records.stale(record) == ""
    made(renamed_run)
    said = records.stale(record)
    assert said.startswith("record 'vae' is stale: sources that its run imports have changed")
    assert 'python -m imgbook equivalent vae --reason "..."' in said
    assert "python -m imgbook record vae --seeds 0 1" in said


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("data_hash", "the data have changed"),
        ("judge_hash", "the weights of the judge have changed"),
    ],
)
def test_other_data_or_another_judge_need_a_new_record(made, folder, key, why):
    record = {**records.load("vae"), key: "0" * 64}
    records.write(record)
    assert why in records.stale(record)
    assert "equivalent" not in records.stale(record)
    with pytest.raises(ValueError, match=f"{why}; record anew with: python -m imgbook record vae"):
        staleness.equivalent("vae", "the same")


def test_the_judge_counts_for_runs_that_it_scores(made):
    made(first_run, judged=True)
    assert "the weights of the judge have changed" in records.stale(records.load("vae"))


def test_a_record_of_old_form_is_stale_and_readable(made, folder):
    record = {k: v for k, v in records.load("vae").items() if k not in records.REPEAT_KEYS}
    records.write(record)
    assert records.load("vae") == record
    said = records.stale(record)
    assert said.startswith("record 'vae' is stale: it was written without judge_hash, smoke, equiv")
    assert said.endswith("record anew with: python -m imgbook record vae --seeds 0 1")
    with pytest.raises(ValueError, match="written without"):
        staleness.equivalent("vae", "the same")


def test_equal_smoke_runs_are_accepted_once(made, monkeypatch):
    made(rounded_run)
    _, path = staleness.equivalent("vae", "another order\nof sums")
    record = json.loads(path.read_text())
    (entry,) = record["equivalents"]
    assert entry["source_hash"] == staleness.source_hash(rounded_run)
    assert entry["reason"] == "another order of sums"
    assert entry["largest_difference"] == pytest.approx(5e-7, rel=1e-3)
    assert entry["metrics"]["net/loss"] == entry["largest_difference"]
    assert entry["metrics"]["values/measure"] == 0
    assert entry["versions"] == records.versions()
    state, why = records.freshness(record)
    assert state == "equivalent"
    assert why == f"another order of sums (accepted {entry['date']}, largest difference 5e-07)"
    assert records.stale(record) == ""
    with pytest.raises(ValueError, match="'vae' is equivalent; there is nothing to accept"):
        staleness.equivalent("vae", "again")
    made(renamed_run)
    assert "sources" in records.stale(records.load("vae"))


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            other_run,
            r"net/loss at step 2 was 1 and is 1\.000005, .* 5e-06 \(allowed 1e-06\); 1 of ",
        ),
        (near_zero_run, "net/loss at step 3 was 0 and is 5e-09, a relative difference of 5e-06"),
        (longer_run, "net/loss has 4 steps, stored are 3"),
        (nan_run, "net/loss at step 2 was 1 and is nan"),
    ],
)
def test_other_numbers_are_refused(made, folder, run, said):
    before = (folder / "vae.json").read_bytes()
    made(run)
    with pytest.raises(staleness.NotEquivalent, match=said) as error:
        staleness.equivalent("vae", "surely the same")
    assert "Record anew with: python -m imgbook record vae --seeds 0 1" in str(error.value)
    assert "It was made with" not in str(error.value)  # same machine, same versions
    assert (folder / "vae.json").read_bytes() == before


def test_other_hyperparameters_of_the_records_preset_are_refused(made, monkeypatch):
    """The smoke run cannot see them."""
    made(renamed_run)
    longer = vae.config_for(loaded("mnist", "train"), "quick", num_steps=5000)
    monkeypatch.setattr(vae, "config_for", lambda *_: longer)
    with pytest.raises(staleness.NotEquivalent, match=r"quick/num_steps was 3600 and is 5000, "):
        staleness.equivalent("vae", "surely the same")


@pytest.mark.parametrize(
    ("name", "preset", "found"),
    [
        ("concepts", "quick", {"quick/hidden": [128.0]}),
        ("cnn-cifar10", "quick", {"quick/widths": [32.0, 64.0, 128.0], "quick/flip": [1.0]}),
        ("flow", "full", {"full/num_steps": [20_000.0]}),
        ("judge", "full", {"full/shift": [2.0]}),
    ],
)
def test_settings_are_the_hyperparameters_as_numbers(name, preset, found):
    assert found.items() <= staleness.settings(name, preset).items()


def test_a_refusal_says_when_versions_differ(made):
    record = records.load("vae")
    record["versions"]["jax"] = "0.1"
    records.write(record)
    made(other_run)
    with pytest.raises(
        staleness.NotEquivalent, match=rf"made with jax 0\.1, now {jax.__version__}:"
    ):
        staleness.equivalent("vae", "surely the same")


def test_acceptance_needs_a_reason_and_a_stale_record(made):
    with pytest.raises(ValueError, match="'vae' is fresh; there is nothing to accept"):
        staleness.equivalent("vae", "why not")
    made(renamed_run)
    with pytest.raises(ValueError, match="the reason is empty"):
        staleness.equivalent("vae", " \n")
    with pytest.raises(FileNotFoundError, match="'gan'; there are: vae"):
        staleness.equivalent("gan", "why not")


def test_an_interrupted_run_is_no_record(made, folder):
    before = (folder / "vae.json").read_bytes()
    made(interrupted_run)
    with pytest.raises(KeyboardInterrupt):
        experiments.record("vae", "quick", [0], "the command")
    assert (folder / "vae.json").read_bytes() == before


@pytest.mark.parametrize("name", records.names())
def test_no_result_record_is_stale(name):
    assert records.stale(records.load(name)) == ""


# --- bands ----------------------------------------------------------------------------------------------------


def test_band_is_mean_and_four_standard_deviations(folder):
    write()
    low, high = records.band(records.load("demo"), "accuracy")
    mean = sum(ACCURACY) / 5
    spread = (sum((v - mean) ** 2 for v in ACCURACY) / 4) ** 0.5
    assert (low, high) == pytest.approx((mean - 4 * spread, mean + 4 * spread))
    assert (low, high) == pytest.approx((0.64106, 0.79494), abs=1e-5)


@pytest.mark.parametrize(
    ("value", "inside"),
    [(0.718, True), (0.642, True), (0.794, True), (0.640, False), (0.796, False), (np.nan, False)],
)
def test_judge_says_whether_a_value_is_inside(folder, value, inside):
    write()
    assert records.judge(records.load("demo"), "accuracy", value)[2] is inside


def test_band_errors(folder):
    write()
    with pytest.raises(KeyError, match="no measure 'beauty'; it has: accuracy, loss"):
        records.band(records.load("demo"), "beauty")
    write("few", seeds=[0, 1], accuracy=[0.5, 0.6])
    with pytest.raises(ValueError, match="'few' holds 2 seeds; a band needs at least 5"):
        records.band(records.load("few"), "accuracy")


@pytest.mark.parametrize("strict", ["1", "0", "", None])
def test_outside_a_band_raises_only_if_strict(monkeypatch, strict):
    if strict is not None:
        monkeypatch.setenv("IMGBOOK_STRICT", strict)
    records.raise_if_strict("demo", {"accuracy": (0.7, 0.6, 0.8, True)})
    outside = {"accuracy": (0.7, 0.6, 0.8, True), "loss": (3.0, 0.5, 1.5, False)}
    if strict == "1":
        with pytest.raises(records.OutsideBand, match=r"'demo': loss = 3, band 0\.5 to 1\.5$"):
            records.raise_if_strict("demo", outside)
    else:
        records.raise_if_strict("demo", outside)


# --- what a page says -----------------------------------------------------------------------------------------


@pytest.fixture
def tables(monkeypatch):
    """The tables that pages show, as (header, rows, note)."""
    shown = []
    monkeypatch.setattr(
        pages, "table", lambda header, rows, note="": shown.append((tuple(header), rows, note))
    )
    return shown


def test_verdict_judges_at_quick(folder, tables):
    write()
    pages.verdict("demo", {"accuracy": 0.7, "loss": 9.0}, preset="quick")
    ((header, rows, note),) = tables
    by_name = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert by_name["accuracy"]["this run"] == "0.7"
    assert by_name["accuracy"]["band"] == "0.641 to 0.795"
    assert by_name["accuracy"]["verdict"] == "inside"
    assert by_name["loss"]["verdict"] == "**outside**"
    assert "python -m imgbook record demo" in note


def test_verdict_raises_if_strict_but_shows_the_table_first(monkeypatch, folder, tables):
    write()
    monkeypatch.setenv("IMGBOOK_STRICT", "1")
    with pytest.raises(records.OutsideBand, match="loss = 9"):
        pages.verdict("demo", {"loss": 9.0}, preset="quick")
    assert len(tables) == 1


@pytest.mark.parametrize("preset", ["smoke", "full"])
def test_verdict_judges_nothing_at_other_presets(monkeypatch, folder, tables, preset):
    """No record is needed either."""
    monkeypatch.setenv("IMGBOOK_STRICT", "1")
    pages.verdict("demo", {"accuracy": 0.1234567}, preset=preset, fmt=".4f")
    ((header, rows, note),) = tables
    assert header == ("measure", "this run")
    assert rows == [("accuracy", "0.1235")]
    assert preset in note
    assert "not judged" in note


def test_table_is_markdown_with_numbers_to_the_right():
    assert pages.table_text(("a", "b", "c"), [("x", 1, 2.5), ("y", "-", "z")]) == (
        "| a | b | c |\n|:--|--:|--:|\n| x | 1 | 2.5 |\n| y | - | z |"
    )


@pytest.mark.parametrize("row", [("x",), ("x", 1, 2)])
def test_table_refuses_a_row_of_other_length(row):
    with pytest.raises(ValueError, match=f"has {len(row)} cells; the header has 2"):
        pages.table_text(("a", "b"), [("x", 1), row])


def test_table_refuses_a_column_without_a_name():
    with pytest.raises(ValueError, match="empty name; give each column one"):
        pages.table_text(("", "b"), [("x", 1)])


def test_source_shown_is_the_source_that_runs(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    pages.show_source(presets.current, records.OutsideBand)
    text = shown[0].data
    assert text.startswith("```python\ndef current(preset: str | None = None) -> str:\n")
    assert "\n\n\nclass OutsideBand(AssertionError):\n" in text
    assert text.endswith("\n```")


# --- presets --------------------------------------------------------------------------------------------------


def test_preset_of_the_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("IMGBOOK_PRESET", "smoke")
    assert presets.current("full") == "full"
    assert presets.current() == "smoke"
    monkeypatch.setenv("IMGBOOK_PRESET", "")
    assert presets.current() == "quick"
    monkeypatch.delenv("IMGBOOK_PRESET")
    assert presets.current() == "quick"


def test_unknown_preset_names_its_origin_and_the_allowed_ones(monkeypatch):
    with pytest.raises(ValueError, match=r"'' \(argument preset\); allowed: smoke, quick, full"):
        presets.current("")
    monkeypatch.setenv("IMGBOOK_PRESET", "Quick")
    with pytest.raises(
        ValueError, match=r"'Quick' \(environment variable IMGBOOK_PRESET\); allowed: smoke, quick"
    ):
        presets.current()


# --- recording ------------------------------------------------------------------------------------------------


def test_record_writes_one_value_a_seed(monkeypatch, made, folder):
    """The bookkeeping around a run, with a run that takes no time."""
    runs, kept = [], []

    def run(data_name, preset, seed):
        runs.append((data_name, preset, seed))
        return outcome(seed, 1.0)

    def keep(made, values, training):
        kept.append((made["name"], values))
        return [folder / "weights"]

    monkeypatch.setattr(experiments, "keep_weights", keep)
    made(run)
    (folder / "vae.json").unlink()
    record, files = experiments.record("vae", "smoke", [0], "the command")
    assert runs == [("mnist", "smoke", 0)]
    assert record["values"] == {"measure": [10.0]}
    assert (files, kept, list(folder.iterdir())) == ([], [], [])  # nothing is written at smoke
    runs.clear()
    _, files = experiments.record("vae", "quick", [3, 0], "the command")
    assert runs == [("mnist", "smoke", 0), ("mnist", "quick", 3), ("mnist", "quick", 0)]
    assert kept == [("vae", {"measure": 10.0})]
    assert files == [folder / "vae.json", folder / "weights"]
    record = records.load("vae")
    assert record["values"] == {"measure": [13.0, 10.0]}
    assert (record["seeds"], record["seconds"], record["command"]) == (
        [3, 0],
        [0.5, 0.5],
        "the command",
    )
    assert len(record["data_hash"]) == 64
    kept.clear()
    experiments.record("vae", "quick", [1], "the command")
    assert kept == []  # the package's weights are those of seed 0


# --- how a page was made --------------------------------------------------------------------------------------


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed, as (data, metadata)."""
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw, metadata: shown.append((data, metadata))
    )
    return shown


def test_provenance_says_when_how_long_and_with_what(displayed):
    clock = pages.start()
    time.sleep(0.3)
    pages.provenance("05-vae", clock, 105.25)
    ((data, metadata),) = displayed
    run = metadata[pages.RUN_KEY]
    assert run["chapter"] == "05-vae"
    assert run["value"] == 105.25
    assert run["preset"] == "smoke"
    assert 0.2 < run["seconds"] < 30
    assert abs(datetime.datetime.now(datetime.UTC) - datetime.datetime.strptime(
        run["date"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=datetime.UTC)) < datetime.timedelta(minutes=2)  # fmt: skip
    assert run["versions"]["jax"] == jax.__version__
    text = data["text/markdown"]
    for part in (run["date"], "preset smoke", f"jax {jax.__version__}", run["device"]):
        assert part in text
    json.dumps(metadata)  # a notebook can hold it


def test_provenance_names_the_chapters_there_are(displayed):
    with pytest.raises(ValueError, match=r"'07-x'; there are: 01-background, .*06-outlook"):
        pages.provenance("07-x", pages.start(), 1.0)
    assert not displayed


def test_every_headline_is_in_its_record():
    for headline in pages.HEADLINES.values():
        if headline.record:
            mean, spread = records.mean_and_spread(records.load(headline.record), headline.measure)
            assert format(mean, headline.format) != format(spread, headline.format)

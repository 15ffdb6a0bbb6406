"""Result records and their bands, presets, what the pages say of them, and the command line."""

import datetime
import json
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import imgbook
from imgbook import experiments, pages, presets, records

SEEDS = [0, 1, 2, 3, 4]
ACCURACY = [0.71, 0.74, 0.69, 0.73, 0.72]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty results folder of its own."""
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    return tmp_path


def write(name="demo", seeds=SEEDS, seconds=None, **values):
    return records.write(
        name,
        command=f"python -m imgbook record {name}",
        preset="quick",
        data_hash="d" * 64,
        seeds=seeds,
        seconds=seconds or [1.2345] * len(seeds),
        values=values or {"accuracy": ACCURACY, "loss": [1.0, 1.1, 0.9, 1.05, 0.95]},
    )


# --- writing and reading --------------------------------------------------------------------------------------


def test_round_trip(folder):
    path = write()
    assert path == folder / "demo.json"
    record = records.load("demo")
    assert set(record) == set(records.KEYS)
    assert record["values"]["accuracy"] == ACCURACY
    assert record["seeds"] == SEEDS
    assert record["seconds"] == [1.23] * 5
    assert record["version"] == imgbook.__version__
    assert record["source_hash"] == records.source_hash()
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


def test_source_hash_follows_names_and_contents(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "__file__", str(tmp_path / "records.py"))
    hashes = []
    for change in (
        lambda: (tmp_path / "a.py").write_text("x = 1"),
        lambda: (tmp_path / "a.py").write_text("x = 2"),
        lambda: (tmp_path / "a.py").rename(tmp_path / "b.py"),
        lambda: (tmp_path / "c.py").write_text(""),
    ):
        change()
        hashes.append(records.source_hash())
    assert len(set(hashes)) == 4
    (tmp_path / "notes.txt").write_text("not a source")
    assert records.source_hash() == hashes[-1]


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


# --- command line ---------------------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "imgbook", *arguments],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["record", "dcgan"], {}, "error: unknown experiment 'dcgan'; allowed: "),
        (
            ["record", "vae", "--preset", "tiny"],
            {},
            "error: unknown preset 'tiny' (argument preset); allowed: smoke",
        ),
        (
            ["record", "vae"],
            {"IMGBOOK_PRESET": "tiny"},
            "error: unknown preset 'tiny' (environment variable",
        ),
        (["record", "vae", "--seeds", "zero"], {}, "invalid int value: 'zero'"),
        ([], {}, "required: command"),
    ],
)
def test_command_line_errors_are_one_message_and_code_two(arguments, environment, said):
    done = command(*arguments, **environment)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_command_line_names_every_experiment():
    done = command("record", "--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in experiments.EXPERIMENTS)


def test_command_line_smoke_run_writes_no_record():
    done = command("record", "vae", "--preset", "smoke", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    assert "vae, seed 0:" in done.stdout
    assert "negative_elbo" in done.stdout
    assert "wrote" not in done.stdout
    # Not "the folder is as before": a recording may be under way beside the tests.
    found = [json.loads(path.read_text()).get("preset") for path in records.folder().glob("*.json")]
    assert "smoke" not in found


def test_record_writes_one_value_a_seed(monkeypatch, folder):
    """The bookkeeping around a run, with a run that takes no time."""
    runs = []

    def run(data_name, preset, seed):
        runs.append((data_name, preset, seed))
        return {"measure": 10.0 + seed}, 0.5

    monkeypatch.setitem(experiments.EXPERIMENTS, "vae", (run, "mnist"))
    experiments.record("vae", "smoke", [0], "the command")
    assert runs.pop() == ("mnist", "smoke", 0)
    assert not list(folder.iterdir())  # nothing is written at smoke
    experiments.record("vae", "quick", [3, 1], "the command")
    assert runs == [("mnist", "quick", 3), ("mnist", "quick", 1)]
    record = records.load("vae")
    assert record["values"] == {"measure": [13.0, 11.0]}
    assert (record["seeds"], record["seconds"], record["command"]) == (
        [3, 1],
        [0.5, 0.5],
        "the command",
    )
    assert len(record["data_hash"]) == 64


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

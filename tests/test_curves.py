"""Quality against seconds of training: the runs, the record, the picture."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import quality

from imgbook import curves, records, staleness


@pytest.fixture(scope="module")
def made() -> dict:
    """The three models for a step or four at preset smoke, two seeds."""
    return {m: quality.measure(m, "smoke", parts=(1 / 4, 1), seeds=(0, 1)) for m in quality.RUNS}


def test_a_point_is_a_run_of_its_own_for_each_seed(made):
    for model, (measure, _, _) in curves.SHOWN.items():
        entry = made[model]
        assert [point["steps"] for point in entry["points"]] == [1, 4]
        for point in entry["points"]:
            assert len(point["seconds"]) == len(point["values"][measure]) == 2
            assert min(point["seconds"]) > 0
            assert all(np.isfinite(v).all() for v in point["values"].values())
        first, last = (point["values"] for point in entry["points"])
        assert first != last
        assert entry["command"].endswith(f"--models {model}")


def test_a_measure_on_test_images_is_not_replaced_by_one_of_the_training(monkeypatch):
    history = SimpleNamespace(metrics={"accuracy": np.ones(9)}, seconds=1.0, compile_seconds=1.0)
    run = lambda *_: ({"accuracy": 0.5}, history, 9)  # noqa: E731
    monkeypatch.setitem(quality.RUNS, "cnn", (run, "cifar10"))
    monkeypatch.setattr(quality.staleness, "source_hash", lambda _: "")
    (point,) = quality.measure("cnn", "smoke", parts=(1,), seeds=(0,))["points"]
    assert point["values"] == {"accuracy": [0.5]}


def test_figure_shows_every_seed(made):
    fig = curves.figure(made)
    for ax, (model, (measure, _, _)) in zip(fig.axes, curves.SHOWN.items(), strict=True):
        assert ax.get_xlabel() == "seconds of training"
        assert ax.get_ylabel()
        mean, dots = (line.get_ydata() for line in ax.lines)
        values = [point["values"][measure] for point in made[model]["points"]]
        np.testing.assert_allclose(mean, np.mean(values, axis=1))
        np.testing.assert_allclose(dots, np.ravel(values))


def test_one_model_is_measured_anew_and_the_others_stay(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(records, "folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="make bench-quality"):
        curves.load()
    (tmp_path / "quality.json").write_text(json.dumps({"gan": "kept", "vae": "old"}))
    monkeypatch.setattr(quality, "measure", lambda model, preset: f"{model} at {preset}")
    monkeypatch.setattr("sys.argv", ["quality.py", "--models", "vae"])
    quality.main()
    assert curves.load() == {"gan": "kept", "vae": "vae at quick"}


@pytest.mark.parametrize("model", quality.RUNS)
def test_the_record_is_of_todays_sources(model):
    entry = curves.load()[model]
    today = staleness.source_hash(quality.RUNS[model][0])
    assert entry["source_hash"] == today, f"stale; record anew with: {entry['command']}"
    assert entry["preset"] == "quick"
    assert len(entry["seeds"]) >= 3
    assert len(entry["points"]) == len(curves.PARTS)

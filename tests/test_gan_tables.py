"""Tables of the GAN chapter: their cells follow from the measures, and nothing is left out."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import loaded

from imgbook import gan_tables, judge, records

MEASURES = {
    "recognised": [0.5, 0.7],
    "frechet": [4.0, 6.0],
    "precision": [0.4, 0.6],
    "recall": [0.8, 0.9],
    "smallest_share": [0.6, 0.4],
    "largest_share": [1.5, 1.9],
    "seconds": [10.0, 30.0],
}


@pytest.fixture
def record(monkeypatch):
    made = {
        "command": "python -m imgbook record made-up",
        "date": "2026-01-01",
        "seeds": [0, 1],
        "values": {"floor": [0.5, 0.5], "real": [0.98, 0.98]}
        | {f"{v}/{m}": x for v in ("hinge", "minimax") for m, x in MEASURES.items()}
        | MEASURES,
    }
    monkeypatch.setattr(records, "load", lambda name: made)
    return made


def test_rows_are_means_and_spreads_and_the_worst_shares(record):
    header, rows = gan_tables.record_rows({"run": "made-up"})
    assert len(rows) == 1
    row = dict(zip(header, rows[0], strict=True))
    assert row["recognised (%)"] == "60.0 ± 14.1"  # |70 - 50| / sqrt(2)
    assert row["Fréchet"] == "5.00 ± 1.41"
    assert row["× floor"] == "10.0 ± 2.8"
    assert row["rarest, commonest digit"] == "0.40, 1.90"  # over both seeds
    assert row["training (s), least"] == "10"  # what else ran beside it can only add
    assert row["seeds"] == 2


def test_one_seed_has_no_spread(record):
    record["values"] = {name: values[:1] for name, values in record["values"].items()}
    record["seeds"] = [0]
    header, rows = gan_tables.record_rows({"run": "made-up"})
    row = dict(zip(header, rows[0], strict=True))
    assert (row["recognised (%)"], row["seeds"]) == ("50.0", 1)


def test_variants_are_rows_by_name(record):
    _, rows = gan_tables.record_rows({"loss": "made-up"}, ["minimax", "hinge"])
    assert [row[0] for row in rows] == ["minimax", "hinge"]
    with pytest.raises(KeyError, match="wasserstein/recognised"):
        gan_tables.record_rows({"loss": "made-up"}, ["wasserstein"])


def test_the_note_names_command_floor_and_real_digits(record):
    real = judge.Opinion(np.zeros((60, 64)), np.zeros((60, 10)))
    note = gan_tables.record_note(record, real, {"noise": {"frechet": 57.31}})
    for words in (record["command"], "98.0%", "0.50", "2026-01-01", "D = 64", "60", "noise 57.3"):
        assert words in note


def test_far_ends_are_compared_at_the_same_number():
    """One image again and again has one class at most and no variety; noise has pixels of all values."""
    digits = loaded("mnist", "train")
    real = judge.opinion(digits.images[:60])
    ends = gan_tables.far_ends(real, digits.images)
    mean, noise = ends["mean image"], ends["noise"]
    assert mean["recall"] == 0
    assert mean["classifier_score"] == pytest.approx(1, abs=1e-3)
    one = judge.opinion(np.repeat(digits.images.mean(0, keepdims=True) / 255, 60, axis=0))
    assert mean == judge.compare(real, one)
    assert noise["frechet"] > judge.compare(real, judge.opinion(digits.images[60:120]))["frechet"]


def test_figure_has_every_seed_and_the_mean(record):
    fig = gan_tables.draw_spread(record, ["hinge", "minimax"])
    first = fig.axes[0]
    points = [line for line in first.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xdata() for line in points], [[50, 70]] * 2)
    means = [line.get_xdata()[0] for line in first.lines if line.get_marker() != "o"]
    np.testing.assert_allclose(means, [60, 60])
    assert [text.get_text() for text in first.get_yticklabels()] == ["hinge", "minimax"]
    plt.close(fig)


def test_table_of_a_page():
    rng = np.random.default_rng(0)
    seen = judge.Opinion(rng.uniform(-1, 1, (60, 64)), rng.normal(size=(60, 10)))
    scores = judge.compare(seen, seen)
    header, rows = gan_tables.table_of({"same": scores})
    row = dict(zip(header, rows[0], strict=True))
    assert (row["images"], row["Fréchet"]) == ("same", "0.00")
    assert (row["precision"], row["recall"]) == ("1.00", "1.00")
    note = gan_tables.note(seen, {"result": {"test_accuracy": 0.99}})
    assert "D = 64" in note
    assert "60 images" in note
    assert "no Inception" in note
